// Ports that routers and floating IPs hold: told by `device_owner` and `holder_id`, which their readers take at their word.
//
// So a user's port must not say that it is one (CVE-2014-0056): it would be an interface of whatever router it names, also
// of another project's. Administrators may say what they like, as in Neutron.
import { type Actor, isAdmin } from '../../model/types.ts';
import { disallowed, no, refuseWith } from './results.ts';
import type { Db } from './standard.ts';

export const GATEWAY = 'network:router_gateway';
export const INTERFACE = 'network:router_interface';
export const FLOATING_IP = 'network:floatingip';
/** The owners of ports that this service alone makes and deletes. */
export const HELD: readonly string[] = [GATEWAY, INTERFACE, FLOATING_IP];

/**
 * Whether the actor may let a port say that this has it. Neutron's DeviceIDNotOwnedByTenant, and its policy's refusal for
 * what its routers would not believe.
 * @throws Refused 409 for a router of another project, 403 for whatever else this service alone says
 */
export async function checkHolder(
  trx: Db,
  actor: Actor,
  rule: 'create_port' | 'update_port',
  { projectId, deviceOwner, holderId }: Readonly<Record<'projectId' | 'deviceOwner' | 'holderId', string>>,
): Promise<void> {
  if (isAdmin(actor) || !HELD.includes(deviceOwner)) return;
  const router = await trx.selectFrom('routers').select('project_id').where('id', '=', holderId).executeTakeFirst();
  if (router && router.project_id !== projectId) {
    const said = `The following device_id ${holderId} is not owned by your project or matches another project router.`;
    refuseWith(no(409, 'DeviceIDNotOwnedByTenant', said));
  }
  refuseWith(disallowed(`${rule}:device_owner`));
}
