// Interfaces of routers: a subnet is joined to a router by a port that the router holds, and parted by deleting it.
//
// Theory of operation. By subnet, the port is made with the subnet's gateway as its address; by port, one that nobody
// has is taken. Subnets of one router do not overlap. An interface stays while a floating IP leads through it. All in
// one transaction, alone among those of the service. Sentences: neutron/db/l3_db.py.
import { newId } from '../../lib/ids.ts';
import { parseCidr } from '../../model/network.ts';
import { overlap } from '../../model/subnets.ts';
import type { Actor } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import { insertPort } from './addresses.ts';
import { HELD, INTERFACE } from './holders.ts';
import { holds, notOfSubnet, sourceOf } from './port-rules.ts';
import { findPort, type PortRecord } from './ports.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import { absent, accepted, type NetworkResult, no, refusable, refuseWith } from './results.ts';
import { findRouter, type RouterRecord } from './routers.ts';
import { changed, type Db } from './standard.ts';
import { findSubnet, type SubnetRecord, subnetsOf } from './subnets.ts';

export interface InterfaceWish {
  readonly subnetId?: string | undefined;
  readonly portId?: string | undefined;
}
export interface InterfaceRecord {
  readonly router: RouterRecord;
  readonly portId: string;
  readonly networkId: string;
  readonly subnetIds: readonly string[];
}

const bad = (message: string): never => refuseWith(no(400, 'BadRequest', `Bad router request: ${message}.`));

/** Joins a subnet to a router that the actor sees. */
export const addInterface = (
  db: Db,
  actor: Actor,
  routerId: string,
  wish: InterfaceWish & { readonly now: number },
): Promise<NetworkResult<InterfaceRecord>> =>
  inRouter(db, actor, routerId, wish, async (trx, router) => {
    if (wish.subnetId !== undefined && wish.portId !== undefined) bad('Cannot specify both subnet-id and port-id');
    const port =
      wish.portId === undefined
        ? await portFor(trx, actor, router, wish.subnetId ?? '', wish.now)
        : await portTaken(trx, actor, router, wish.portId);
    return {
      router,
      portId: port.id,
      networkId: port.networkId,
      subnetIds: port.fixedIps.map((each) => each.subnetId),
    };
  });

/** Parts a subnet from a router that the actor sees; its port is gone. */
export const removeInterface = (
  db: Db,
  actor: Actor,
  routerId: string,
  wish: InterfaceWish & { readonly now: number },
): Promise<NetworkResult<InterfaceRecord>> =>
  inRouter(db, actor, routerId, wish, async (trx, router) => {
    const mine = await interfacesOf(trx, routerId);
    const { portId, subnetId } = wish;
    const port = mine.find(
      (each) =>
        (portId === undefined || each.portId === portId) &&
        (subnetId === undefined || each.subnetIds.includes(subnetId)),
    );
    if (!port && portId !== undefined) {
      if (subnetId !== undefined && mine.some((each) => each.portId === portId)) {
        const message = `Subnet on port ${portId} does not match the requested subnet ${subnetId}.`;
        refuseWith(no(400, 'SubnetMismatchForPort', message));
      }
      const message = `Router ${routerId} does not have an interface with id ${portId}`;
      refuseWith(no(404, 'RouterInterfaceNotFound', message));
    }
    if (!port) {
      if (!(await findSubnet(trx, actor, subnetId ?? ''))) refuseWith(absent('subnet', subnetId ?? ''));
      const message = `Router ${routerId} has no interface on subnet ${subnetId}`;
      return refuseWith(no(404, 'RouterInterfaceNotFoundForSubnet', message));
    }
    for (const id of port.subnetIds) await refuseFloating(trx, routerId, id);
    await trx.deleteFrom('ports').where('id', '=', port.portId).execute();
    return { router, ...port };
  });

/** The ports that join subnets to the router. */
export async function interfacesOf(
  db: Db,
  routerId: string,
): Promise<{ readonly portId: string; readonly networkId: string; readonly subnetIds: readonly string[] }[]> {
  const rows = await db
    .selectFrom('ports as p')
    .innerJoin('port_addresses as a', 'a.port_id', 'p.id')
    .select(['p.id', 'p.network_id', 'a.subnet_id'])
    .where('p.holder_id', '=', routerId)
    .where('p.device_owner', '=', INTERFACE)
    .orderBy('p.id')
    .orderBy('a.position')
    .execute();
  return [...new Set(rows.map((row) => row.id))].flatMap((portId) => {
    const own = rows.filter((row) => row.id === portId);
    const [first] = own;
    return first ? [{ portId, networkId: first.network_id, subnetIds: own.map((row) => row.subnet_id) }] : [];
  });
}

