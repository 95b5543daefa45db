// What happens in a simulated world, decided before it begins: a list of events with their times, made from a seed.
//
// An event names what it concerns by numbers that are taken modulo whatever there is when it happens (the n-th server, the
// n-th host), so that any part of a list is a list that makes sense: that is what shrinking a failing one needs. What
// happens between the events (which access is slow, which call is lost) comes from the same seed, by dice of its own.
import type { Direction } from '../saga/types.ts';
import { type Dice, diceOf, pick } from './dice.ts';

export const VOLUME_OPERATIONS = [
  'attach',
  'detach',
  'create volume',
  'extend volume',
  'delete volume',
  'create snapshot',
  'delete snapshot',
  'upload volume',
  'revert volume',
  'reimage volume',
] as const;
export type VolumeOperation = (typeof VOLUME_OPERATIONS)[number];

export const OPERATIONS = [
  'resize',
  'migrate',
  'migrate to host',
  'confirm',
  'revert',
  'delete',
  'soft delete',
  'restore',
  'stop',
  'start',
  'reboot',
  'hard reboot',
  'rename',
  'metadata',
  'lock',
  'unlock',
  'cancel',
  'retry',
  'disable host',
  'enable host',
  'pause',
  'unpause',
  'suspend',
  'rescue',
  'shelve',
  'offload',
  /** Resume, unrescue, unshelve, unpause or start: whichever its state asks for. */
  'bring back',
  'rebuild',
  'create image',
  'create backup',
  'delete image',
  'crash dump',
  'attach interface',
  'detach interface',
  'delete group',
  'destroy kept guest',
  ...VOLUME_OPERATIONS,
] as const;
export type Operation = (typeof OPERATIONS)[number];

/**
 * What befalls the next effect of a step that any conductor has (after `skip` others):
 * - error, error-after: it fails for good, without effect or although it took effect;
 * - passing, lost-reply: it fails once in a way that may pass, without effect or although it took effect;
 * - twice: its effect is had twice;
 * - crash-before, crash-after: the process dies before the effect, or between the effect and its commit;
 * - stall: the process stands still before the effect, for longer than its lease, and goes on with it.
 */
export const STEP_FAULTS = [
  'error',
  'error-after',
  'passing',
  'lost-reply',
  'twice',
  'crash-before',
  'crash-after',
  'stall',
] as const;
export type StepFault = (typeof STEP_FAULTS)[number];

/** What is refused until an operator comes, without effect or although it takes effect; see step-faults.ts. */
export const REFUSALS = ['refusal', 'landed refusal'] as const;
/** Everything that can befall the effect of a step. */
export type Strike = StepFault | (typeof REFUSALS)[number];

/** What operators order of cells, and of whatever move is under way. */
export const ORDERS = ['disable cell', 'enable cell', 'skip', 'skip', 'retry', 'cancel'] as const;
export type Order = (typeof ORDERS)[number];

/** Which effect a fault is for. */
export interface Aim {
  readonly definition: string;
  readonly step: string;
  readonly direction: Direction;
}

/** How it is said that this struck there. */
export const struckName = (strike: Strike, { definition, step, direction }: Aim): string =>
  `${strike} at ${direction} ${step} of ${definition}`;

export type Happening =
  /** `disks`: which volumes it gets, and what it boots from; `group`: which server group it joins, or none. */
  | { readonly what: 'create'; readonly flavor: number; readonly disks: number; readonly group: number }
  | { readonly what: 'operate'; readonly operation: Operation; readonly server: number; readonly choice: number }
  /** An operator turns off the machine that the server is on, for so long, and has the server built anew elsewhere. */
  | { readonly what: 'evacuate'; readonly server: number; readonly choice: number; readonly forMs: number }
  | {
      readonly what: 'step fault';
      readonly fault: StepFault;
      readonly skip: number;
      readonly forMs: number;
      readonly aim?: Aim;
    }
  /** The next effect (after `skip` others) that only an operator can help is refused until one does; see step-faults.ts. */
  | { readonly what: 'refusal'; readonly landed: boolean; readonly skip: number; readonly aim?: Aim }
  | { readonly what: 'order'; readonly order: Order; readonly choice: number }
  | { readonly what: 'kill' | 'pause'; readonly process: number; readonly forMs: number }
  /** Its clock, or that of all databases, is wrong by so much from now on. */
  | { readonly what: 'database clock'; readonly aheadMs: number }
  | { readonly what: 'process clock'; readonly process: number; readonly aheadMs: number }
  | { readonly what: 'host clock'; readonly host: number; readonly aheadMs: number }
  /** Unreachable; or every n-th call (`oneIn`) is lost, late or comes twice; or guests fail to start. */
  | { readonly what: 'cut' | 'start fault'; readonly host: number; readonly forMs: number }
  | { readonly what: 'bad network'; readonly host: number; readonly oneIn: number; readonly forMs: number }
  /** `guests end`: those that run there turn themselves off. */
  | { readonly what: 'agent restart' | 'reboot' | 'guests end'; readonly host: number }
  /**
   * A storage host: it cannot be reached (its guests go on); its machine is off, and so are its volumes; it makes no
   * volumes; every n-th call to it is lost, late, slow or comes twice; its agent restarts.
   */
  | {
      readonly what: 'storage cut' | 'storage crash' | 'storage full';
      readonly storage: number;
      readonly forMs: number;
    }
  | { readonly what: 'storage network'; readonly storage: number; readonly oneIn: number; readonly forMs: number }
  | { readonly what: 'storage restart'; readonly storage: number }
  | { readonly what: 'cell down'; readonly cell: number; readonly forMs: number };

