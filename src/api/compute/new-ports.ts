// The network service's rules for ports that compute makes for a user's servers. Nova makes them with the user's token, so
// that Neutron refuses to Nova what it refuses to the user: above all an address of one's choice on a shared network.
import type { NetworkRecord } from '../../control/network/networks.ts';
import type { Platform } from '../../control/platform.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { portTarget } from '../network/ports.ts';
import { requireAttributes } from '../network/resource.ts';

export interface NewPort {
  /** Of the server, and so of the port. */
  readonly projectId: string;
  readonly network: Pick<NetworkRecord, 'projectId' | 'shared'>;
  /** Null: any. */
  readonly ip: string | null;
}

/** @throws ApiError 403 */
export function requireNewPort(p: Platform, actor: Actor, { projectId, network, ip }: NewPort): void {
  const target = portTarget(projectId, network, '');
  requireRule(p, 'network', actor, 'create_port', target);
  if (ip !== null) requireAttributes({ p, actor }, 'create_port', { fixed_ips: [{ ip_address: ip }] }, target);
}
