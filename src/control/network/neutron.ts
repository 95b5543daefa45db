// The network service that is a Neutron's: networks are mirrored, ports are made there, and bound there as the ledger says.
//
// Theory of operation. `neutron_servers` has a row for each server that may have ports in Neutron: written before the first
// is made, gone when the last is. It says which bindings were last brought about there; '' while that is under way or
// not known. So what the ledger says and Neutron may not have yet can always be told, and is owed:
//   (no row) ── take ──> 'taken' ── settle ──> settled ── ledger changed, settle begins ──> '' ── settle ──> settled | (no row)
// One that is 'taken' for GRACE_MS (a create records its ports long before) and has no ports in the ledger is a server that
// never came about: its ports in Neutron go.
// Neutron knows no generations. Who settles reads the ledger, which is fenced, and reads it once more when it has written:
// when that has changed meanwhile it begins anew. So of two that settle one server at a time the later word is the
// ledger's; one that dies half-way leaves '', and the periodic round settles.
// Not handled: ports and networks made for one project by RBAC, IPv6, security groups (Neutron's default group applies),
// attaching further interfaces.

import { messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import { planSubnet } from '../../model/subnets.ts';
import { type Neutron, NeutronRefused, type NeutronSubnet } from '../../openstack/neutron.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import type { Platform } from '../platform.ts';
import { MTU } from './networks.ts';
import type { NetworkService, PortsWish, Taken, TakenPort } from './service.ts';
import { flag } from './standard.ts';
import { subnetRow } from './subnets.ts';

/** How long a server's ports may be in Neutron before they are in the ledger. */
const GRACE_MS = 10 * 60_000;
/** How often settling begins anew when the ledger changes meanwhile. */
const ROUNDS = 5;
/** Servers looked at in one periodic round. */
const BATCH = 500;

/** In the place of what is settled: ports are being made, which the ledger does not have yet. */
const TAKEN = 'taken';

/** A port of a server with its bindings as the ledger has them. */
export interface LedgerPort {
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
      await write(p, serverId, '');
      await bringAbout(neutron, serverId, wanted);
      if (JSON.stringify(await ledgerOf(p, serverId)) !== text) {
        // Somebody may have settled what is there now, and this has come behind it: it is settled once more.
        await write(p, serverId, '');
        continue;
      }
      if (wanted.length > 0) await write(p, serverId, text);
      else await p.stores.global.deleteFrom('neutron_servers').where('server_id', '=', serverId).execute();
      return;
    }
    throw new ServiceDown(`the ports of server ${serverId} change while they are being settled`);
  }

  return {
    settle,
    refresh: (p) => mirrorNetworks(p, neutron),
    take: (p, wish) => take(p, neutron, wish),
    async payOwed(p) {
      const rows = await p.stores.global
        .selectFrom('neutron_servers')
        .select(['server_id', 'created_at', 'settled_json'])
        .where('server_id', '>', after)
        .orderBy('server_id')
        .limit(BATCH)
        .execute();
      after = rows.length === BATCH ? (rows.at(-1)?.server_id ?? '') : '';
      for (const { server_id: serverId, settled_json: settled, created_at: since } of rows) {
        if (settled === TAKEN && p.clock.now() - since < GRACE_MS) continue;
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

async function settledOf(p: Platform, serverId: string): Promise<string | null> {
  const row = await p.stores.global
    .selectFrom('neutron_servers')
    .select('settled_json')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  return row?.settled_json ?? null;
}

async function write(p: Platform, serverId: string, text: string): Promise<void> {
  const set = { settled_json: text };
  await p.stores.global.updateTable('neutron_servers').set(set).where('server_id', '=', serverId).execute();
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
async function bringAbout(neutron: Neutron, serverId: string, wanted: readonly LedgerPort[]): Promise<void> {
  const there = await neutron.portsOf(serverId);
  for (const { id } of there) if (!wanted.some((port) => port.id === id)) await neutron.deletePort(id);
  for (const { id, bindings } of wanted) {
    if (!there.some((port) => port.id === id)) {
      throw new NeutronRefused(`port ${id} of server ${serverId} is not in Neutron any more`);
    }
    const old = (await neutron.bindings(id)).filter(({ host }) => host !== '');
    const active = bindings.find((each) => each.active);
    if (active) await bindActively(neutron, id, active.host, old);
    for (const { host } of bindings) {
      if (host !== active?.host && !old.some((each) => each.host === host)) await neutron.bind(id, host);
    }
    for (const { host } of old) if (!bindings.some((each) => each.host === host)) await neutron.unbind(id, host);
  }
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

/** Ports in Neutron, one for each network. When one cannot be had those before it go with the periodic round. */
async function take(p: Platform, neutron: Neutron, wish: PortsWish): Promise<Taken> {
  const { networks, ...rest } = wish;
  if (networks.length === 0) return { kind: 'ok', ports: [] };
  const row = { server_id: wish.serverId, settled_json: TAKEN, created_at: p.clock.now() };
  await p.stores.global.insertInto('neutron_servers').values(row).execute();
  const ports: TakenPort[] = [];
  for (const { id: networkId, ip } of networks) {
    const said = await neutron.createPort({ ...rest, networkId, ip });
    if (said.kind === 'refused') return no(said.status === 409 ? 409 : 400, said.message);
    const { id, mac_address: mac, fixed_ips: ips } = said.body;
    const fixedIps = ips
      .filter(({ ip_address: ip }) => !ip.includes(':'))
      .map((each) => ({ subnetId: each.subnet_id, ip: each.ip_address }));
    if (fixedIps.length === 0) return no(400, `Network ${networkId} gives no IPv4 address.`);
    ports.push({ id, mac, fixedIps });
  }
  return { kind: 'ok', ports };
}

const no = (code: 400 | 409, message: string): Taken => ({ kind: 'refused', refusal: { code, message } });

/** Records what is there now under the same ids. What is not there any more stays on record while ports are on it. */
async function mirrorNetworks(p: Platform, neutron: Neutron): Promise<ReadonlySet<string>> {
  const [networks, subnets] = await Promise.all([neutron.networks(), neutron.subnets()]);
  const usable = networks.filter(({ id }) => isUuid(id));
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    for (const network of usable) {
      const said = {
        ...{ name: network.name, project_id: network.project_id, shared: flag(network.shared) },
        ...{ external: flag(network['router:external'] ?? false), mtu: network.mtu ?? MTU, port_security: 0 },
      };
      await trx
        .insertInto('networks')
        .values({ id: network.id, ...said, created_at: now, updated_at: now })
        .onConflict((any) => any.column('id').doUpdateSet(said))
        .execute();
    }
    for (const subnet of subnets) {
      const row = subnetFrom(subnet, now);
      if (row === null || !usable.some(({ id }) => id === subnet.network_id)) continue;
      const { name, cidr, gateway_ip } = row;
      await trx
        .insertInto('subnets')
        .values(row)
        .onConflict((any) => any.column('id').doUpdateSet({ name, cidr, gateway_ip }))
        .execute();
    }
  });
  return new Set(usable.map(({ id }) => id));
}

/** Null: a subnet that a guest of ours cannot be on. Its pools are Neutron's business. */
function subnetFrom(subnet: NeutronSubnet, now: number) {
  const plan = isUuid(subnet.id) ? planSubnet({ cidr: subnet.cidr, gateway: subnet.gateway_ip }) : null;
  if (plan === null || 'code' in plan) return null;
  const { id, name, network_id: networkId, project_id: projectId } = subnet;
  return subnetRow({ id, name, networkId, projectId, plan, now });
}