export type Event = Happening & {
  /** ms since the beginning. */
  readonly at: number;
};

export interface PlanOptions {
  readonly seed: number;
  readonly servers: number;
  /** How long things happen. */
  readonly ms: number;
  /** Operations on servers, on average, beside their creation. */
  readonly operationsPerServer: number;
  /** Faults per operation, on average. */
  readonly faultsPerOperation: number;
  /** Faults besides, on average: so many as there are hosts and hours for. */
  readonly faults: number;
  /** Longest time for which a host or a cell falls silent, ms. */
  readonly silenceMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly events: readonly Event[];
  /** Seconds after which a finished resize is confirmed by itself; 0: never. */
  readonly confirmWindowSeconds: number;
  /** Seconds after which a soft-deleted server is reclaimed; 0: never. */
  readonly reclaimSeconds: number;
  /** Seconds after which a shelved server leaves its host; 0: at once; negative: only when asked to. */
  readonly offloadSeconds: number;
}

/** A conductor's idea of the time is wrong by at most this much. */
const PROCESS_CLOCK_MS = 2000;
/** The databases' clock is put forward or back by so much at most. */
const DATABASE_CLOCK_MS = 3_600_000;
/** A host's own clock may be wrong by hours. */
const HOST_CLOCK_MS = 3 * 3_600_000;
const PAUSE_MS = 40_000;
/** A server needs about so long to be there: what is asked of it before is refused. */
const CREATION_MS = 1500;

/** The plan of this seed: always the same one. */
export function planOf(options: PlanOptions): Plan {
  const dice = diceOf(options.seed, 'plan');
  const events: Event[] = [];
  const operations = Math.round(options.servers * options.operationsPerServer * (0.5 + dice(101) / 100));
  const faults = Math.round((operations * options.faultsPerOperation + options.faults) * (dice(201) / 100));
  // Servers come in the first tenth of a long time, and all at once in a short one.
  const creation = options.ms / 10;
  for (let count = 0; count < options.servers; count += 1) {
    const wish = { flavor: dice(1000), disks: dice(1000), group: dice(1000) };
    events.push({ at: dice(Math.max(1, creation)), what: 'create', ...wish });
    // Volumes for them, so that there are some to attach.
    if (dice(2) > 0) continue;
    const volume = { server: count, choice: dice(1000) };
    events.push({ at: dice(Math.max(1, creation)), what: 'operate', operation: 'create volume', ...volume });
  }
  const spread = Math.max(1, options.ms - creation - CREATION_MS);
  const times = timesOf(dice, operations, spread).map((at) => at + creation + CREATION_MS);
  let last: Wanted = { operation: 'rename', server: 0 };
  for (const at of times) {
    const follows = FOLLOWERS[last.operation] ?? [];
    last =
      follows.length > 0 && dice(2) === 0
        ? { operation: pick(dice, follows), server: last.server }
        : { operation: pick(dice, OFTEN), server: dice(1_000_000) };
    const [{ operation, server }, choice] = [last, dice(1000)];
    if (operation === 'evacuate') {
      // Most of them for longer than makes a host count as down, which an evacuation waits for.
      events.push({ at, what: 'evacuate', server, choice, forMs: options.silenceMs / 2 + dice(2 * options.silenceMs) });
    } else if (operation === 'create server') {
      // Of an image or a snapshot that has come about meanwhile.
      events.push({ at, what: 'create', flavor: dice(1000), disks: 4 + dice(2) + 8 * choice, group: dice(1000) });
    } else events.push({ at, what: 'operate', operation, server, choice });
  }
  // A fault that strikes nothing is a waste: most come shortly after an operation has begun.
  for (let count = 0; count < faults; count += 1) {
    const near = times.length === 0 || dice(4) === 0 ? dice(options.ms) : pick(dice, times) + dice(3000);
    events.push({ at: near, ...faultOf(dice, options.silenceMs) });
  }
  events.sort((a, b) => a.at - b.at);
  return {
    seed: options.seed,
    events,
    confirmWindowSeconds: dice(4) === 0 ? 10 : 0,
    reclaimSeconds: dice(4) === 0 ? 10 : 0,
    offloadSeconds: pick(dice, [-1, 0, 10]),
  };
}

