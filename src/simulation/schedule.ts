// One schedule: a plan carried out in a world of its own, to its end.
//
// Theory of operation. First things happen, at their times: requests, faults. Then the weather clears: whatever was cut,
// paused, dead or wrong is put right, and an operator orders stuck moves to be tried again. From there on the product must
// come to rest by itself within PATIENCE_MS, and then everything that can be checked is (checks.ts).
// What is random between the events comes from the plan's seed, and so do all ids; time is the world's alone, and real I/O
// there is none. So a plan has one trace.
import type { Around, Platform } from '../control/platform.ts';
import { assertNever, messageOf } from '../lib/errors.ts';
import type { Direction, Outcome, Row } from '../saga/types.ts';
import { CellDown } from '../store/stores.ts';
import { violationsAtRest, violationsSoFar } from './checks.ts';
import type { Databases } from './databases.ts';
import { type Dice, diceOf, pick } from './dice.ts';
import { Disks } from './disk-checks.ts';
import { destroyRemains, evacuate, lostRemains } from './evacuations.ts';
import { LATE_MS } from './network.ts';
import { type Answer, answered, create, operate } from './operations.ts';
import { giveOrder, helpStuck } from './operators.ts';
import { type Event, type Plan, struckName, VOLUME_OPERATIONS } from './plan.ts';
import { Process } from './process.ts';
import { hospitable, loseLastWords, UNDONE_STEP, unfenced, withoutLease } from './safety.ts';
import type { StageOptions } from './stage.ts';
import { StepFaults } from './step-faults.ts';
import { Trace } from './trace.ts';
import { Troubles } from './troubles.ts';
import { FLAVORS, type Furniture, type World } from './world.ts';

/** Virtual time within which a world must come to rest once the weather has cleared. */
const PATIENCE_MS = 3_600_000;
/** How often it is looked whether it has. */
const LOOK_MS = 2000;
/** An operator is needed, who comes when the move is stuck: that takes minutes, if it is an undo that is refused. */
const CALLED_MS = 20_000;
/** What the system mends by itself, it mends within so many heartbeats: a guest that is off is found out every sixth. */
const MENDING_BEATS = 9;

export interface ScheduleResult {
  /** Of the trace. */
  readonly digest: string;
  readonly lines: readonly string[];
  /** What went wrong, one sentence each; empty: nothing. */
  readonly violations: readonly string[];
  readonly counts: Counts;
  /** Which moves there were, by the names of their definitions. */
  readonly moves: ReadonlySet<string>;
  /** What has struck which steps of them, as struckName says it. */
  readonly struck: ReadonlySet<string>;
}

/** How far a schedule is. */
export interface Progress {
  readonly events: number;
  readonly virtualMs: number;
  /** Effects of steps so far. */
  readonly steps: number;
}

export interface Counts {
  readonly requests: number;
  readonly accepted: number;
  /** Effects of steps that were had. */
  readonly steps: number;
  /** Faults that struck. */
  readonly faults: number;
  readonly virtualMs: number;
}

export interface Staging {
  readonly databases: Databases;
  readonly options: StageOptions;
  readonly world: World;
  readonly plan: Plan;
  readonly furniture: Furniture;
  /** What goes wrong is added to these. */
  readonly violations: string[];
}

export class Schedule {
  readonly #options: StageOptions;
  readonly #databases: Databases;
  readonly #start: number;
  readonly #troubles: Troubles;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #furniture: Furniture;
  readonly #disks: Disks;
  readonly #dice: Dice;
  readonly #weather: Dice;
  readonly #trace: Trace;
  readonly #violations: string[];
  readonly #servers: string[] = [];
  readonly #stepFaults: StepFaults;
  readonly #moves = new Set<string>();
  readonly #struck = new Set<string>();
  #processes: Process[] = [];
  #births = 0;
  #calm = false;
  #requests = 0;
  #accepted = 0;
  #steps = 0;
  #faults = 0;

