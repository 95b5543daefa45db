// One schedule: a plan carried out in a world of its own, to its end.
//
// Theory of operation. First things happen, at their times: requests, faults. Then the weather clears: whatever was cut,
// paused, dead or wrong is put right, and an operator orders stuck moves to be tried again. From there on the product must
// come to rest by itself within PATIENCE_MS, and then everything that can be checked is (checks.ts).
// What is random between the events comes from the plan's seed, and so do all ids; time is the world's alone. Real I/O
// there is next to none (the image directory is read), and time stands still meanwhile. So a plan has one trace.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Around, Platform } from '../control/platform.ts';
import { assertNever, messageOf } from '../lib/errors.ts';
import { drawIdsFrom } from '../lib/ids.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { findDefinition } from '../moves/registry.ts';
import type { Direction, Outcome, Row } from '../saga/types.ts';
import { CellDown } from '../store/stores.ts';
import { violationsAtRest } from './checks.ts';
import { Databases } from './databases.ts';
import { type Dice, diceOf, pick, uuidsOf } from './dice.ts';
import type { SimHost, Trouble, Weather } from './hosts.ts';
import { type Answer, operate, retryStuck } from './operations.ts';
import type { Event, Plan, StepFault } from './plan.ts';
import { Process } from './process.ts';
import { quietLog } from './quiet-log.ts';
import { type Safety, UNDONE_STEP, unfenced, weaken, withoutLease } from './safety.ts';
import { Trace } from './trace.ts';
import { FLAVORS, type Furniture, furnish, inhabit, LEASE_MS, SETTINGS, type Shape, type World } from './world.ts';

/** Virtual time within which a world must come to rest once the weather has cleared. */
const PATIENCE_MS = 3_600_000;
/** How often it is looked whether it has. */
const LOOK_MS = 2000;
/** What the system mends by itself, it mends within so many heartbeats: a guest that is off is found out every sixth. */
const MENDING_BEATS = 9;
const LATE_MS = 5000;
const START = 1_800_000_000_000;
const FURNISHING_SEED = 20_260_101;

export interface StageOptions {
  readonly shape: Shape;
  readonly conductors: number;
  readonly heartbeatSeconds: number;
  /** Limits of the tenant; see Settings. */
  readonly quota: Readonly<Record<string, number>>;
  readonly without: Safety | null;
}

export interface ScheduleResult {
  /** Of the trace. */
  readonly digest: string;
  readonly lines: readonly string[];
  /** What went wrong, one sentence each; empty: nothing. */
  readonly violations: readonly string[];
  readonly counts: Counts;
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

/** Furnished databases, used for one schedule after the other; one per thread. */
export class Stage {
  readonly options: StageOptions;
  readonly databases = new Databases();
  readonly #directory = mkdtempSync(join(tmpdir(), 'crosscell-simulation-'));
  #furniture: Furniture | null = null;

  private constructor(options: StageOptions) {
    this.options = options;
  }

  static async open(options: StageOptions): Promise<Stage> {
    const stage = new Stage(options);
    drawIdsFrom(uuidsOf(diceOf(FURNISHING_SEED)));
    try {
      stage.#furniture = await furnish(
        stage.#parts(new VirtualClock(START), { confirmWindowSeconds: 0, reclaimSeconds: 0 }),
      );
    } finally {
      drawIdsFrom(null);
    }
    for (const cellId of stage.#furniture.cells.keys()) stage.databases.open(cellId);
    weaken(stage.databases, options.without);
    stage.databases.mark();
    return stage;
  }

  #parts(
    clock: VirtualClock,
    { confirmWindowSeconds, reclaimSeconds }: Pick<Plan, 'confirmWindowSeconds' | 'reclaimSeconds'>,
    onError?: (error: unknown) => void,
  ) {
    const { shape, heartbeatSeconds, quota } = this.options;
    return {
      ...{ clock, shape, log: quietLog(onError) },
      stores: this.databases.storesFor(
        async () => undefined,
        () => false,
      ),
      settings: {
        ...SETTINGS,
        imageDirectory: this.#directory,
        resizeConfirmWindowSeconds: confirmWindowSeconds,
        reclaimInstanceIntervalSeconds: reclaimSeconds,
        ...{ heartbeatSeconds, quota },
        hostDownSeconds: heartbeatSeconds * 3,
      },
    };
  }

