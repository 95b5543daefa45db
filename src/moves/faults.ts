// Fault injection, for trying out what happens when something breaks. Only there when `crosscell up --allow-faults` asks
// for it; nothing else of the product knows of it.
//
// Theory of operation. Armed faults are kept in memory alone, so that none is armed after a restart. They stand around the
// effects of steps (`Platform.around`), the databases of cells and the hosts:
// - a fault of a step strikes the next `times` times that the step is run in its phase, then it is spent. `error`: the step
//   fails for good, without effect; `error-after`: although it took effect; `lost-reply`: it took effect, and seems to have
//   failed in a way that may pass; `delay`: it begins later; `crash-before`, `crash-after`: the process kills itself with
//   SIGKILL, before the effect or between the effect and the commit.
// - `cell-down` and `host-down` strike whenever that cell's database or that host (or storage host) is asked for, until
//   they are deleted.
// A fault that strikes after the effect waits until the effect is done: one that is still pending has not happened yet, and
// one that failed by itself needs no help. Several faults of one step strike in the order in which they were armed.
// Not handled: a transaction on a cell's database that has begun when the fault is armed goes through.
import type { Logger } from 'pino';
import type { Around } from '../control/platform.ts';
import type { Host, Reply } from '../host/contract.ts';
import type { Clock } from '../lib/clock.ts';
import { assertNever } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { badRequest, conflict } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { hasHappened, phasesOf } from '../saga/decide.ts';
import type { Direction, Outcome, Row } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';
import { CellDown, type Stores } from '../store/stores.ts';
import { MOVES } from './registry.ts';

export const STEP_FAULTS = ['error', 'error-after', 'crash-before', 'crash-after', 'lost-reply', 'delay'] as const;
export const FAULT_KINDS = [...STEP_FAULTS, 'cell-down', 'host-down'] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** A fault as it is asked for. */
export interface FaultRequest {
  readonly kind: FaultKind;
  readonly saga?: string;
  readonly step?: string;
  readonly phase?: Direction;
  readonly times?: number;
  /** Only when the saga works on this server. */
  readonly server?: string;
  readonly delay_ms?: number;
  readonly cell?: string;
  readonly host?: string;
}

export interface ArmedFault extends FaultRequest {
  readonly id: string;
  /** How often it has struck. */
  readonly fired: number;
  readonly armedAt: number;
  readonly armedBy: string;
}

export type Armed =
  | { readonly kind: 'armed'; readonly fault: ArmedFault }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export interface Faults {
  /** Refuses what is not whole, what can never strike, and names of sagas, steps, cells and hosts that there are not. */
  arm(actor: Actor, request: FaultRequest): Promise<Armed>;
  /** Those that strike and those that are spent, in the order in which they were armed. */
  list(): readonly ArmedFault[];
  /** Takes away the fault of that id, or all of them, and ends their delays; returns how many there were. */
  disarm(id?: string): number;
  /** To stand around the effects of steps. */
  readonly around: Around;
  stores(real: Stores): Stores;
  host(name: string, real: Host): Host;
  storage(name: string, real: StorageHost): StorageHost;
  /** Ends the delays under way. */
  close(): void;
}

export interface FaultParts {
  /** The databases as they are, to look names up. */
  readonly stores: Stores;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends this process at once. */
  readonly die: () => void;
}

export const MAX_TIMES = 1000;
export const MAX_DELAY_MS = 600_000;
const DELAY_MS = 5000;
const MAX_ARMED = 100;

interface Fault extends Omit<ArmedFault, 'fired'> {
  fired: number;
  /** Of cell-down. */
  readonly cellId: string | null;
  /** Ends its delays. */
  readonly over: AbortController;
}

