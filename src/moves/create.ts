// Create: a server is scheduled, claimed and written down while the user waits, and then made by a saga.
//
// BUILD → ACTIVE | ERROR. The request's transaction claims the host's room, makes home and ports and starts the saga: so
// the quota and the room hold for what is under way. A server that finds no host is written down too, in ERROR with the
// reason, as Nova's users expect. A build that fails on its host is tried on another one of the same cell, as in Nova (see
// alternates.ts); when that does not do either it gives everything back and leaves the record in ERROR.
import type { UpdateResult } from 'kysely';
import { activateBindings, deletePortsOfServer, unbindPorts } from '../control/network.ts';
import { release } from '../control/placement.ts';
import { rowOf } from '../control/records.ts';
import { chooseHost } from '../control/scheduling.ts';
import { groupIdOf } from '../control/server-groups.ts';
import { dropMappings, insertMappings } from '../control/volumes/mappings.ts';
import { newId } from '../lib/ids.ts';
import { flavorOnHost } from '../model/resources.ts';
import { type Flavor, POWER_STATE, type Server } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { givenUp, noHost, type Tried, triedHosts } from './alternates.ts';
import { letGo, unlessLetGo } from './claim.ts';
import {
  type CreatedVolumes,
  giveUpVolumes,
  makeVolumes,
  plugInVolumes,
  settleCreated,
  unmakeVolumes,
  unplugVolumes,
} from './create-volumes.ts';
import { globally, inCell, ownsSaga } from './fencing.ts';
import { destroyOrOwe, jobOutcome } from './hosts.ts';
import type { Move, Owner, Place, StepContext } from './move.ts';
import { done, doneBecause, inGlobal, unlessFenced } from './outcomes.ts';
import { powerOn, powerOnProbation } from './power-effects.ts';
import { hasVolumes } from './server-volumes.ts';
import { driveOf, guestSpec } from './spec.ts';
import { giveBackLostChoice } from './target.ts';

export interface CreateState extends CreatedVolumes {
  readonly actor: Owner;
  readonly place: Place;
  readonly where?: Whereabouts;
  readonly tried?: readonly Tried[];
  readonly flavor: Flavor;
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
  /** The record as it is written first. */
  readonly server: Server;
}

type C = StepContext<CreateState>;

/** Of the steps that depend on the host: another one may do better. */
const ELSEWHERE = { retryFrom: 'take place' } as const;

export const CREATE: Move<CreateState> = {
  name: 'create',
  version: 1,
  pivot: 'let go',
  made: 1,
  parties: (s) => [s.place.host],
  steps: [
    // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
    { step: 'reserve room and ports', do: async () => done, undo: giveUpReserved },
    // Undone to ERROR with the reason: the user asked for a server and must be told what became of it.
    { step: 'write record', do: writeRecord, undo: leaveInError },
    // New ones, at their storage hosts; their records go with `reserve room and ports`.
    { step: 'make volumes', do: makeVolumes, undo: unmakeVolumes },
    // The first place was taken with the request. The undo of `reserve room and ports` gives up room and ports again.
    { step: 'take place', attempts: 3, do: takePlace, undo: giveUpPlace },
    {
      step: 'bind ports',
      do: bindElsewhere,
      // The port must keep a binding, or nothing would refuse an older generation: the next host's comes first.
      undo: 'the bindings go with the ports; those at hosts that did not do, with `unbind tried hosts`',
    },
    {
      ...{ step: 'prepare host', ...ELSEWHERE, do: prepareHost },
      undo: (c) => destroyOrOwe(c, c.s.place.host, 'server that could not be built'),
    },
    {
      ...{ step: 'plug in volumes', ...ELSEWHERE, do: (c) => plugInVolumes(c, c.s.place.host) },
      undo: (c) => unplugVolumes(c, c.s.place.host),
    },
    {
      // On probation: a host that does not answer may have started it all the same, and it must be off before another
      // host starts one. It goes with `prepare host`, or is off by the end of its probation.
      ...{ step: 'start guest', ...ELSEWHERE, attempts: 2, do: (c) => powerOnProbation(c, c.s.place.host) },
      undo: 'the guest goes with the host: see `prepare host`',
    },
    {
      // From here on no other host is tried. Starts it again if its probation ended meanwhile.
      ...{ step: 'keep guest', attempts: 3, do: (c) => powerOn(c, c.s.place.host) },
      undo: 'the guest goes with the host: see `prepare host`',
    },
    {
      step: 'settle volumes',
      do: (c) => settleCreated(c, triedHosts(c.s)),
      undo: 'they are given up with `reserve room and ports`',
    },
    { step: 'set generation', do: setGeneration, undo: 'a generation only grows' },
    { step: 'unbind tried hosts', do: unbindTried, undo: 'nothing uses them' },
    { step: 'let go', do: letGoActive, undo: (c) => unlessLetGo(c, c.s.place.cellId) },
  ],
};

function giveUpReserved(c: C) {
  return inGlobal(c, async (trx) => {
    await release(trx, c.serverId);
    await deletePortsOfServer(trx, c.serverId);
    await giveUpVolumes(c, trx);
  });
}

