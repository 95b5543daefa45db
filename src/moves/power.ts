// Start, stop, reboot, pause, unpause, suspend, wake, and resume (a guest that should run but was found off after its
// host restarted).
//
// Small sagas of one table shape: take hold, turn off and/or on, let go with the new state. A start that fails leaves
// the server as it was, with the reason in its instance action.
import type { Updateable } from 'kysely';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { newRequestId } from '../lib/ids.ts';
import { checkAction, type ServerAction, stateOf } from '../model/actions.ts';
import {
  type Actor,
  isAdmin,
  POWER_STATE,
  type Refusal,
  type Server,
  type TaskState,
  type VmState,
} from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { type ActionState, askedBy, letGo, takeHold, unlessLetGo } from './claim.ts';
import type { Move, MoveStep } from './move.ts';
import { doneBecause } from './outcomes.ts';
import {
  goOnAgain,
  pause,
  pauseAgain,
  powerOff,
  powerOffAgain,
  powerOn,
  powerOnAgain,
  standStillAgain,
  stillSuspended,
  suspend,
  suspendAgain,
} from './power-effects.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface PowerState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly graceSeconds: number;
  /** Whether the guest was to run before. */
  readonly wasOn: boolean;
  /** Whether what it had in memory was kept on its host. */
  readonly wasSuspended?: boolean;
  readonly wasPaused?: boolean;
}

const take = (action: string, task: TaskState, from: readonly VmState[]): MoveStep<PowerState> => ({
  step: 'take hold',
  do: (c) => takeHold(c, c.s.cellId, action, task, { from, host: c.s.host }),
  undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
});

const turnOff: MoveStep<PowerState> = {
  step: 'turn off',
  do: (c) => powerOff(c, c.s.host, c.s.graceSeconds),
  undo: (c) => powerOnAgain(c, c.s.host),
};

const turnOn: MoveStep<PowerState> = {
  step: 'turn on',
  do: (c) => powerOn(c, c.s.host),
  undo: (c) => powerOffAgain(c, c.s.host),
};

const ON = { vm_state: 'active', power_state: POWER_STATE.RUNNING } as const;
const OFF = { vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN } as const;

const settle = (change: Updateable<CellTables['servers']>): MoveStep<PowerState> => ({
  step: 'let go',
  do: (c) => letGo(c, c.s.cellId, change, null),
  undo: (c) => unlessLetGo(c, c.s.cellId),
});

const power = (name: string, steps: readonly MoveStep<PowerState>[]): Move<PowerState> => ({
  name,
  version: 1,
  pivot: 'let go',
  parties: (s) => [s.host],
  steps,
});

