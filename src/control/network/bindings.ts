// Bindings of a port, as operators see and change them (Neutron's extension binding-extended).
//
// Theory of operation. Moves bind and unbind the ports of the servers they work on (control/network.ts); an operator may
// add bindings beside theirs. Such a binding is the operator's (`by_operator`): moves activate it when they come to its
// host and leave it there, inactive, when they go, and only the operator deletes it. While a saga works on the server, or
// a resize of it waits to be confirmed or reverted, its bindings are held: every change is refused with 409. Both sides
// take the lock on the server's ports first and look for a saga second, so a change lands before the saga's first look
// at the bindings or not at all. A change here raises no generation and lowers none: a binding that is added has the
// highest of the server's, and the active one, whose generation refuses stalled conductors, is never deleted.
// Making a binding active where the server is not is allowed, as in Neutron: the audit names it, and the server's next
// move sets it right.
import { type Kysely, sql } from 'kysely';
import type { Actor } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { openMigration } from '../migrations.ts';
import { portsLock } from '../network.ts';
import { type BindingProfile, profileText } from './port-rules.ts';
import { findPort, type PortRecord } from './ports.ts';
import { absent, accepted, type NetworkResult, no, ok, refusable, refuseWith } from './results.ts';

type Db = Kysely<GlobalTables>;

export interface BindingRecord {
  readonly host: string;
  readonly active: boolean;
  readonly profile: BindingProfile;
}

/** Most bindings of one port. */
const MAX_BINDINGS = 100;

/** The bindings of a port, the active one first. 404 without such a port, 400 when no server uses it (as Neutron). */
export async function listBindings(db: Db, actor: Actor, portId: string): Promise<NetworkResult<BindingRecord[]>> {
  const port = await serversPort(db, actor, portId);
  return port.kind === 'ok' ? ok(await bindingsOf(db, portId)) : port;
}

/** The binding of a port on one host; 404 without one. */
export async function findBinding(
  db: Db,
  actor: Actor,
  portId: string,
  host: string,
): Promise<NetworkResult<BindingRecord>> {
  const bindings = await listBindings(db, actor, portId);
  if (bindings.kind === 'refused') return bindings;
  const found = bindings.value.find((each) => each.host === host);
  return found ? ok(found) : bindingNotFound(portId, host);
}

/** Adds a binding: inactive, unless the port has no active one. 409 when the host has one already, 400 for no host. */
export const addBinding = (
  db: Db,
  actor: Actor,
  portId: string,
  wanted: { readonly host: string; readonly profile: BindingProfile },
): Promise<NetworkResult<BindingRecord>> =>
  change(db, actor, portId, async (trx, port, bindings) => {
    const { host } = wanted;
    if (bindings.some((each) => each.host === host)) {
      return no(409, 'PortBindingAlreadyExists', `Binding for port ${portId} on host ${host} already exists.`);
    }
    const known = await trx.selectFrom('hosts').select('id').where('name', '=', host).executeTakeFirst();
    if (!known || bindings.length >= MAX_BINDINGS) {
      const message = `Binding for port ${portId} on host ${host} could not be created or updated.`;
      return no(400, 'PortBindingError', message);
    }
    const profile = profileText(wanted.profile);
    const active = !bindings.some((each) => each.active);
    await trx
      .insertInto('port_bindings')
      .values({
        ...{ port_id: portId, host, active: active ? 1 : 0, by_operator: 1, profile_json: profile },
        generation: await highestGeneration(trx, port.serverId),
      })
      .execute();
    return ok({ host, active, profile: wanted.profile });
  });

/** Changes what is written down with a binding. */
export const updateBinding = (
  db: Db,
  actor: Actor,
  portId: string,
  host: string,
  update: { readonly profile?: BindingProfile },
): Promise<NetworkResult<BindingRecord>> =>
  change(db, actor, portId, async (trx, _port, bindings) => {
    const found = bindings.find((each) => each.host === host);
    if (!found) return bindingNotFound(portId, host);
    if (update.profile === undefined) return ok(found);
    const profile = profileText(update.profile);
    await trx
      .updateTable('port_bindings')
      .set({ profile_json: profile })
      .where('port_id', '=', portId)
      .where('host', '=', host)
      .execute();
    return ok({ ...found, profile: update.profile });
  });