function inRouter(
  db: Db,
  actor: Actor,
  routerId: string,
  wish: InterfaceWish & { readonly now: number },
  work: (trx: Db, router: RouterRecord) => Promise<InterfaceRecord>,
): Promise<NetworkResult<InterfaceRecord>> {
  return refusable(() =>
    db.transaction().execute(async (trx) => {
      await exclusively(trx, NETWORKS);
      const router = (await findRouter(trx, actor, routerId)) ?? refuseWith(absent('router', routerId));
      if (wish.subnetId === undefined && wish.portId === undefined)
        bad('Either subnet_id or port_id must be specified');
      const result = await work(trx, router);
      await trx.updateTable('routers').set(changed(wish.now)).where('id', '=', routerId).execute();
      return result;
    }),
  );
}

/** A new port with the subnet's gateway as its address. */
async function portFor(
  trx: Db,
  actor: Actor,
  router: RouterRecord,
  subnetId: string,
  now: number,
): Promise<Pick<PortRecord, 'id' | 'networkId' | 'fixedIps'>> {
  const subnet = (await findSubnet(trx, actor, subnetId)) ?? refuseWith(absent('subnet', subnetId));
  if (subnet.gateway === null) return bad('Subnet for router interface must have a gateway IP');
  if (!holds(subnet, subnet.gateway)) refuseWith(notOfSubnet(subnet.gateway));
  await refuseOverlap(trx, router.id, [subnet]);
  await claimQuota(trx, 'port', router.projectId);
  const port = {
    ...{ id: newId(), name: '', projectId: router.projectId, networkId: subnet.networkId, deviceId: '' },
    ...{ holderId: router.id, deviceOwner: INTERFACE, portSecurity: false, now },
  };
  accepted(await insertPort(trx, port, [{ ...sourceOf(subnet), ip: subnet.gateway }]));
  return { id: port.id, networkId: port.networkId, fixedIps: [{ subnetId, ip: subnet.gateway }] };
}

/** A port that nobody has becomes the router's. */
async function portTaken(trx: Db, actor: Actor, router: RouterRecord, portId: string): Promise<PortRecord> {
  const port = (await findPort(trx, actor, portId)) ?? refuseWith(absent('port', portId));
  if (port.deviceId !== '') {
    const message = `Unable to complete operation on port ${portId} for network ${port.networkId}. Port already has an attached device ${port.deviceId}.`;
    refuseWith(no(409, 'PortInUse', message));
  }
  if (port.fixedIps.length === 0) bad('Router port must have at least one fixed IP');
  const subnets = (await subnetsOf(trx, port.networkId)).filter((each) =>
    port.fixedIps.some((fixed) => fixed.subnetId === each.id),
  );
  await refuseOverlap(trx, router.id, subnets);
  await trx
    .updateTable('ports')
    .set({ holder_id: router.id, device_owner: INTERFACE })
    .where('id', '=', portId)
    .execute();
  await trx.deleteFrom('port_security_groups').where('port_id', '=', portId).execute();
  return port;
}

async function refuseOverlap(trx: Db, routerId: string, subnets: readonly SubnetRecord[]): Promise<void> {
  const rows = await trx
    .selectFrom('ports as p')
    .innerJoin('port_addresses as a', 'a.port_id', 'p.id')
    .innerJoin('subnets as s', 's.id', 'a.subnet_id')
    .select(['s.id', 's.cidr'])
    .where('p.holder_id', '=', routerId)
    .where('p.device_owner', 'in', HELD)
    .execute();
  for (const subnet of subnets) {
    if (rows.some((row) => row.id === subnet.id)) bad(`Router already has a port on subnet ${subnet.id}`);
    const cidr = parseCidr(subnet.cidr);
    const other = rows.find((row) => {
      const its = parseCidr(row.cidr);
      return cidr !== null && its !== null && overlap(cidr, its);
    });
    if (other) bad(`Cidr ${subnet.cidr} of subnet ${subnet.id} overlaps with cidr ${other.cidr} of subnet ${other.id}`);
  }
}

async function refuseFloating(trx: Db, routerId: string, subnetId: string): Promise<void> {
  const needed = await trx
    .selectFrom('floating_ips as f')
    .innerJoin('port_addresses as a', (join) =>
      join.onRef('a.port_id', '=', 'f.fixed_port_id').onRef('a.ip', '=', 'f.fixed_ip'),
    )
    .select('f.id')
    .where('f.router_id', '=', routerId)
    .where('a.subnet_id', '=', subnetId)
    .limit(1)
    .executeTakeFirst();
  if (!needed) return;
  const message = `Router interface for subnet ${subnetId} on router ${routerId} cannot be deleted, as it is required by one or more floating IPs.`;
  refuseWith(no(409, 'RouterInterfaceInUseByFloatingIP', message));
}
