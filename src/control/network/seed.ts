// The networks that a deployment begins with: one that every project can put servers on, one for floating IPs, and a router
// between them.
//
// Their ids follow from their names, so that two processes that start at once make one. What is there is not changed.
import { planSubnet } from '../../model/subnets.ts';
import { insertPort, uuidOf } from './addresses.ts';
import { GATEWAY, INTERFACE } from './holders.ts';
import { MTU } from './networks.ts';
import { type Db, flag } from './standard.ts';
import { subnetRow } from './subnets.ts';

export interface SeededNetwork {
  readonly networkId: string;
  readonly subnetId: string;
}

/**
 * Makes the network `shared` with its subnet, which every project can use, when it is not there yet.
 * @param settings.cidr e.g. 10.42.0.0/16
 * @throws Error when the CIDR is none: the configuration is wrong
 */
export const ensureSharedNetwork = (
  db: Db,
  settings: { readonly cidr: string; readonly now: number },
): Promise<SeededNetwork> => ensure(db, 'shared', { ...settings, external: false });

/** Makes the external network `public`: every project sees it and takes floating IPs from it; none puts servers on it. */
const ensureExternalNetwork = (
  db: Db,
  settings: { readonly cidr: string; readonly now: number },
): Promise<SeededNetwork> => ensure(db, 'public', { ...settings, external: true });

/** All of it. */
export async function seedNetworks(
  db: Db,
  cidrs: { readonly networkCidr: string; readonly externalCidr: string },
  now: number,
): Promise<void> {
  const shared = await ensureSharedNetwork(db, { cidr: cidrs.networkCidr, now });
  const external = await ensureExternalNetwork(db, { cidr: cidrs.externalCidr, now });
  await ensureSharedRouter(db, shared, external, now);
}

/** Joins the two: so floating IPs of `public` can lead to servers on `shared`. */
async function ensureSharedRouter(db: Db, shared: SeededNetwork, external: SeededNetwork, now: number): Promise<void> {
  const id = uuidOf('router', 'shared');
  await db.transaction().execute(async (trx) => {
    const made = await trx
      .insertInto('routers')
      .values({
        ...{ id, name: 'shared-router', project_id: '', external_network_id: external.networkId },
        ...{ created_at: now, updated_at: now },
      })
      .onConflict((any) => any.doNothing())
      .returning('id')
      .executeTakeFirst();
    if (!made) return;
    for (const [{ networkId, subnetId }, deviceOwner] of [
      [shared, INTERFACE],
      [external, GATEWAY],
    ] as const) {
      const subnet = await trx.selectFrom('subnets').selectAll().where('id', '=', subnetId).executeTakeFirst();
      if (!subnet) continue;
      const gateway = deviceOwner === INTERFACE && subnet.gateway_ip !== null ? { ip: subnet.gateway_ip } : {};
      const port = {
        ...{ id: uuidOf('port', id, subnetId), name: '', projectId: '', networkId, deviceId: '', holderId: id },
        ...{ deviceOwner, portSecurity: false, now },
      };
      await insertPort(trx, port, [{ subnetId, poolsJson: subnet.pools_json, ...gateway }]);
    }
  });
}

async function ensure(
  db: Db,
  name: 'shared' | 'public',
  { cidr, now, external }: { readonly cidr: string; readonly now: number; readonly external: boolean },
): Promise<SeededNetwork> {
  const plan = planSubnet({ cidr });
  if ('code' in plan) throw new Error(`the ${name} network's cidr is wrong: ${plan.message}`);
  const [networkId, subnetId] = [uuidOf('network', name), uuidOf('subnet', name)];
  await db
    .insertInto('networks')
    .values({
      ...{ id: networkId, name, project_id: '', shared: flag(!external), external: flag(external), mtu: MTU },
      ...{ created_at: now, updated_at: now },
    })
    .onConflict((any) => any.doNothing())
    .execute();
  const subnet = { id: subnetId, networkId, projectId: '', name: `${name}-subnet`, plan, now };
  await db
    .insertInto('subnets')
    .values(subnetRow({ ...subnet, enableDhcp: !external }))
    .onConflict((any) => any.doNothing())
    .execute();
  return { networkId, subnetId };
}
