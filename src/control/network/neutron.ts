// The network service that is a Neutron's: networks are mirrored, ports are taken there (neutron-ports.ts), and bound there
// as the ledger says.
//
// Theory of operation. `neutron_servers` has a row for each server that may have ports in Neutron: written before the first
// is made, gone when the last is. It says which bindings were last brought about there; '' while that is under way or
// not known. So what the ledger says and Neutron may not have yet can always be told, and is owed:
//   (no row) ── take ──> '' ── settle ──> settled ── take, or the ledger changed and settle begins ──> '' ── settle ──> settled | (no row)
// `neutron_takes` has a row for each request that is taking ports for a server: they are in Neutron before they are in the
// ledger. While there is one, ports that the ledger does not know are left alone, and the server's row stays ''. It goes in
// the transaction that puts the ports on record, or when the request gives up; that of a request that died counts for
// GRACE_MS. `neutron_lent` says which ports in Neutron are users' own, written before a server has them: those are set
// free when the ledger does not give them to the server any more, all others are deleted. The ledger's row of a port that
// was set free goes with its row there: free ports are Neutron's business.
// Neutron knows no generations. Who settles reads the ledger, which is fenced, and reads it once more when it has written:
// when that has changed meanwhile it begins anew. So of two that settle one server at a time the later word is the
// ledger's; one that dies half-way leaves '', and the periodic round settles.
// A port that somebody has deleted there, or given to another, leads nowhere: there is nothing to bind, and nothing waits
// for it. The server keeps the interface until it is detached.
// Not handled: ports of other kinds than a host's own driver can have (SR-IOV).

import { messageOf } from '../../lib/errors.ts';
import { type Neutron, NeutronRefused } from '../../openstack/neutron.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import { exclusively } from '../../store/dialect.ts';
import type { Platform } from '../platform.ts';
import { readdressAt, recordAddresses } from './neutron-addresses.ts';
import { addGroupAt, groupIdsNamed, groupNamesAt, groupsAt, removeGroupAt } from './neutron-groups.ts';
import { mirrorNetworks } from './neutron-networks.ts';
import { isTaking, ledgerPort, takePorts, takesLock } from './neutron-ports.ts';
import type { NetworkService } from './service.ts';

/** How often settling begins anew when the ledger changes meanwhile. */
const ROUNDS = 5;
/** Servers looked at in one periodic round. */
const BATCH = 500;

/** A port of a server with its bindings as the ledger has them. */
interface LedgerPort {
  readonly id: string;
  readonly bindings: readonly { readonly host: string; readonly active: boolean }[];
}

export function neutronNetworks(neutron: Neutron): NetworkService {
  /** Where the next periodic round goes on. */
  let after = '';

  async function settle(p: Platform, serverId: string): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const row = await settledOf(p, serverId);
      if (row === null) return;
      const wanted = await ledgerOf(p, serverId);
      const text = JSON.stringify(wanted);
      if (row === text) return;
      await unsettle(p, serverId);
      await bringAbout(p, neutron, serverId, wanted);
      if (JSON.stringify(await ledgerOf(p, serverId)) === text) return conclude(p, serverId, text);
      // Somebody may have settled what is there now, and this has come behind it: it is settled once more.
      await unsettle(p, serverId);
    }
    throw new ServiceDown(`the ports of server ${serverId} change while they are being settled`);
  }

  return {
    settle,
    refresh: (p) => mirrorNetworks(p, neutron),
    async port(p, { projectId, admin }, portId) {
      const port = await neutron.port(portId);
      return port && (admin === true || port.project_id === projectId) ? ledgerPort(p, port) : null;
    },
    async look(p, serverId) {
      await unlessAway(p, serverId, 'addresses are shown as they were last seen', undefined, async () => {
        for (const port of await neutron.portsOf(serverId)) await recordAddresses(p, port);
      });
    },
    readdress: (p, _, portId, wishes) => readdressAt(p, neutron, portId, wishes),
    groupsNamed: (_, { projectId }, names) => groupIdsNamed(neutron, projectId, names),
    groupNames: (p, actor, serverIds) =>
      unlessAway(p, serverIds[0] ?? '', 'security groups are not shown', new Map<string, string[]>(), () =>
        groupNamesAt(neutron, actor, serverIds),
      ),
    groupsOf: (_, actor, serverId) => groupsAt(neutron, actor, serverId),
    addGroup: (_, actor, serverId, name) => addGroupAt(neutron, actor, serverId, name),
    removeGroup: (_, actor, serverId, name) => removeGroupAt(neutron, actor, serverId, name),
    take: (p, wish) => takePorts(p, neutron, wish),
    async claimed(trx, { takeId }) {
      await trx.deleteFrom('neutron_takes').where('id', '=', takeId).execute();
    },
    async giveUp(p, { takeId, serverId }) {
      const gone = await p.stores.global
        .deleteFrom('neutron_takes')
        .where('id', '=', takeId)
        .returning('id')
        .executeTakeFirst();
      if (!gone) return;
      await unlessAway(p, serverId, 'ports that were taken in vain are owed', undefined, () => settle(p, serverId));
    },
    async payOwed(p) {
      await p.stores.global.deleteFrom('neutron_takes').where('until', '<', p.clock.now()).execute();
      const rows = await p.stores.global
        .selectFrom('neutron_servers')
        .select('server_id')
        .where('server_id', '>', after)
        .orderBy('server_id')
        .limit(BATCH)
        .execute();
      after = rows.length === BATCH ? (rows.at(-1)?.server_id ?? '') : '';
      for (const { server_id: serverId } of rows) {
        try {
          await settle(p, serverId);
        } catch (error) {
          if (!(error instanceof NeutronRefused)) throw error;
          p.log.error({ serverId }, `ports are not as they should be: ${messageOf(error)}`);
        }
      }
    },
  };
}

