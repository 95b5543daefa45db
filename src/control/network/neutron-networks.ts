// Networks and subnets of a Neutron, on record here under the same ids: as they were when somebody last looked.
//
// What is not there any more stays on record while ports are on it. With which projects a network is shared is on record,
// too, so that who may use one is asked of the records, as that of the embedded service's is.
import { isUuid } from '../../lib/ids.ts';
import { planSubnet } from '../../model/subnets.ts';
import type { Neutron, NeutronSubnet } from '../../openstack/neutron.ts';
import type { Platform } from '../platform.ts';
import { MTU } from './networks.ts';
import { flag } from './standard.ts';
import { subnetRow } from './subnets.ts';

/** A share with all projects. */
const ALL = '*';

/** Answers the ids of those that are there now. @throws ServiceDown, NeutronRefused */
export async function mirrorNetworks(p: Platform, neutron: Neutron): Promise<ReadonlySet<string>> {
  const [networks, subnets, shares] = await Promise.all([neutron.networks(), neutron.subnets(), neutron.shares()]);
  const usable = new Set(networks.map(({ id }) => id).filter(isUuid));
  const toAll = new Set(shares.filter(({ projectId }) => projectId === ALL).map(({ networkId }) => networkId));
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    for (const network of networks) {
      if (!usable.has(network.id)) continue;
      const said = {
        // Not what Neutron calls shared: that is what the service user's project may use.
        ...{ name: network.name, project_id: network.project_id, shared: flag(toAll.has(network.id)) },
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
      if (row === null || !usable.has(subnet.network_id)) continue;
      const { name, cidr, gateway_ip } = row;
      await trx
        .insertInto('subnets')
        .values(row)
        .onConflict((any) => any.column('id').doUpdateSet({ name, cidr, gateway_ip }))
        .execute();
    }
    await trx.deleteFrom('network_shares').execute();
    for (const { networkId, projectId } of shares) {
      if (projectId === ALL || !usable.has(networkId)) continue;
      const row = { network_id: networkId, project_id: projectId };
      await trx
        .insertInto('network_shares')
        .values(row)
        .onConflict((any) => any.doNothing())
        .execute();
    }
  });
  return usable;
}

/** Null: a subnet that a guest of ours cannot be on. Its pools are Neutron's business. */
function subnetFrom(subnet: NeutronSubnet, now: number) {
  if (!isUuid(subnet.id)) return null;
  const { id, name, network_id: network, project_id: projectId, cidr, gateway_ip } = subnet;
  if (subnet.ip_version === 6) {
    const kept = { id, name, network_id: network, project_id: projectId, cidr, gateway_ip, pools_json: '[]' };
    return { ...kept, created_at: now, updated_at: now };
  }
  const plan = planSubnet({ cidr, gateway: gateway_ip });
  return 'code' in plan ? null : subnetRow({ id, name, networkId: network, projectId, plan, now });
}
