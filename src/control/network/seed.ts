// The networks that a deployment begins with: one that every project can put servers on, and one for floating IPs.
//
// Their ids follow from their names, so that two processes that start at once make one. Subnets that are there are not
// changed.
import { planSubnet } from '../../model/subnets.ts';
import { uuidOf } from './addresses.ts';
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
export const ensureExternalNetwork = (
  db: Db,
  settings: { readonly cidr: string; readonly now: number },
): Promise<SeededNetwork> => ensure(db, 'public', { ...settings, external: true });

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