/** What `work` answers, or `instead` when Neutron does not let it; the log says what is done without. */
async function unlessAway<T>(
  p: Platform,
  serverId: string,
  so: string,
  instead: T,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NeutronRefused || error instanceof ServiceDown)) throw error;
    p.log.warn({ err: error, serverId }, so);
    return instead;
  }
}

async function settledOf(p: Platform, serverId: string): Promise<string | null> {
  const row = await p.stores.global
    .selectFrom('neutron_servers')
    .select('settled_json')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  return row?.settled_json ?? null;
}

async function unsettle(p: Platform, serverId: string): Promise<void> {
  const unknown = { settled_json: '' };
  await p.stores.global.updateTable('neutron_servers').set(unknown).where('server_id', '=', serverId).execute();
}

/** That is settled now, unless somebody is taking ports for the server: then what is there will change. */
async function conclude(p: Platform, serverId: string, text: string): Promise<void> {
  await p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, takesLock(serverId));
    if (await isTaking(trx, serverId)) return;
    if (text === '[]') await trx.deleteFrom('neutron_servers').where('server_id', '=', serverId).execute();
    else
      await trx.updateTable('neutron_servers').set({ settled_json: text }).where('server_id', '=', serverId).execute();
  });
}

/** In one order, so that the same bindings are the same text. */
async function ledgerOf(p: Platform, serverId: string): Promise<LedgerPort[]> {
  const rows = await p.stores.global
    .selectFrom('ports as p')
    .leftJoin('port_bindings as b', 'b.port_id', 'p.id')
    .select(['p.id', 'b.host', 'b.active'])
    .where('p.device_id', '=', serverId)
    .orderBy('p.id')
    .orderBy('b.host')
    .execute();
  const ports = new Map<string, { host: string; active: boolean }[]>();
  for (const { id, host, active } of rows) {
    const bindings = ports.get(id) ?? [];
    ports.set(id, bindings);
    if (host !== null) bindings.push({ host, active: active === 1 });
  }
  return [...ports].map(([id, bindings]) => ({ id, bindings }));
}

/** Neutron has the server's ports, bound like that, and no others. The active binding comes first: none is a moment without. */
async function bringAbout(
  p: Platform,
  neutron: Neutron,
  serverId: string,
  wanted: readonly LedgerPort[],
): Promise<void> {
  // Before all other looks: what is lent later is not looked at.
  const lent = await lentTo(p, serverId);
  const there = await neutron.portsOf(serverId);
  const unwanted = (id: string): boolean => !wanted.some((port) => port.id === id);
  const surplus = there.map(({ id }) => id).filter(unwanted);
  const returned = lent.filter(unwanted);
  if (surplus.length + returned.length > 0 && (await isSurplus(p, serverId, wanted))) {
    for (const id of surplus) await (lent.includes(id) ? setFree(neutron, serverId, id) : neutron.deletePort(id));
    await forgetLent(p, serverId, returned);
  }
  for (const { id, bindings } of wanted) {
    const port = there.find((each) => each.id === id);
    if (!port) {
      p.log.warn({ serverId, portId: id }, 'a port is not in Neutron any more, or not the server’s there');
      continue;
    }
    await recordAddresses(p, port);
    const old = (await neutron.bindings(id)).filter(({ host }) => host !== '');
    // The first binding is active in Neutron: there is no other way to have one.
    const active = bindings.find((each) => each.active) ?? (old.length === 0 ? bindings[0] : undefined);
    if (active) await bindActively(neutron, id, active.host, old);
    for (const { host } of bindings) {
      if (host !== active?.host && !old.some((each) => each.host === host)) await neutron.bind(id, host);
    }
    for (const { host } of old) if (!bindings.some((each) => each.host === host)) await neutron.unbind(id, host);
  }
}

/**
 * Whether ports that the ledger does not give to the server are nobody's. Asked when they have been seen: whoever took
 * them for it is at it still, or has put them on record, or has given up.
 */
const isSurplus = async (p: Platform, serverId: string, wanted: readonly LedgerPort[]): Promise<boolean> =>
  !(await isTaking(p.stores.global, serverId)) &&
  JSON.stringify(await ledgerOf(p, serverId)) === JSON.stringify(wanted);

async function lentTo(p: Platform, serverId: string): Promise<string[]> {
  const lent = p.stores.global.selectFrom('neutron_lent').select('port_id').where('server_id', '=', serverId);
  return (await lent.execute()).map((row) => row.port_id);
}

/** The ports are free in Neutron. */
async function forgetLent(p: Platform, serverId: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await p.stores.global.transaction().execute(async (trx) => {
    await trx.deleteFrom('ports').where('id', 'in', ids).where('device_id', '=', '').execute();
    await trx.deleteFrom('neutron_lent').where('port_id', 'in', ids).where('server_id', '=', serverId).execute();
  });
}

/** Setting a port free takes its active binding alone. Another who settles may have set it free, and somebody may have it. */
async function setFree(neutron: Neutron, serverId: string, portId: string): Promise<void> {
  const port = await neutron.port(portId);
  if (port?.device_id !== serverId) return;
  for (const { host, status } of await neutron.bindings(portId)) {
    if (status !== 'ACTIVE') await neutron.unbind(portId, host);
  }
  await neutron.free(portId);
}

async function bindActively(
  neutron: Neutron,
  portId: string,
  host: string,
  old: readonly { readonly host: string; readonly status: string }[],
): Promise<void> {
  const there = old.find((each) => each.host === host);
  if (there?.status === 'ACTIVE') return;
  if (old.length === 0) return neutron.bindFirst(portId, host);
  if (!there) await neutron.bind(portId, host);
  await neutron.activate(portId, host);
}
