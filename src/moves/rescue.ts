// Rescue and unrescue: a server runs from another disk for a while, with its own as the second one.
//
// ACTIVE | SHUTOFF | ERROR → RESCUE → ACTIVE. The rescue disk is a spare one (see decision 39) on an image, the server's own
// if no other is named; it is made while the guest goes on, and named after the server, so that unrescue knows it. Volumes
// and ports stay as they are. A rescued guest that turned itself off, or whose host restarted, is rescued still. Unrescue
// leaves nothing of the rescue disk; it ends in ACTIVE, whatever the server was before, as in Nova.
import { findBaseImage, findImage, isForGuests, maySee } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { invariant } from '../lib/errors.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { badRequest } from '../model/refusal.ts';
import {
  type Actor,
  type Flavor,
  isAdmin,
  POWER_STATE,
  type Refusal,
  type Server,
  type VmState,
} from '../model/types.ts';
import { type ActionState, askedBy, letGo, takeHold, unlessLetGo } from './claim.ts';
import type { Move, StepContext, StepOutcome } from './move.ts';
import { doneBecause } from './outcomes.ts';
import { powerOff, powerOffAgain, powerOn, powerOnAgain } from './power-effects.ts';
import { dropSpare, makeSpare, unmakeSpare, useSpare, useSpareAgain } from './spare-effects.ts';
import { guestSpec, recordedDrive } from './spec.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

interface State extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly graceSeconds: number;
  /** Whether the guest was to run before. */
  readonly wasOn: boolean;
}

export interface RescueState extends State {
  readonly vmState: VmState;
  readonly flavor: Flavor;
  readonly imageId: string;
  /** The rescue disk comes behind all others, which stay where they are. */
  readonly stable: boolean;
}

const RUNS = { power_state: POWER_STATE.RUNNING } as const;

export const RESCUE: Move<RescueState> = {
  name: 'rescue',
  version: 1,
  pivot: 'let go',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'rescue', 'rescuing', { from: [c.s.vmState], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'make disk',
      do: makeDisk,
      undo: (c) => unmakeSpare(c, c.s.host, c.serverId),
    },
    {
      step: 'turn off',
      do: (c) => powerOff(c, c.s.host, c.s.graceSeconds),
      undo: onAgain,
    },
    {
      step: 'switch disk',
      do: (c) => useSpare(c, c.s.host, true, c.serverId),
      undo: (c) => useSpareAgain(c, c.s.host, false, c.serverId),
    },
    {
      step: 'start guest',
      do: (c) => powerOn(c, c.s.host),
      undo: (c) => powerOffAgain(c, c.s.host),
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, { vm_state: 'rescued', ...RUNS }, null),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

const FORWARD = 'forward only: the guest runs from its own disk';

export const UNRESCUE: Move<State> = {
  name: 'unrescue',
  version: 1,
  pivot: 'start guest',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'unrescue', 'unrescuing', { from: ['rescued'], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'turn off',
      do: (c) => powerOff(c, c.s.host, c.s.graceSeconds),
      undo: onAgain,
    },
    {
      step: 'switch disk',
      do: (c) => useSpare(c, c.s.host, false, c.serverId),
      undo: (c) => useSpareAgain(c, c.s.host, true, c.serverId),
    },
    {
      step: 'start guest',
      // The pivot: tried for ever, but for a server that is to be deleted.
      do: (c) => powerOnAgain(c, c.s.host),
      undo: (c) => powerOffAgain(c, c.s.host),
    },
    {
      step: 'drop disk',
      do: (c) => dropSpare(c, c.s.host, c.serverId),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, { vm_state: 'active', ...RUNS }, null),
      undo: FORWARD,
    },
  ],
};

async function onAgain<S extends State>(c: StepContext<S>): Promise<StepOutcome<S>> {
  return c.s.wasOn ? powerOnAgain(c, c.s.host) : doneBecause('was off');
}

async function makeDisk(c: StepContext<RescueState>): Promise<StepOutcome<RescueState>> {
  const { imageId, flavor, host, cellId } = c.s;
  const image = await findBaseImage(c.p, imageId);
  if (!image) return { kind: 'failed', reason: `image ${imageId} is gone`, final: true };
  const drive = await recordedDrive(c.p, cellId, c.serverId);
  const spec = await guestSpec(c.p, c.serverId, null, flavor, drive);
  // As large as its image: what is saved there goes with it.
  const root = { kind: 'image', image, bytes: image.virtualBytes } as const;
  return makeSpare(c, host, c.s.stable ? 'stable-rescue' : 'rescue', { ...spec, root }, c.serverId);
}

export interface RescueRequest {
  /** Null: the server's own. */
  readonly imageRef: string | null;
  /** From 2.87 on a server that boots from a volume can be rescued, too. */
  readonly fromVolume: boolean;
}

export const rescueServer = inTurn(beginRescue);

async function beginRescue(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: RescueRequest,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('rescue', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  const image = await imageFor(p, actor, server, request);
  if ('code' in image) return image;
  const state = {
    ...stateFor(p, actor, server, cellId),
    vmState: server.vmState,
    flavor: server.flavor,
    ...image,
  };
  return startMove(p, { move: RESCUE, serverId, actor, state }, 'rescue');
}

export const unrescueServer = inTurn(beginUnrescue);

async function beginUnrescue(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('unrescue', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  return startMove(p, { move: UNRESCUE, serverId, actor, state: stateFor(p, actor, server, cellId) }, 'unrescue');
}

/** The image to be rescued from; 400 in Nova's words (nova/compute/api.py:rescue). */
async function imageFor(
  p: Platform,
  actor: Actor,
  server: Server,
  { imageRef, fromVolume }: RescueRequest,
): Promise<{ readonly imageId: string; readonly stable: boolean } | Refusal> {
  const own = diskImageOf(server.image);
  const named = imageRef === null ? null : await findImage(p, imageRef);
  if (imageRef !== null && (named?.status !== 'active' || !maySee(actor, named) || !isForGuests(named)))
    return badRequest(`Requested rescue image '${imageRef}' is not supported`);
  const { hw_rescue_bus: bus, hw_rescue_device: device } = named?.properties ?? server.image.properties;
  // libvirt's driver takes either as a wish for it; a root volume needs both.
  const stable = bus !== undefined || device !== undefined;
  if (own === null && !(fromVolume && named && bus !== undefined && device !== undefined))
    return badRequest(`Instance ${server.id} cannot be rescued: Cannot rescue a volume-backed instance`);
  const imageId = named?.id ?? own;
  invariant(imageId !== null, 'a server that boots from a volume is rescued from an image that is named');
  return { imageId, stable };
}

function stateFor(p: Platform, actor: Actor, server: Server, cellId: string): State {
  invariant(server.host !== null, 'the rules refuse a server without a host');
  return {
    ...askedBy(actor, server),
    ...{ cellId, host: server.host, graceSeconds: p.settings.shutdownTimeoutSeconds },
    wasOn: server.powerState === POWER_STATE.RUNNING || server.powerState === POWER_STATE.PAUSED,
  };
}