/** Often one after the other, sometimes at once: operations have to meet. */
function timesOf(dice: Dice, count: number, spread: number): number[] {
  if (count > 50) return Array.from({ length: count }, () => dice(spread)).sort((a, b) => a - b);
  let at = 0;
  return Array.from({ length: count }, () => {
    const roll = dice(10);
    at += roll < 3 ? dice(100) : roll < 8 ? dice(4000) : dice(20_000);
    return Math.min(at, spread);
  });
}

interface Wanted {
  readonly operation: Operation | 'evacuate' | 'create server';
  readonly server: number;
}

/** What is often asked next of the same server: of any other it would be refused. */
const FOLLOWERS: Partial<Readonly<Record<Wanted['operation'], readonly Wanted['operation'][]>>> = {
  resize: ['confirm', 'revert'],
  migrate: ['confirm', 'revert'],
  'migrate to host': ['confirm', 'revert'],
  suspend: ['bring back'],
  rescue: ['bring back'],
  shelve: ['bring back', 'offload'],
  offload: ['bring back'],
  pause: ['bring back'],
  stop: ['bring back'],
  'create image': ['create server', 'delete image', 'rebuild'],
  'create backup': ['create backup', 'create server', 'delete image', 'rebuild'],
  'upload volume': ['create server', 'delete image', 'create volume'],
  'create snapshot': ['create server', 'delete snapshot', 'revert volume'],
  evacuate: ['evacuate', 'destroy kept guest', 'migrate', 'delete'],
};

const OFTEN: readonly Wanted['operation'][] = [
  ...OPERATIONS,
  'evacuate',
  'create server',
  ...(['resize', 'resize', 'resize', 'resize', 'resize', 'resize', 'migrate', 'migrate'] as const),
  ...(['stop', 'attach', 'attach', 'attach', 'detach'] as const),
];

function faultOf(dice: Dice, silenceMs: number): Happening {
  const roll = dice(100);
  const host = dice(1_000_000);
  const forMs = 1000 + dice(silenceMs);
  if (roll < 45) {
    return { what: 'step fault', fault: pick(dice, STEP_FAULTS), skip: dice(12), forMs: 1000 + dice(PAUSE_MS) };
  }
  if (roll < 51) return { what: 'kill', process: dice(1000), forMs: 1000 + dice(5000) };
  if (roll < 58) return { what: 'pause', process: dice(1000), forMs: 1000 + dice(PAUSE_MS) };
  if (roll < 66) return { what: 'cut', host, forMs };
  if (roll < 74) return { what: 'bad network', host, oneIn: 2 + dice(8), forMs };
  if (roll < 77) return { what: 'agent restart', host };
  if (roll < 79) return { what: 'reboot', host };
  if (roll < 80) return { what: 'guests end', host };
  if (roll < 83) return { what: 'cell down', cell: dice(1000), forMs };
  if (roll < 85) return { what: 'start fault', host, forMs: 1000 + dice(5000) };
  if (roll < 94) return storageFaultOf(dice, forMs);
  if (roll < 96) return { what: 'database clock', aheadMs: within(dice, DATABASE_CLOCK_MS) };
  if (roll < 98) return { what: 'process clock', process: dice(1000), aheadMs: within(dice, PROCESS_CLOCK_MS) };
  return { what: 'host clock', host, aheadMs: within(dice, HOST_CLOCK_MS) };
}

function storageFaultOf(dice: Dice, forMs: number): Happening {
  const [storage, roll] = [dice(1000), dice(9)];
  if (roll < 3) return { what: 'storage network', storage, oneIn: 2 + dice(8), forMs };
  if (roll < 5) return { what: 'storage cut', storage, forMs };
  if (roll < 7) return { what: 'storage crash', storage, forMs };
  if (roll < 8) return { what: 'storage restart', storage };
  return { what: 'storage full', storage, forMs: 1000 + dice(5000) };
}

const within = (dice: Dice, most: number): number => dice(2 * most + 1) - most;