  constructor({ databases, options, world, plan, furniture, violations }: Staging) {
    this.#databases = databases;
    this.#options = options;
    this.#world = world;
    this.#plan = plan;
    this.#furniture = furniture;
    this.#violations = violations;
    this.#start = world.clock.now();
    this.#disks = new Disks(world, databases);
    this.#dice = diceOf(plan.seed, 'latency');
    this.#weather = diceOf(plan.seed, 'weather');
    this.#trace = new Trace(() => world.clock.now());
    this.#troubles = new Troubles({
      ...{ world, cells: [...furniture.cells.values()], dice: this.#weather },
      fault: (text) => this.#fault(text),
      say: (text) => this.#trace.say(text),
      later: (ms, what) => this.#later(ms, what),
      inBackground: (work) => this.#inBackground(work),
    });
    this.#stepFaults = new StepFaults({
      struck: (strike, { row, step, direction }) => {
        this.#struck.add(struckName(strike, { definition: row.definition, step, direction }));
        this.#fault(`${strike} strikes ${row.definition} of ${this.#nameOf(row)} at ${direction} ${step}`);
      },
      kill: (process, forMs) => this.#kill(process, forMs),
      pause: (process, forMs) => this.#pause(process, forMs),
    });
    if (options.without === 'host-fences') for (const host of world.hosts.values()) host.wrap(unfenced);
    if (options.without === 'disk') for (const host of world.hosts.values()) loseLastWords(host.hypervisor);
    if (options.without === 'revoke') for (const storage of world.storage.values()) storage.wrap(hospitable);
  }

  async run(onProgress: (progress: Progress) => void = () => undefined): Promise<ScheduleResult> {
    const { clock } = this.#world;
    for (let count = 0; count < this.#options.conductors; count += 1) this.#processes.push(this.#born(count));
    for (const [index, event] of this.#plan.events.entries()) {
      await clock.pass(Math.max(0, this.#start + event.at - clock.now()));
      this.#happen(event);
      onProgress({ events: index + 1, virtualMs: event.at, steps: this.#steps });
      if (violationsSoFar(this.#world, this.#databases, this.#disks).length > 0) break;
    }
    // What was to last for a while lasts that long: a host that is back too soon was never down.
    const over = Math.max(0, ...this.#plan.events.map((event) => event.at + ('forMs' in event ? event.forMs : 0)));
    await clock.pass(Math.max(0, this.#start + over - clock.now()) + LATE_MS);
    this.#clear();
    await this.#rest();
    const counts = {
      ...{ requests: this.#requests, accepted: this.#accepted, steps: this.#steps, faults: this.#faults },
      virtualMs: clock.now() - this.#start,
    };
    for (const each of this.#processes) each.kill();
    return {
      digest: this.#trace.digest(),
      lines: this.#trace.lines,
      violations: this.#violations,
      counts,
      moves: this.#moves,
      struck: this.#struck,
    };
  }

  // ---- processes ----------------------------------------------------------------------------------------------

  #born(place: number): Process {
    this.#births += 1;
    const [databases, options] = [this.#databases, this.#options];
    const process = new Process({
      name: `conductor-${place + 1}.${this.#births}`,
      world: this.#world,
      stores: (gate) =>
        databases.storesFor(gate, (id) => this.#world.cellsDown.has(this.#furniture.cells.get(id) ?? '')),
      dice: this.#dice,
      slowOneIn: 8,
      idleMs: 8000,
      around: (it) => this.#around(it),
      sagas: (store) => (options.without === 'lease' ? withoutLease(store, databases) : store),
    });
    process.start();
    return process;
  }

  #later(ms: number, what: () => void): void {
    this.#world.clock.sleep(ms).then(() => {
      if (!this.#calm) what();
    });
  }

  #kill(process: Process, forMs: number): void {
    const place = this.#processes.indexOf(process);
    // Dead already: another is at its place, or will be.
    if (place < 0 || this.#calm) return;
    process.kill();
    this.#trace.say(`${process.name} dies`);
    this.#later(forMs, () => this.#replace(place, process));
  }

  #replace(place: number, dead: Process): void {
    if (this.#processes[place] !== dead) return;
    const process = this.#born(place);
    this.#processes = this.#processes.with(place, process);
    this.#trace.say(`${process.name} begins`);
  }

  #pause(process: Process, forMs: number): void {
    if (!process.alive || this.#calm) return;
    process.pause();
    this.#trace.say(`${process.name} stands still`);
    this.#later(forMs, () => {
      process.resume();
      this.#trace.say(`${process.name} goes on`);
    });
  }

  // ---- steps --------------------------------------------------------------------------------------------------

  readonly #around =
    (process: Process): Around =>
    async (row, step, direction, effect) => {
      this.#moves.add(row.definition);
      const act = async (): Promise<Outcome> => {
        this.#steps += 1;
        return this.#skipsUndo(row, step, direction) ? { kind: 'done' } : effect();
      };
      const outcome = await this.#stepFaults.around({ process, row, step, direction, act });
      if (outcome.kind !== 'pending') {
        const reason = outcome.kind === 'failed' ? ` (${outcome.reason})` : '';
        const what = `${row.definition} of ${this.#nameOf(row)}: ${direction} ${step}: ${outcome.kind}${reason}`;
        this.#trace.say(`${process.name} ${what}`);
      }
      return outcome;
    };

  #nameOf({ key, definition }: Row): string {
    return this.#trace.name(key, (VOLUME_OPERATIONS as readonly string[]).includes(definition) ? 'v' : 's');
  }

  #skipsUndo(row: Row, step: string, direction: Direction): boolean {
    const { move, step: undone } = UNDONE_STEP;
    const { without } = this.#options;
    return without === 'undo' && direction === 'undo' && row.definition === move && step === undone;
  }

  // ---- events -------------------------------------------------------------------------------------------------

  #happen(event: Event): void {
    if ('host' in event || 'storage' in event || 'cell' in event) {
      this.#troubles.befall(event);
      return;
    }
    const process = 'process' in event ? this.#processes[event.process % this.#processes.length] : undefined;
    switch (event.what) {
      case 'create': {
        const flavor = Object.values(FLAVORS)[event.flavor % Object.keys(FLAVORS).length] ?? FLAVORS.small;
        const { disks, group } = event;
        this.#request(`create ${flavor}`, (p) =>
          create(p, this.#world, { flavor, disks, group, servers: this.#servers }),
        );
        return;
      }
      case 'operate': {
        const server = event.server % Math.max(1, this.#servers.length);
        const serverId = this.#servers[server] ?? null;
        const { operation, choice } = event;
        this.#request(`${operation} ${serverId === null ? 'nothing' : this.#trace.name(serverId)}`, (p) =>
          operate(p, this.#world, { operation, choice, server, serverId }),
        );
        return;
      }
      case 'evacuate': {
        const serverId = this.#servers[event.server % Math.max(1, this.#servers.length)];
        if (serverId === undefined) return;
        const { choice, forMs } = event;
        const turnOff = async (name: string): Promise<void> => {
          const host = this.#world.hosts.get(name);
          if (host) await this.#troubles.turnOff(host, forMs);
        };
        this.#request(`evacuate ${this.#trace.name(serverId)}`, async (p) =>
          answered(await evacuate(p, this.#world, { serverId, choice, turnOff })),
        );
        return;
      }
      case 'step fault':
        this.#stepFaults.arm({ fault: event.fault, skip: event.skip, forMs: event.forMs, aim: event.aim ?? null });
        return;
      case 'refusal':
        this.#stepFaults.armRefusal({ landed: event.landed, skip: event.skip, aim: event.aim ?? null });
        return;
      case 'order': {
        const { order, choice } = event;
        const wish = { order, choice, cells: [...this.#furniture.cells.values()] };
        this.#request(`${order} (an operator)`, async (p) =>
          answered(await giveOrder(p, this.#world, this.#stepFaults, wish)),
        );
        return;
      }
      case 'kill':
        if (!process?.alive) return;
        this.#faults += 1;
        this.#kill(process, event.forMs);
        return;
      case 'pause':
        if (!process?.alive) return;
        this.#faults += 1;
        this.#pause(process, event.forMs);
        return;
      case 'database clock':
        this.#fault(`the databases' clock is ${event.aheadMs} ms ahead`);
        this.#world.databaseClock.aheadMs = event.aheadMs;
        return;
      case 'process clock':
        if (!process) return;
        this.#fault(`${process.name} is ${event.aheadMs} ms ahead`);
        process.setClock(event.aheadMs);
        return;
      default:
        assertNever(event);
    }
  }

  #fault(text: string): void {
    this.#faults += 1;
    this.#trace.say(text);
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#violations.push(`unexpected error: ${messageOf(error)}`));
  }

  /** A request of somebody's, to a process that serves: if it dies meanwhile, there is no answer. */
  #request(text: string, ask: (p: Platform) => Promise<Answer>): void {
    this.#requests += 1;
    const serving = this.#processes.filter((each) => each.alive);
    if (serving.length === 0) {
      this.#trace.say(`${text}: nobody serves`);
      return;
    }
    const process = pick(this.#weather, serving);
    const answer = (said: Answer): void => {
      if (said === 'accepted') this.#accepted += 1;
      this.#trace.say(`${text}: ${said} by ${process.name}`);
      if (said.startsWith('5') && !said.startsWith('503')) this.#violations.push(`${text} was answered ${said}`);
    };
    this.#inBackground(
      ask(process.platform).then(answer, (error: unknown) => {
        if (!(error instanceof CellDown)) throw error;
        answer(`503 ${error.message}`);
      }),
    );
  }

  // ---- the end ------------------------------------------------------------------------------------------------

  #clear(): void {
    this.#calm = true;
    this.#stepFaults.disarm();
    this.#trace.say('the weather clears');
    this.#troubles.clear();
    this.#processes = this.#processes.map((each, place) => {
      each.resume();
      return each.alive ? each : this.#born(place);
    });
    // They go on from here with the right time: whoever's clock was wrong has been told.
    for (const each of this.#processes) each.setClock(0);
  }

  async #rest(): Promise<void> {
    const { clock } = this.#world;
    const until = clock.now() + PATIENCE_MS;
    const beatMs = this.#options.heartbeatSeconds * 1000;
    let mended = 0;
    while (violationsSoFar(this.#world, this.#databases, this.#disks).length === 0) {
      await clock.pass(this.#stepFaults.isRefusing ? CALLED_MS : LOOK_MS);
      if (this.#databases.count("select count(*) from sagas where status = 'stuck'") > 0)
        await clock.drive(helpStuck(this.#world, this.#stepFaults, this.#weather));
      if (clock.now() > until) {
        this.#violations.push(`no end: ${this.#unfinished()}`);
        return;
      }
      if (!this.#isQuiet()) continue;
      const lost = lostRemains(this.#world, this.#databases);
      const kept = this.#databases.count('select count(*) from quarantine where ended_at is null');
      if (lost.length === 0 && kept > 0 && (await clock.drive(destroyRemains(this.#world)))) continue;
      const wrong = [...lost, ...(await clock.drive(violationsAtRest(this.#world, this.#databases, this.#disks)))];
      mended ||= clock.now() + MENDING_BEATS * beatMs;
      const isMending = wrong.length > 0 && wrong.every((each) => each.startsWith('guest as recorded'));
      if (isMending && clock.now() < mended) {
        // Nothing is found out between two heartbeats, and looking at a large world takes long.
        await clock.pass(beatMs);
        continue;
      }
      this.#violations.push(...wrong);
      this.#trace.say(wrong.length === 0 ? 'all is well' : wrong.join('; '));
      return;
    }
    const wrong = violationsSoFar(this.#world, this.#databases, this.#disks);
    this.#violations.push(...wrong);
    this.#trace.say(wrong.join('; '));
  }

  /** Nothing is under way, wanted or owed, and every agent that began anew has been noticed. */
  #isQuiet(): boolean {
    const databases = this.#databases;
    const left = databases.count(`select
      (select count(*) from sagas where status in ('active', 'stuck')) +
      (select count(*) from server_mappings where (delete_requested_at is not null or soft_delete_requested_at is not null) and deleted_at is null) +
      (select count(*) from debts where paid_at is null)`);
    if (left > 0) return false;
    return databases.count('select count(*) from hosts where agent_id is null') === 0 && this.#agentsAreKnown();
  }

  #agentsAreKnown(): boolean {
    const known = new Map(
      this.#databases.rows('select name, agent_id from hosts').map((row) => [row['name'], row['agent_id']]),
    );
    return [...this.#world.hosts.values()].every((host) => known.get(host.name) === host.agent.id);
  }

  #unfinished(): string {
    const rows = this.#databases.rows(
      "select definition, cursor, direction, status, attempt, owner, lease_until, wake_at, reason from sagas where status in ('active', 'stuck') limit 5",
    );
    const debts = this.#databases.rows('select kind, host, reason from debts where paid_at is null limit 5');
    return JSON.stringify([...rows, ...debts]);
  }
}