/** The host's binding is the active one, the one before is inactive. 409 when it is already. */
export const activateBinding = (
  db: Db,
  actor: Actor,
  portId: string,
  host: string,
): Promise<NetworkResult<BindingRecord>> =>
  change(db, actor, portId, async (trx, _port, bindings) => {
    const found = bindings.find((each) => each.host === host);
    if (found?.active) {
      return no(409, 'PortBindingAlreadyActive', `Binding for port ${portId} on host ${host} is already active.`);
    }
    if (!found) return bindingNotFound(portId, host);
    const all = trx.updateTable('port_bindings').where('port_id', '=', portId);
    // The one before first: at no time are two of them active. It is kept now because the operator wants it so.
    await all.set({ active: 0, by_operator: 1 }).where('active', '=', 1).execute();
    await all.set({ active: 1 }).where('host', '=', host).execute();
    return ok({ ...found, active: true });
  });

/** Deletes an inactive binding. 409 for the active one: a server's port is never without. */
export const removeBinding = (db: Db, actor: Actor, portId: string, host: string): Promise<NetworkResult<null>> =>
  change(db, actor, portId, async (trx, port, bindings) => {
    const found = bindings.find((each) => each.host === host);
    if (!found) return bindingNotFound(portId, host);
    if (found.active) {
      const message = `Binding for port ${portId} on host ${host} is active, and server ${port.serverId} uses the port.`;
      return no(409, 'PortInUse', message);
    }
    // What stays learns of the highest generation before any row that has it goes.
    await trx
      .updateTable('port_bindings')
      .set({ generation: await highestGeneration(trx, port.serverId) })
      .where('port_id', '=', portId)
      .execute();
    await trx.deleteFrom('port_bindings').where('port_id', '=', portId).where('host', '=', host).execute();
    return ok(null);
  });

/** A transaction over the bindings of a server's port that nothing else changes meanwhile; refused while they are held. */
async function change<T>(
  db: Db,
  actor: Actor,
  portId: string,
  work: (trx: Db, port: PortRecord, bindings: readonly BindingRecord[]) => Promise<NetworkResult<T>>,
): Promise<NetworkResult<T>> {
  const seen = await serversPort(db, actor, portId);
  if (seen.kind === 'refused') return seen;
  return refusable(() =>
    db.transaction().execute(async (trx) => {
      await exclusively(trx, portsLock(seen.value.serverId));
      // Read again under the lock: it may have been detached, or its server deleted, meanwhile.
      const port = accepted(await serversPort(trx, actor, portId));
      const held = await holderOf(trx, port.serverId);
      if (held !== null)
        refuseWith(no(409, 'PortInUse', `Port ${portId} of server ${port.serverId} is held: ${held}.`));
      return accepted(await work(trx, port, await bindingsOf(trx, portId)));
    }),
  );
}

async function holderOf(trx: Db, serverId: string): Promise<string | null> {
  const saga = await trx
    .selectFrom('sagas')
    .select('definition')
    .where('key', '=', serverId)
    .where(sql<boolean>`status in ('active', 'stuck')`)
    .executeTakeFirst();
  if (saga) return `the operation '${saga.definition}' works on the server`;
  return (await openMigration(trx, serverId)) ? 'a resize of the server waits to be confirmed or reverted' : null;
}

/** The port, when the actor sees it and a server uses it. */
async function serversPort(db: Db, actor: Actor, portId: string): Promise<NetworkResult<PortRecord>> {
  const port = await findPort(db, actor, portId);
  if (!port) return absent('port', portId);
  if (port.serverId !== '') return ok(port);
  const message = `Bad port request: Invalid port ${portId}. Operation only valid on compute and shared filesystem ports.`;
  return no(400, 'BadRequest', message);
}

async function bindingsOf(db: Db, portId: string): Promise<BindingRecord[]> {
  const rows = await db
    .selectFrom('port_bindings as b')
    .innerJoin('ports as p', 'p.id', 'b.port_id')
    .select(['b.host', 'b.active', 'b.profile_json', 'p.profile_json as portsProfile'])
    .where('b.port_id', '=', portId)
    .orderBy('b.active', 'desc')
    .orderBy('b.host')
    .execute();
  return rows.map(({ host, active, profile_json, portsProfile }) => ({
    ...{ host, active: active === 1, profile: JSON.parse(profile_json ?? portsProfile) as BindingProfile },
  }));
}

async function highestGeneration(trx: Db, serverId: string): Promise<number> {
  const { highest } = await trx
    .selectFrom('port_bindings as b')
    .innerJoin('ports as p', 'p.id', 'b.port_id')
    .select((eb) => eb.fn.coalesce(eb.fn.max('b.generation'), eb.lit(0)).as('highest'))
    .where('p.device_id', '=', serverId)
    .executeTakeFirstOrThrow();
  return Number(highest);
}

const bindingNotFound = (portId: string, host: string) =>
  no(404, 'PortBindingNotFound', `Binding for port ${portId} for host ${host} could not be found.`);
