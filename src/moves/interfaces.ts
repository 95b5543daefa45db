// Attaching a port to a server, and detaching it.
//
// Allowed for servers that are ACTIVE, PAUSED or SHUTOFF, as in Nova: not while a resize waits, whose two guests would
// part. As sagas on the server they exclude its moves. The port is the server's from the transaction that makes the saga
// on; it is DOWN, bound but not active, until the guest has its card. Turned back, a new port is gone and a user's port is
// free, as before. Detaching: a guest that does not let go of the card keeps it and its port.
import { claimPort, releasePort, type WantedPort } from '../control/network/interfaces.ts';
import { networkService, type Taken, type Taking } from '../control/network/service.ts';
import { activateBindings, bindPorts, guestPortOf, portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { newId } from '../lib/ids.ts';
import { notFound } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { letGo, takeHold, unlessLetGo } from './claim.ts';
import { asFound, type GuestState, guestState, orOweBack, orOweDevices, serverWithHost } from './devices.ts';
import { jobOutcome } from './hosts.ts';
import type { Move, StepContext, StepOutcome } from './move.ts';
import { done, inGlobal, LANDED, unlessFenced } from './outcomes.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface InterfaceState extends GuestState {
  readonly portId: string;
}

type C = StepContext<InterfaceState>;
type Outcome = StepOutcome<InterfaceState>;

export const ATTACH_INTERFACE: Move<InterfaceState> = {
  name: 'attach interface',
  version: 1,
  pivot: 'let go',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    {
      // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
      step: 'claim port',
      do: async () => done,
      undo: (c) => inGlobal(c, (trx) => releasePort(trx, c.serverId, c.s.portId)),
    },
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'attach_interface', null, asFound(c.s)),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'bind port',
      do: async (c) => unlessFenced(await bindPorts(c.p.stores.global, c.serverId, c.s.host, c.generation)),
      undo: 'the binding goes with the claim: see `claim port`',
    },
    {
      step: 'plug in port',
      do: plugIn,
      // A guest on a host that is down may have the card: that it loses it is owed.
      undo: async (c) => orOweBack(c, await unplug(c), 'interface that could not be attached'),
    },
    {
      step: 'activate port',
      do: async (c) => unlessFenced(await activateBindings(c.p.stores.global, c.serverId, c.s.host, c.generation)),
      undo: 'the binding goes with the claim: see `claim port`',
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

export const DETACH_INTERFACE: Move<InterfaceState> = {
  name: 'detach interface',
  version: 1,
  pivot: 'release port',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'detach_interface', null, asFound(c.s)),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      // A guest that does not let go of the card in time keeps it. One whose host goes down loses it: that is owed.
      step: 'unplug port',
      do: async (c) => orOweDevices(c, await unplug(c), 'interface that was detached'),
      undo: async (c) =>
        (await isThere(c)) ? orOweBack(c, await plugIn(c), 'interface that could not be detached') : done,
    },
    {
      step: 'release port',
      do: (c) => inGlobal(c, (trx) => releasePort(trx, c.serverId, c.s.portId)),
      undo: async (c) => ((await isThere(c)) ? done : LANDED),
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: 'forward only',
    },
  ],
};

const isThere = async (c: C): Promise<boolean> =>
  (await portsOfServer(c.p.stores.global, c.serverId)).some((each) => each.id === c.s.portId);

async function plugIn(c: C): Promise<Outcome> {
  const ports = await portsOfServer(c.p.stores.global, c.serverId);
  const port = ports.find((each) => each.id === c.s.portId);
  // A user may delete a port that a server uses: then there is nothing to plug in.
  if (!port) return { kind: 'failed', reason: `port ${c.s.portId} has been deleted`, final: true };
  const host = await c.host(c.s.host);
  return jobOutcome(await host.attachPort(c.serverId, { generation: c.generation, port: guestPortOf(port) }));
}

async function unplug(c: C): Promise<Outcome> {
  const host = await c.host(c.s.host);
  return jobOutcome(await host.detachPort(c.serverId, { generation: c.generation, portId: c.s.portId }));
}

export type AttachedPort =
  | { readonly kind: 'attached'; readonly portId: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Gives the server the port. Answers when it is promised; it is ACTIVE when the guest has it. `tag`: null for none. */
export const attachInterface = inTurn(beginAttach);

async function beginAttach(
  p: Platform,
  actor: Actor,
  serverId: string,
  wanted: WantedPort,
  tag: string | null,
): Promise<AttachedPort> {
  const found = await serverWithHost(p, actor, serverId, 'attachInterface');
  if ('code' in found) return { kind: 'refused', refusal: found };
  const { server, host, cellId } = found;
  const service = networkService(p);
  const taking = { takeId: newId(), serverId, projectId: server.projectId };
  const taken = await takeOne(p, actor, taking, wanted);
  if (taken.kind === 'refused') {
    await service.giveUp(p, taking);
    return taken;
  }
  const [port = null] = taken.ports;
  const portId = port?.id ?? (wanted.kind === 'port' ? wanted.portId : newId());
  const claim = { serverId, projectId: server.projectId, newPortId: portId, tag, now: p.clock.now(), taken: port };
  const refusal = await startMove(
    p,
    {
      ...{ move: ATTACH_INTERFACE, serverId, actor },
      claim: async (trx) => {
        const claimed = await claimPort(trx, actor, wanted, claim);
        if ('code' in claimed) return claimed;
        await service.claimed(trx, taking);
        return null;
      },
      state: { ...guestState(actor, server, cellId, host), portId },
    },
    'attach_interface',
  );
  await service.giveUp(p, taking);
  return refusal ? { kind: 'refused', refusal } : { kind: 'attached', portId };
}

/** The port as another network service has it, if there is one. */
async function takeOne(p: Platform, actor: Actor, taking: Taking, wanted: WantedPort): Promise<Taken> {
  const service = networkService(p);
  await service.refresh(p);
  const wish = wanted.kind === 'port' ? wanted : { ...wanted, groupIds: null };
  return service.take(p, { ...taking, actor, ports: [wish] });
}

/** Takes the port from the server. 404 when it does not have it. */
export const detachInterface = inTurn(beginDetach);

async function beginDetach(p: Platform, actor: Actor, serverId: string, portId: string): Promise<Refusal | null> {
  const found = await serverWithHost(p, actor, serverId, 'detachInterface');
  if ('code' in found) return found;
  const { server, host, cellId } = found;
  return startMove(
    p,
    {
      ...{ move: DETACH_INTERFACE, serverId, actor },
      claim: async (trx) => {
        const ports = await portsOfServer(trx, serverId);
        return ports.some(({ id }) => id === portId) ? null : notFound(`Port id ${portId} could not be found.`);
      },
      state: { ...guestState(actor, server, cellId, host), portId },
    },
    'detach_interface',
  );
}