export const START = power('start', [take('start', 'powering-on', ['stopped']), turnOn, settle(ON)]);
export const STOP = power('stop', [take('stop', 'powering-off', ['active', 'error']), turnOff, settle(OFF)]);
/** Also for a server whose resize waits to be confirmed: its vm_state stays. */
export const RESUME = power('resume', [
  take('start', 'powering-on', ['active', 'resized', 'rescued']),
  {
    ...turnOn,
    // The guest is to run: one that does stays on, and one whose host was silent is tried again by the monitor. Only where
    // the host cannot start it is it off for good, which the monitor then writes down.
    undo: async (c) => {
      const refused = c.saga.journal.some((entry) => entry.step === 'turn on' && (entry.refusals ?? 0) > 0);
      return refused ? powerOffAgain(c, c.s.host) : doneBecause('it is to run');
    },
  },
  settle({ power_state: POWER_STATE.RUNNING }),
]);
/** What the guest has in memory stays with its process: a paused server cannot be moved. */
export const PAUSE = power('pause', [
  take('pause', 'pausing', ['active']),
  { step: 'pause guest', do: (c) => pause(c, c.s.host, true), undo: (c) => pauseAgain(c, c.s.host, false) },
  settle({ vm_state: 'paused', power_state: POWER_STATE.PAUSED }),
]);
export const UNPAUSE = power('unpause', [
  take('unpause', 'unpausing', ['paused']),
  { step: 'let guest go on', do: (c) => pause(c, c.s.host, false), undo: (c) => pauseAgain(c, c.s.host, true) },
  settle(ON),
]);
/** What the guest has in memory is kept on its host: neither it nor the server can be moved meanwhile. */
export const SUSPEND = power('suspend', [
  take('suspend', 'suspending', ['active']),
  { step: 'keep memory', do: (c) => suspend(c, c.s.host), undo: (c) => goOnAgain(c, c.s.host) },
  settle({ vm_state: 'suspended', power_state: POWER_STATE.SHUTDOWN }),
]);
/** Nova's resume; the saga of that name here is about guests that were interrupted. */
export const WAKE = power('wake', [
  take('resume', 'resuming', ['suspended']),
  {
    step: 'load memory',
    do: (c) => powerOn(c, c.s.host),
    // A guest that has gone on and is off now has lost what it had in memory: it is a server that is off.
    undo: (c) => suspendAgain(c, c.s.host, () => letGo(c, c.s.cellId, OFF, 'Error')),
  },
  settle(ON),
]);
export const REBOOT = power('reboot', [
  take('reboot', 'rebooting', ['active', 'paused', 'suspended', 'stopped', 'error']),
  {
    ...turnOff,
    // Not after a failed `turn on`, whose undo has let go of the server: a guest that cannot be turned on stays off.
    undo: async (c) => {
      if (c.saga.journal.some((entry) => entry.step === 'turn on' && entry.direction === 'undo')) {
        return doneBecause('turning it on again is what failed');
      }
      if (c.s.wasSuspended) return stillSuspended(c, c.s.host, () => letGo(c, c.s.cellId, OFF, 'Error'));
      if (c.s.wasPaused) return standStillAgain(c, c.s.host);
      return c.s.wasOn ? powerOnAgain(c, c.s.host) : doneBecause('was off');
    },
  },
  {
    ...turnOn,
    undo: async (c) => {
      const off = await powerOffAgain(c, c.s.host);
      return off.kind === 'done' ? letGo(c, c.s.cellId, OFF, 'Error') : off;
    },
  },
  settle(ON),
]);

export const startServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, START, 'start', 0);

export const stopServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, STOP, 'stop', p.settings.shutdownTimeoutSeconds);

export const pauseServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, PAUSE, 'pause', 0);

export const suspendServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, SUSPEND, 'suspend', 0);

/** Has a suspended server go on from where it was. */
export const wakeServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, WAKE, 'resume', 0, 'resume');

export const unpauseServer = (p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> =>
  begin(p, actor, serverId, UNPAUSE, 'unpause', 0);

/** SOFT asks the guest to shut down and turns it on again; HARD pulls the plug first. */
export const rebootServer = (
  p: Platform,
  actor: Actor,
  serverId: string,
  type: 'SOFT' | 'HARD',
): Promise<Refusal | null> =>
  type === 'SOFT'
    ? begin(p, actor, serverId, REBOOT, 'softReboot', p.settings.shutdownTimeoutSeconds)
    : begin(p, actor, serverId, REBOOT, 'hardReboot', 0);

const begin = inTurn(beginNow);

async function beginNow(
  p: Platform,
  actor: Actor,
  serverId: string,
  move: Move<PowerState>,
  action: ServerAction,
  graceSeconds: number,
  word = move.name,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction(action, stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  if (server.host === null) return { code: 409, message: `Instance ${serverId} is not ready` };
  const state = {
    ...askedBy(actor, server),
    cellId,
    host: server.host,
    graceSeconds,
    wasOn: server.vmState === 'active' || server.vmState === 'paused',
    wasSuspended: server.vmState === 'suspended',
    wasPaused: server.vmState === 'paused',
  };
  return startMove(p, { move, serverId, actor, state }, word);
}

/** Turns on a guest that should be running on this host but is not. Does nothing when a saga works on the server. */
export async function resumeServer(p: Platform, server: Server, cellId: string, host: string): Promise<void> {
  const actor: Actor = {
    userId: server.userId,
    projectId: server.projectId,
    roles: ['admin'],
    requestId: newRequestId(),
  };
  const state = {
    ...askedBy(server, server),
    cellId,
    host,
    graceSeconds: 0,
    wasOn: false,
  };
  const refusal = await startMove(p, { move: RESUME, serverId: server.id, actor, state }, 'start');
  if (refusal) p.log.info({ serverId: server.id, refusal }, 'a guest that was found off is not resumed now');
}
