// Repairs in the global database: room, providers, ports, migrations, members of groups. One transaction each, the row
// locked first.
import { CLOSED_MIGRATIONS } from '../../control/migrations.ts';
import { deletePortsOfServer, unbindPorts } from '../../control/network.ts';
import { release } from '../../control/placement.ts';
import type { Platform } from '../../control/platform.ts';
import { leaveServerGroup } from '../../control/server-groups.ts';
import { exclusively, forUpdate } from '../../store/dialect.ts';
import { nextFence } from '../../store/sagas.ts';
import { left, proven, provenGone, provenIdle, provenSettled, type Repaired, repaired, Unproven } from './proof.ts';

const CLOSED: readonly string[] = CLOSED_MIGRATIONS;
/** Moves that leave a migration behind which failed when they have unwound. */
const OPENS_MIGRATION: readonly string[] = ['resize', 'evacuate'];
const NOT_THERE = 'it is not there any more';

/** A consumer that holds nothing, or whose move is closed, or whose server is gone. */
export const releaseRoom = (p: Platform, consumerId: string, serverId: string): Promise<Repaired> =>
  proven(async () => {
    await provenSettled(p, serverId);
    return p.stores.global.transaction().execute(async (trx) => {
      const consumer = await trx
        .selectFrom('consumers')
        .selectAll()
        .where('id', '=', consumerId)
        .modifyEnd(forUpdate(trx))
        .executeTakeFirst();
      if (consumer?.server_id !== serverId) return left(NOT_THERE);
      await provenIdle(trx, serverId);
      const holds = await trx
        .selectFrom('allocations')
        .select('used')
        .where('consumer_id', '=', consumerId)
        .executeTakeFirst();
      const migration = await trx
        .selectFrom('migrations')
        .select('status')
        .where('uuid', '=', consumerId)
        .executeTakeFirst();
      const isClosed = migration !== undefined && CLOSED.includes(migration.status);
      if (holds && !isClosed) await provenGone(p, trx, serverId);
      await release(trx, consumerId);
      return repaired(`released what consumer ${consumerId} held`);
    });
  });

/** A provider that is no host, and of which nothing is allocated. */
export const dropProvider = (p: Platform, providerId: string): Promise<Repaired> =>
  proven(() =>
    p.stores.global.transaction().execute(async (trx) => {
      // As whoever registers a host: its provider follows in the same transaction.
      await exclusively(trx, 'hosts');
      const host = await trx.selectFrom('hosts').select('id').where('id', '=', providerId).executeTakeFirst();
      if (host) throw new Unproven('it is a host by now');
      // A claim raises the generation of the provider's row first: it waits for this, and then finds none.
      await trx
        .selectFrom('providers')
        .select('id')
        .where('id', '=', providerId)
        .modifyEnd(forUpdate(trx))
        .executeTakeFirst();
      const held = await trx
        .selectFrom('allocations')
        .select('used')
        .where('provider_id', '=', providerId)
        .executeTakeFirst();
      if (held) throw new Unproven('something is allocated of it');
      await trx.deleteFrom('providers').where('id', '=', providerId).execute();
      return repaired(`deleted provider ${providerId}`);
    }),
  );

/** A binding of a port that nothing uses; or an inactive one that is not kept for a way back, beside an active one. */
export const unbindPort = (p: Platform, portId: string, serverId: string, host: string): Promise<Repaired> =>
  proven(async () => {
    if (serverId !== '') await provenSettled(p, serverId);
    // Not in the transaction, which waits for the port: whoever has that may want the sequence of fences.
    const generation = await nextFence(p.stores.global);
    return p.stores.global.transaction().execute(async (trx) => {
      const port = await trx
        .selectFrom('ports')
        .select('device_id')
        .where('id', '=', portId)
        .modifyEnd(forUpdate(trx))
        .executeTakeFirst();
      if (port?.device_id !== serverId) return left(NOT_THERE);
      if (serverId === '') {
        await trx.deleteFrom('port_bindings').where('port_id', '=', portId).where('host', '=', host).execute();
        return repaired(`deleted the binding of port ${portId} to ${host}`);
      }
      await provenIdle(trx, serverId);
      const bindings = await trx.selectFrom('port_bindings').selectAll().where('port_id', '=', portId).execute();
      if (bindings.some((each) => each.host === host && each.active === 1)) throw new Unproven('the binding is active');
      if (bindings.some((each) => each.host === host && each.by_operator === 1))
        throw new Unproven('an operator made it');
      if (!bindings.some((each) => each.active === 1)) throw new Unproven('the port has no active binding but this');
      const kept = await trx
        .selectFrom('migrations')
        .select('uuid')
        .where('server_id', '=', serverId)
        .where('source_host', '=', host)
        .where('status', 'not in', CLOSED)
        .executeTakeFirst();
      if (kept) throw new Unproven(`move ${kept.uuid} keeps it for its way back`);
      // The bindings that stay learn the generation: none older can be brought back by this.
      const unbound = await unbindPorts(trx, serverId, host, generation);
      if (unbound === 'fenced') throw new Unproven('somebody newer has changed it');
      return repaired(`deleted the binding of port ${portId} to ${host}`);
    });
  });

/** The ports that a server which is gone has left. */
export const deletePorts = (p: Platform, serverId: string): Promise<Repaired> =>
  proven(() =>
    p.stores.global.transaction().execute(async (trx) => {
      await trx.selectFrom('ports').select('id').where('device_id', '=', serverId).modifyEnd(forUpdate(trx)).execute();
      await provenGone(p, trx, serverId);
      await deletePortsOfServer(trx, serverId);
      return repaired(`deleted the ports of server ${serverId}`);
    }),
  );

/** A migration whose server is gone, or whose saga has unwound. What came of any other, only a person can tell. */
export const closeMigration = (p: Platform, migrationId: string): Promise<Repaired> =>
  proven(() =>
    p.stores.global.transaction().execute(async (trx) => {
      const migration = await trx
        .selectFrom('migrations')
        .select(['server_id', 'status', 'saga_id'])
        .where('uuid', '=', migrationId)
        .modifyEnd(forUpdate(trx))
        .executeTakeFirst();
      if (!migration || CLOSED.includes(migration.status)) return left(NOT_THERE);
      await provenIdle(trx, migration.server_id);
      const saga = await trx
        .selectFrom('sagas')
        .select(['definition', 'status'])
        .where('id', '=', migration.saga_id)
        .executeTakeFirst();
      const opened = saga !== undefined && OPENS_MIGRATION.includes(saga.definition);
      const failed = opened && saga.status === 'unwound' && migration.status !== 'finished';
      if (!failed) await provenGone(p, trx, migration.server_id);
      const status = migration.status === 'finished' ? 'confirmed' : 'error';
      await trx
        .updateTable('migrations')
        .set({ status, confirm_at: null, updated_at: p.clock.now() })
        .where('uuid', '=', migrationId)
        .execute();
      return repaired(`closed move ${migrationId} as ${status}`);
    }),
  );

/** Whom a server group has as a member although the server is gone. */
export const leaveGroup = (p: Platform, serverId: string): Promise<Repaired> =>
  proven(() =>
    p.stores.global.transaction().execute(async (trx) => {
      const member = trx.selectFrom('server_group_members').select('group_id').where('server_id', '=', serverId);
      if (!(await member.modifyEnd(forUpdate(trx)).executeTakeFirst())) return left(NOT_THERE);
      await provenGone(p, trx, serverId);
      await leaveServerGroup(trx, serverId);
      return repaired(`server ${serverId} is in no server group any more`);
    }),
  );