  async run(plan: Plan): Promise<ScheduleResult> {
    const furniture = this.#furniture;
    if (furniture === null) throw new Error('the stage is not furnished');
    const unexpected: string[] = [];
    const clock = new VirtualClock(START, readsFiles);
    drawIdsFrom(uuidsOf(diceOf(plan.seed, 'ids')));
    try {
      const note = (error: unknown): void => {
        if (!(error instanceof CellDown)) unexpected.push(`unexpected error: ${messageOf(error)}`);
      };
      const world = await inhabit(this.#parts(clock, plan, note), furniture);
      this.#introduce(world);
      const schedule = new Schedule(this, world, plan, furniture, unexpected);
      return await schedule.run();
    } finally {
      drawIdsFrom(null);
      this.databases.reset();
    }
  }

  /** A schedule begins with hosts that are known: to welcome each of them would be much of all that happens in it. */
  #introduce({ hosts, clock }: World): void {
    for (const { name, agent } of hosts.values()) {
      this.databases.rows(
        'update hosts set agent_id = ?, last_seen_at = ?, reconciled = 1 where name = ? returning name',
        ...[agent.id, clock.now(), name],
      );
    }
  }

  close(): void {
    this.databases.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Whether this thread waits for a file; time stands still meanwhile. */
const readsFiles = (): boolean => process.getActiveResourcesInfo().some((each) => each.startsWith('FSReq'));

const isPivot = (row: Row): boolean => findDefinition(row.definition, row.version)?.pivot === row.cursor;

interface ArmedFault {
  readonly fault: StepFault;
  readonly forMs: number;
  skip: number;
}

class Schedule {
  readonly #stage: Stage;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #furniture: Furniture;
  readonly #hosts: readonly SimHost[];
  readonly #dice: Dice;
  readonly #weather: Dice;
  readonly #trace: Trace;
  readonly #violations: string[];
  readonly #servers: string[] = [];
  readonly #armed: ArmedFault[] = [];
  #processes: Process[] = [];
  #births = 0;
  #calm = false;
  #requests = 0;
  #accepted = 0;
  #steps = 0;
  #faults = 0;

  constructor(stage: Stage, world: World, plan: Plan, furniture: Furniture, unexpected: string[]) {
    this.#stage = stage;
    this.#world = world;
    this.#plan = plan;
    this.#furniture = furniture;
    this.#violations = unexpected;
    this.#hosts = [...world.hosts.values()];
    this.#dice = diceOf(plan.seed, 'latency');
    this.#weather = diceOf(plan.seed, 'weather');
    this.#trace = new Trace(() => world.clock.now());
    if (stage.options.without === 'fencing') for (const host of this.#hosts) host.wrap(unfenced);
  }

  async run(): Promise<ScheduleResult> {
    const { clock } = this.#world;
    for (let count = 0; count < this.#stage.options.conductors; count += 1) this.#processes.push(this.#born(count));
    for (const event of this.#plan.events) {
      await clock.pass(Math.max(0, START + event.at - clock.now()));
      this.#happen(event);
      if (this.#world.fabric.ranTwice.length > 0) break;
    }
    // What was to last for a while lasts that long: a host that is back too soon was never down.
    const over = Math.max(0, ...this.#plan.events.map((event) => event.at + ('forMs' in event ? event.forMs : 0)));
    await clock.pass(Math.max(0, START + over - clock.now()) + LATE_MS);
    this.#clear();
    await this.#rest();
    const counts = {
      ...{ requests: this.#requests, accepted: this.#accepted, steps: this.#steps, faults: this.#faults },
      virtualMs: clock.now() - START,
    };
    for (const each of this.#processes) each.kill();
    return { digest: this.#trace.digest(), lines: this.#trace.lines, violations: this.#violations, counts };
  }

  // ---- processes ----------------------------------------------------------------------------------------------

  #born(place: number): Process {
    this.#births += 1;
    const { databases, options } = this.#stage;
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
      const outcome = await this.#struck(process, row, step, direction, async () => {
        this.#steps += 1;
        return this.#skipsUndo(row, step, direction) ? { kind: 'done' } : effect();
      });
      if (outcome.kind !== 'pending') {
        const reason = outcome.kind === 'failed' ? ` (${outcome.reason})` : '';
        const what = `${row.definition} of ${this.#trace.name(row.key)}: ${direction} ${step}: ${outcome.kind}${reason}`;
        this.#trace.say(`${process.name} ${what}`);
      }
      return outcome;
    };

  #skipsUndo(row: Row, step: string, direction: Direction): boolean {
    const { move, step: undone } = UNDONE_STEP;
    const { without } = this.#stage.options;
    return without === 'undo' && direction === 'undo' && row.definition === move && step === undone;
  }

  async #struck(
    process: Process,
    row: Row,
    step: string,
    direction: Direction,
    act: () => Promise<Outcome>,
  ): Promise<Outcome> {
    const [armed] = this.#armed;
    if (!armed || this.#calm) return act();
    if (armed.skip > 0) {
      armed.skip -= 1;
      return act();
    }
    const strike = (): void => {
      this.#armed.shift();
      this.#faults += 1;
      this.#trace.say(
        `${armed.fault} strikes ${row.definition} of ${this.#trace.name(row.key)} at ${direction} ${step}`,
      );
    };
    const failed = (final: boolean): Outcome => ({ kind: 'failed', reason: `injected ${armed.fault}`, final });
    switch (armed.fault) {
      case 'error':
      case 'passing':
        strike();
        return failed(armed.fault === 'error');
      case 'crash-before':
        strike();
        this.#kill(process, armed.forMs);
        return new Promise(() => undefined);
      case 'stall':
        strike();
        this.#pause(process, LEASE_MS + armed.forMs);
        return act();
      case 'error-after':
      case 'lost-reply':
      case 'twice':
      case 'crash-after': {
        const outcome = await act();
        // One that is pending has not happened yet; another fault may have struck meanwhile.
        if (outcome.kind !== 'done' || this.#armed[0] !== armed) return outcome;
        strike();
        if (armed.fault === 'twice') return act();
        // That the home was switched is one write: it may be in doubt, but nobody denies it.
        if (armed.fault !== 'crash-after') return failed(armed.fault === 'error-after' && !isPivot(row));
        this.#kill(process, armed.forMs);
        return new Promise(() => undefined);
      }
      default:
        return assertNever(armed.fault);
    }
  }

  // ---- events -------------------------------------------------------------------------------------------------

  #happen(event: Event): void {
    const host = 'host' in event ? this.#hosts[event.host % this.#hosts.length] : undefined;
    const process = 'process' in event ? this.#processes[event.process % this.#processes.length] : undefined;
    switch (event.what) {
      case 'create': {
        const flavor = Object.values(FLAVORS)[event.flavor % Object.keys(FLAVORS).length] ?? FLAVORS.small;
        this.#request(`create ${flavor}`, (p) =>
          operate(p, this.#world, { operation: 'create', flavor, servers: this.#servers }),
        );
        return;
      }
      case 'operate': {
        const server = event.server % Math.max(1, this.#servers.length);
        const serverId = this.#servers[server];
        if (serverId === undefined) return;
        const { operation, choice } = event;
        this.#request(`${operation} ${this.#trace.name(serverId)}`, (p) =>
          operate(p, this.#world, { operation, choice, server, serverId }),
        );
        return;
      }
      case 'step fault':
        this.#armed.push({ fault: event.fault, skip: event.skip, forMs: event.forMs });
        return;
      case 'kill':
        if (process?.alive) this.#strikes(() => this.#kill(process, event.forMs));
        return;
      case 'pause':
        if (process?.alive) this.#strikes(() => this.#pause(process, event.forMs));
        return;
      case 'process clock':
        if (process) this.#fault(`${process.name} is ${event.aheadMs} ms ahead`, () => process.setClock(event.aheadMs));
        return;
      case 'host clock':
        if (host) this.#fault(`${host.name} is ${event.aheadMs} ms ahead`, () => host.setClock(event.aheadMs));
        return;
      case 'cut':
        if (host) this.#troubled(host, 'is cut off', () => 'unreachable', event.forMs);
        return;
      case 'bad network':
        if (host) this.#troubled(host, 'is hard to reach', () => this.#badNetwork(event.oneIn), event.forMs);
        return;
      case 'start fault':
        if (!host) return;
        this.#fault(`${host.name} starts no guest`, () => {
          host.startFault = 'no memory for it';
        });
        this.#later(event.forMs, () => {
          host.startFault = null;
          this.#trace.say(`${host.name} starts guests`);
        });
        return;
      case 'agent restart':
        if (host) this.#fault(`the agent of ${host.name} restarts`, () => this.#inBackground(host.restartAgent()));
        return;
      case 'reboot':
        if (host) this.#fault(`${host.name} reboots`, () => this.#inBackground(host.reboot()));
        return;
      case 'cell down':
        this.#cellDown(event.cell, event.forMs);
        return;
      default:
        assertNever(event);
    }
  }

  #strikes(what: () => void): void {
    this.#faults += 1;
    what();
  }