/** The record is written if it was not yet, or the home would be that of a server that nobody can see or delete. */
async function leaveInError(c: C) {
  await writeRecord(c);
  const home = { vm_state: 'error', host: null, zone: null, fault_json: faultOf(c) } as const;
  return letGo(c, c.s.place.cellId, home, 'Error', async (trx) => {
    if (hasVolumes(c)) await dropMappings(trx, c.serverId);
  });
}

async function giveUpPlace(c: C) {
  await inGlobal(c, (trx) => release(trx, c.serverId));
  return { kind: 'done', output: { tried: givenUp(c, c.s.place) } } as const;
}

async function bindElsewhere(c: C) {
  if (triedHosts(c.s).length === 0) return doneBecause('bound with the request');
  return unlessFenced(await activateBindings(c.p.stores.global, c.serverId, c.s.place.host, c.generation));
}

async function prepareHost(c: C) {
  const spec = await guestSpec(c.p, c.serverId, c.s.imageId, c.s.flavor, driveOf(c.s.server));
  const host = await c.host(c.s.place.host);
  const how = { generation: c.generation, spec, disk: c.s.imageId === null ? 'none' : 'fresh' } as const;
  return jobOutcome(await host.define(c.serverId, how));
}

async function setGeneration(c: C) {
  await SET_GENERATION(c.p.stores.global, { serverId: c.serverId, generation: c.generation, sagaId: c.saga.id });
  return done;
}

interface Generation {
  readonly serverId: string;
  readonly generation: number;
  readonly sagaId: string;
}

const SET_GENERATION = fixed<GlobalTables, Generation, UpdateResult>((db, { serverId, generation, sagaId }) =>
  db
    .updateTable('server_mappings')
    .set({ generation })
    .where('server_id', '=', serverId)
    .where(ownsSaga(db, { serverId, generation, saga: { id: sagaId } })),
);

async function unbindTried(c: C) {
  for (const host of triedHosts(c.s)) {
    const result = await unbindPorts(c.p.stores.global, c.serverId, host, c.generation);
    if (result === 'fenced') return unlessFenced(result);
  }
  return done;
}

function letGoActive(c: C) {
  const { host, zone, cellId } = c.s.place;
  const runs = { vm_state: 'active', power_state: POWER_STATE.RUNNING, launched_at: c.p.clock.now() } as const;
  return letGo(c, cellId, { ...runs, host, zone }, null);
}

const faultOf = (c: C): string =>
  JSON.stringify({
    code: 500,
    message: 'Build of instance aborted.',
    details: c.saga.reason,
    createdAt: c.p.clock.now(),
  });

async function takePlace(c: C) {
  if (triedHosts(c.s).length === 0) return doneBecause('taken with the request');
  await giveBackLostChoice(c);
  const { actor, flavor, server, place } = c.s;
  const chosen = await chooseHost(
    c.p,
    {
      flavor: flavorOnHost(flavor, server.image),
      imageProperties: server.image.properties,
      requestedZone: server.requestedZone,
      ...whereTo(c.s.where, triedHosts(c.s)),
      homeCellId: place.cellId,
      crossCellAllowed: false,
      groupId: await groupIdOf(c.p.stores.global, c.serverId),
    },
    { id: c.serverId, type: 'server', serverId: c.serverId, ...actor },
    (claimRoom) => globally(c.p.stores.global, c, claimRoom),
  );
  if (chosen.kind === 'none') return noHost(c.s, chosen.reason);
  const { cellId, host, zone } = chosen;
  return { kind: 'done', output: { place: { cellId, host, zone } } } as const;
}

async function writeRecord(c: C) {
  const cell = await c.p.stores.cell(c.s.place.cellId);
  await inCell(cell, c, async (trx) => {
    await trx
      .insertInto('servers')
      .values(rowOf({ ...c.s.server, sagaId: c.saga.id }))
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
    await trx
      .insertInto('server_actions')
      .values(createAction(c.s.server, c.s.actor, c.saga.requestId, c.saga.id, c.p.clock.now()))
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
    await insertMappings(trx, c.s.mappings ?? []);
  });
  return done;
}

/** The row of the action that making a server is. */
export const createAction = (server: Server, actor: Owner, requestId: string, sagaId: string | null, now: number) => ({
  id: sagaId ?? newId(),
  server_id: server.id,
  action: 'create',
  request_id: requestId,
  user_id: actor.userId,
  project_id: actor.projectId,
  saga_id: sagaId,
  message: null,
  started_at: now,
  finished_at: null,
});

/** Which hosts a new server may go to; by name. Absent: no matter. Of no account for its later moves. */
export interface Whereabouts {
  /** This one alone. */
  readonly host?: string;
  readonly onlyHosts?: readonly string[];
  readonly ignoredHosts?: readonly string[];
}

/** The same, as the scheduler asks for it; without the hosts that did not do. */
export const whereTo = (where: Whereabouts = {}, tried: readonly string[]) => ({
  requestedHost: where.host ?? null,
  ...(where.onlyHosts === undefined ? {} : { onlyHosts: where.onlyHosts }),
  ignoredHosts: [...(where.ignoredHosts ?? []), ...tried],
});
