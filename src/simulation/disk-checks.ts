// Whether servers run from the disks that they should: what guests wrote is there, unless somebody has given it up.
//
// Theory of operation. The hypervisors tell of every run (SimulatedRuns). A run begins with what the server had when its last
// run ended, unless a saga that is under way, or has been since the last run, wants it otherwise:
// - one that makes a new disk (create, rebuild, evacuate): with nothing;
// - a revert: with what the server had when the resize began;
// - one that turns back, or tries another host: as it was when it began.
// At rest the same must be so of the disk on which each server would run next.
import { findServer } from '../control/servers.ts';
import type { SimulatedDisk } from '../host/simulated-disks.ts';
import { type Content, isSameContent } from '../host/simulated-runs.ts';
import type { Databases } from './databases.ts';
import type { World } from './world.ts';

/** Sagas that give a server a new disk. */
const MAKERS = ['create', 'rebuild', 'evacuate'];

/** The runs that began under one saga, or before the next one. */
interface Runs {
  /** Its number, which grows from saga to saga; 0: none that there was. */
  readonly saga: number;
  /** The disk that the server had before; null: a new one, from which it had never run. */
  readonly before: SimulatedDisk | null;
}

interface Known {
  readonly runs: Runs[];
  /** From which it ran last. */
  disk: SimulatedDisk;
}

/** What a server may run from next: a disk that has what one of these has, or (`anew`) one that was made of an image. */
interface Wanted {
  readonly disks: readonly SimulatedDisk[];
  readonly anew: boolean;
}

interface Saga {
  readonly number: number;
  readonly definition: string;
  readonly goesForward: boolean;
  readonly isOver: boolean;
}

export class Disks {
  readonly #world: World;
  readonly #databases: Databases;
  readonly #known = new Map<string, Known>();
  readonly #astray: string[] = [];

  constructor(world: World, databases: Databases) {
    this.#world = world;
    this.#databases = databases;
    world.fabric.runs.watch((serverId, disk) => this.#ran(serverId, disk));
  }

  /** What must not be at any instant, and was. */
  get violations(): readonly string[] {
    return [...this.#astray, ...this.#world.fabric.runs.broken];
  }

  /** What is wrong with the disks on which servers would run next. */
  async atRest(): Promise<string[]> {
    const wrong: string[] = [];
    for (const row of this.#databases.rows('select server_id from server_mappings where deleted_at is null')) {
      const serverId = String(row['server_id']);
      const found = await findServer(this.#world.p, serverId);
      if (found.kind !== 'found' || found.server.host === null) continue;
      // One that boots from a volume has no disk of its own.
      if (found.server.image.id === null) continue;
      const disk = this.#world.hosts.get(found.server.host)?.hypervisor.diskOf(serverId) ?? null;
      if (disk === null) wrong.push(`server ${serverId} has no disk`);
      else {
        this.#world.fabric.runs.check(disk);
        wrong.push(...this.#whatIsWrong(serverId, disk));
      }
    }
    return wrong;
  }

  #ran(serverId: string, disk: SimulatedDisk): void {
    this.#astray.push(...this.#whatIsWrong(serverId, disk));
    const saga = this.#sagas(serverId).at(-1)?.number ?? 0;
    const known = this.#known.get(serverId);
    if (!known) this.#known.set(serverId, { runs: [{ saga, before: null }], disk });
    else {
      const before = this.#wanted(serverId, known, saga).disks.at(-1) ?? null;
      if (known.runs.at(-1)?.saga !== saga) known.runs.push({ saga, before });
      known.disk = disk;
    }
  }

  /** Empty: nothing. */
  #whatIsWrong(serverId: string, disk: SimulatedDisk): string[] {
    const known = this.#known.get(serverId);
    if (!known) return [];
    const { runs } = this.#world.fabric;
    const content = runs.contentOf(disk);
    const { disks, anew } = this.#wanted(serverId, known);
    const contents = disks.map((each) => runs.contentOf(each));
    if (contents.some((each) => isSameContent(content, each)) || (anew && runs.isNew(disk))) return [];
    const wanted = [...contents.map(textOf), ...(anew ? ['nothing'] : [])];
    return [`the disk of server ${serverId} has ${textOf(content)}, not ${wanted.join(' or ')}`];
  }

  /** @param below sagas from that number on are not looked at */
  #wanted(serverId: string, known: Known, below = Number.POSITIVE_INFINITY): Wanted {
    const last = known.runs.at(-1);
    let wanted: Wanted = { disks: [known.disk], anew: false };
    for (const { number, definition, goesForward, isOver } of this.#sagas(serverId, last?.saga)) {
      if (number >= below) break;
      const makes = MAKERS.includes(definition);
      if (number === last?.saga) {
        // It began the last run: from there it may go on, go back, or try elsewhere, until it has ended well.
        if (isOver && goesForward) continue;
        const back = last.before === null ? [] : [last.before];
        wanted = { disks: [known.disk, ...back], anew: last.before === null || (makes && !isOver) };
      } else if (goesForward && makes) wanted = { disks: [], anew: true };
      else if (goesForward && definition === 'revert') {
        const before = this.#beforeResize(serverId, known, number);
        wanted = before === null ? { disks: [], anew: true } : { disks: [before], anew: false };
      }
    }
    return wanted;
  }

  /** The disk that the server had when the last resize before this saga began. */
  #beforeResize(serverId: string, { runs, disk }: Known, saga: number): SimulatedDisk | null {
    const resize = this.#sagas(serverId).findLast((each) => each.number < saga && each.definition === 'resize');
    const since = runs.find((each) => each.saga >= (resize?.number ?? 0));
    return since ? since.before : disk;
  }

  /** Of the server, from that number on, oldest first. */
  #sagas(serverId: string, from = 0): Saga[] {
    return this.#databases
      .rows(
        `select rowid, definition, direction = 'do' as forward, status in ('done', 'unwound') as over
           from sagas where key = ? and rowid >= ? order by rowid`,
        ...[serverId, from],
      )
      .map((row) => ({
        number: Number(row['rowid']),
        definition: String(row['definition']),
        goesForward: row['forward'] === 1,
        isOver: row['over'] === 1,
      }));
  }
}

const textOf = (content: Content): string => `'${content.map(({ word }) => word).join(', ')}'`;