export function createFaults({ stores, clock, log, die }: FaultParts): Faults {
  const armed = new Map<string, Fault>();

  /** The first fault that strikes at this step and is not spent. */
  const striking = (row: Row, step: string, phase: Direction): Fault | undefined =>
    [...armed.values()].find(
      (fault) =>
        fault.saga === row.definition &&
        fault.step === step &&
        fault.phase === phase &&
        fault.fired < (fault.times ?? 1) &&
        (fault.server === undefined || fault.server === row.key),
    );

  const strike = (fault: Fault, about: object): void => {
    fault.fired += 1;
    log.warn({ faultId: fault.id, kind: fault.kind, fired: fault.fired, ...about }, 'an injected fault strikes');
  };

  const within = <H extends Host | StorageHost>(name: string, real: H): H =>
    new Proxy(real, {
      get(target, method: keyof H & string) {
        const call: unknown = target[method];
        if (typeof call !== 'function') return call;
        return async (...args: unknown[]): Promise<Reply<unknown>> => {
          // Looked at when the call is made: whoever holds the host for long notices too.
          const fault = [...armed.values()].find((each) => each.kind === 'host-down' && each.host === name);
          if (!fault) return call.apply(target, args) as Promise<Reply<unknown>>;
          fault.fired += 1;
          return { kind: 'unreachable', reason: 'injected fault' };
        };
      },
    });

  return {
    async arm(actor, request) {
      const refusal = incomplete(request) ?? unknownStep(request);
      if (refusal) return { kind: 'refused', refusal };
      if (armed.size >= MAX_ARMED) {
        return { kind: 'refused', refusal: conflict(`${MAX_ARMED} faults are armed or spent already: delete some.`) };
      }
      const place = await placeOf(stores, request);
      if (place.kind === 'refused') return place;
      const fault: Fault = {
        ...request,
        ...(isOfStep(request) ? { times: request.times ?? 1 } : {}),
        ...(request.kind === 'delay' ? { delay_ms: request.delay_ms ?? DELAY_MS } : {}),
        ...{ id: newId(), fired: 0, armedAt: clock.now(), armedBy: actor.userId },
        ...{ cellId: place.cellId, over: new AbortController() },
      };
      armed.set(fault.id, fault);
      log.warn({ faultId: fault.id, ...request, userId: actor.userId }, 'a fault is armed');
      return { kind: 'armed', fault: shown(fault) };
    },

    list: () => [...armed.values()].map(shown),

    disarm(id) {
      const ids = id === undefined ? [...armed.keys()] : [id];
      for (const each of ids) armed.get(each)?.over.abort();
      const gone = ids.filter((each) => armed.delete(each)).length;
      if (gone > 0) log.warn({ faultIds: ids }, 'faults are deleted');
      return gone;
    },

    async around(row, step, phase, effect) {
      const fault = striking(row, step, phase);
      if (!fault) return effect();
      const hit = () => strike(fault, { sagaId: row.id, serverId: row.key, step, direction: phase });
      switch (fault.kind) {
        case 'error':
          hit();
          return failed(fault, true);
        case 'delay':
          hit();
          await clock.sleep(fault.delay_ms ?? DELAY_MS, fault.over.signal);
          return effect();
        case 'crash-before':
          hit();
          return dead(die);
        case 'error-after':
        case 'lost-reply':
        case 'crash-after': {
          const outcome = await effect();
          if (!hasHappened(outcome)) return outcome;
          hit();
          return fault.kind === 'crash-after' ? dead(die) : failed(fault, fault.kind === 'error-after');
        }
        case 'cell-down':
        case 'host-down':
          return effect(); // has no step, and is never found here
        default:
          return assertNever(fault.kind);
      }
    },

    stores: (real) => ({
      ...real,
      async cell(cellId) {
        const fault = [...armed.values()].find((each) => each.kind === 'cell-down' && each.cellId === cellId);
        if (!fault) return real.cell(cellId);
        fault.fired += 1;
        throw new CellDown(cellId, 'injected fault');
      },
    }),

    host: within,
    storage: within,

    close() {
      for (const fault of armed.values()) fault.over.abort();
    },
  };
}

const isOfStep = ({ kind }: FaultRequest): boolean => kind !== 'cell-down' && kind !== 'host-down';

function shown({ cellId: _cellId, over: _over, ...fault }: Fault): ArmedFault {
  return fault;
}

const failed = (fault: Fault, final: boolean): Outcome => ({
  kind: 'failed',
  reason: `injected fault (${fault.kind})`,
  final,
});

/** Ends the process. The promise never resolves: nothing may happen behind it any more. */
function dead(die: () => void): Promise<never> {
  die();
  return new Promise(() => undefined);
}

const NEEDED: Readonly<Record<FaultKind, readonly (keyof FaultRequest)[]>> = {
  error: ['saga', 'step', 'phase'],
  'error-after': ['saga', 'step', 'phase'],
  'crash-before': ['saga', 'step', 'phase'],
  'crash-after': ['saga', 'step', 'phase'],
  'lost-reply': ['saga', 'step', 'phase'],
  delay: ['saga', 'step', 'phase'],
  'cell-down': ['cell'],
  'host-down': ['host'],
};

function incomplete(request: FaultRequest): Refusal | null {
  const { kind } = request;
  const allowed: readonly string[] = [
    ...['kind', ...NEEDED[kind]],
    ...(isOfStep(request) ? ['times', 'server'] : []),
    ...(kind === 'delay' ? ['delay_ms'] : []),
  ];
  const missing = NEEDED[kind].find((key) => request[key] === undefined);
  if (missing !== undefined) return badRequest(`A fault of kind ${kind} needs '${missing}'.`);
  const surplus = Object.keys(request).find((key) => !allowed.includes(key));
  return surplus === undefined ? null : badRequest(`A fault of kind ${kind} has no '${surplus}'.`);
}

function unknownStep(request: FaultRequest): Refusal | null {
  if (!isOfStep(request)) return null;
  const definition = MOVES.find((move) => move.definition.name === request.saga)?.definition;
  if (!definition) return badRequest(`There is no saga '${request.saga}'; see /crosscell/v1/sagas.`);
  const index = definition.steps.findIndex((step) => step.name === request.step);
  const named = `'${request.step}' of the saga '${definition.name}'`;
  if (index < 0) return badRequest(`There is no step ${named}; see /crosscell/v1/sagas.`);
  if (phasesOf(definition, index).some((phase) => phase === request.phase)) return null;
  return badRequest(
    request.phase === 'do'
      ? `The step ${named} is a part of the transaction that makes the saga: no fault can strike there.`
      : `The step ${named} is behind its pivot '${definition.steps[definition.pivot]?.name}' and never undone: no fault can strike there.`,
  );
}

type Placed =
  | { readonly kind: 'placed'; readonly cellId: string | null }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

async function placeOf({ global }: Stores, request: FaultRequest): Promise<Placed> {
  if (request.kind === 'cell-down') {
    const name = request.cell ?? '';
    const cell = await global.selectFrom('cells').select('id').where('name', '=', name).executeTakeFirst();
    if (cell) return { kind: 'placed', cellId: cell.id };
    return { kind: 'refused', refusal: badRequest(`There is no cell '${name}'.`) };
  }
  if (request.kind === 'host-down') {
    const name = request.host ?? '';
    const host =
      (await global.selectFrom('hosts').select('id').where('name', '=', name).executeTakeFirst()) ??
      (await global.selectFrom('storage_hosts').select('id').where('name', '=', name).executeTakeFirst());
    if (!host) return { kind: 'refused', refusal: badRequest(`There is no host '${name}'.`) };
  }
  return { kind: 'placed', cellId: null };
}