  #fault(text: string, what: () => void): void {
    this.#faults += 1;
    this.#trace.say(text);
    what();
  }

  #troubled(host: SimHost, text: string, trouble: Weather, forMs: number): void {
    this.#fault(`${host.name} ${text}`, () => {
      host.trouble = trouble;
    });
    this.#later(forMs, () => {
      if (host.trouble !== trouble) return;
      host.up();
      this.#trace.say(`${host.name} can be reached`);
    });
  }

  #badNetwork(oneIn: number): Trouble {
    const dice = this.#weather;
    if (dice(oneIn) > 0) return 'none';
    const trouble = pick(dice, ['unreachable', 'lost', 'late', 'again'] as const);
    return trouble === 'late' || trouble === 'again' ? { kind: trouble, afterMs: 1 + dice(LATE_MS) } : trouble;
  }

  #cellDown(index: number, forMs: number): void {
    const names = [...this.#furniture.cells.values()];
    const cell = names[index % names.length];
    if (cell === undefined) return;
    this.#fault(`${cell} is down`, () => this.#world.cellsDown.add(cell));
    this.#later(forMs, () => {
      this.#world.cellsDown.delete(cell);
      this.#trace.say(`${cell} is up`);
    });
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
    this.#armed.length = 0;
    this.#trace.say('the weather clears');
    for (const host of this.#hosts) {
      host.up();
      host.startFault = null;
    }
    this.#world.cellsDown.clear();
    this.#processes = this.#processes.map((each, place) => {
      each.resume();
      return each.alive ? each : this.#born(place);
    });
    // They go on from here with the right time: whoever's clock was wrong has been told.
    for (const each of this.#processes) each.setClock(0);
  }

  async #rest(): Promise<void> {
    const { clock, fabric } = this.#world;
    const until = clock.now() + PATIENCE_MS;
    let mended = 0;
    while (fabric.ranTwice.length === 0) {
      await clock.pass(LOOK_MS);
      await clock.drive(retryStuck(this.#world));
      if (clock.now() > until) {
        this.#violations.push(`no end: ${this.#unfinished()}`);
        return;
      }
      if (!this.#isQuiet()) continue;
      const wrong = await clock.drive(violationsAtRest(this.#world, this.#stage.databases));
      mended ||= clock.now() + MENDING_BEATS * this.#stage.options.heartbeatSeconds * 1000;
      const isMending = wrong.length > 0 && wrong.every((each) => each.startsWith('guest as recorded'));
      if (isMending && clock.now() < mended) continue;
      this.#violations.push(...wrong);
      this.#trace.say(wrong.length === 0 ? 'all is well' : wrong.join('; '));
      return;
    }
    this.#violations.push(...fabric.ranTwice);
    this.#trace.say(fabric.ranTwice.join('; '));
  }

  /** Nothing is under way, wanted or owed, and every agent that began anew has been noticed. */
  #isQuiet(): boolean {
    const { databases } = this.#stage;
    const left = databases.count(`select
      (select count(*) from sagas where status in ('active', 'stuck')) +
      (select count(*) from server_mappings where (delete_requested_at is not null or soft_delete_requested_at is not null) and deleted_at is null) +
      (select count(*) from debts where paid_at is null)`);
    if (left > 0) return false;
    return databases.count('select count(*) from hosts where agent_id is null') === 0 && this.#agentsAreKnown();
  }

  #agentsAreKnown(): boolean {
    const known = new Map(
      this.#stage.databases.rows('select name, agent_id from hosts').map((row) => [row['name'], row['agent_id']]),
    );
    return this.#hosts.every((host) => known.get(host.name) === host.agent.id);
  }

  #unfinished(): string {
    const rows = this.#stage.databases.rows(
      "select definition, cursor, direction, status, attempt, owner, lease_until, wake_at, reason from sagas where status in ('active', 'stuck') limit 5",
    );
    const debts = this.#stage.databases.rows('select kind, host, reason from debts where paid_at is null limit 5');
    return JSON.stringify([...rows, ...debts]);
  }
}
