// Where a new server is to go: the zone that was asked for; a host, for whom the policy lets name one; and which servers it
// is to be beside of or away from. A host that is named must still pass the scheduler's filters. (Nova lets the old form,
// `zone:host` in availability_zone, go round them.)
import { listHosts } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { findServer } from '../../control/servers.ts';
import { checkZoneName } from '../../model/names.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import type { Whereabouts } from '../../moves/create.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, conflict, refuse } from '../http/errors.ts';
import type { PlacementHints } from './scheduler-hints.ts';
import type { CreateWish } from './server-schemas.ts';

export interface Destination {
  /** What the server is pinned to. */
  readonly zone: string | null;
  readonly where: Whereabouts;
}

/** @throws ApiError 400, 403 */
export async function destinationOf(
  p: Platform,
  actor: Actor,
  wish: CreateWish,
  hints: PlacementHints,
): Promise<Destination> {
  const named = namedHost(p, actor, wish);
  const zone = named.zone;
  if (zone !== null || named.host !== null) {
    const hosts = await listHosts(p);
    if (named.host !== null && !hosts.some((host) => host.name === named.host)) {
      throw badRequest(`Compute host ${named.host} could not be found.`);
    }
    if (zone !== null) {
      refuse(checkZoneName(zone));
      if (!hosts.some((host) => host.zone === zone && !host.disabled)) {
        throw badRequest('The requested availability zone is not available');
      }
    }
  }
  return {
    zone,
    where: {
      ...(named.host === null ? {} : { host: named.host }),
      ...(hints.sameHost === null ? {} : { onlyHosts: await hostsOf(p, actor, hints.sameHost) }),
      ...(hints.differentHost.length === 0 ? {} : { ignoredHosts: await hostsOf(p, actor, hints.differentHost) }),
    },
  };
}

/** `availability_zone: zone:host:node`, or from 2.74 on `host` and `hypervisor_hostname`; node and host are one here. */
function namedHost(p: Platform, actor: Actor, wish: CreateWish): { zone: string | null; host: string | null } {
  const wanted = [...new Set([wish.host, wish.hypervisor_hostname].filter((each) => each !== undefined))];
  const [zone = '', ...forced] = wish.availability_zone?.split(':') ?? [];
  if (forced.length > 2) throw badRequest('Unable to parse availability_zone');
  if (wanted.length > 0) {
    requireRule(p, 'compute', actor, 'compute:servers:create:requested_destination');
    if (forced.length > 0) {
      throw badRequest('Specifying both a host and a zone with a host in it is not possible: name one of them.');
    }
  }
  if (forced.length > 0) requireRule(p, 'compute', actor, 'os_compute_api:servers:create:forced_host');
  const hosts = [...new Set([...wanted, ...forced].filter((each) => each !== ''))];
  const [host = null] = hosts;
  if (hosts.length > 1) throw badRequest(`Compute host ${hosts.join(', ')} could not be found.`);
  return { zone: zone === '' ? null : zone, host };
}

/** The hosts of servers that the actor may see; those that are nowhere, or nobody's business, have none. */
async function hostsOf(p: Platform, actor: Actor, serverIds: readonly string[]): Promise<string[]> {
  const hosts = new Set<string>();
  for (const id of serverIds) {
    const found = await findServer(p, id);
    if (found.kind === 'down') throw conflict(`The cell of instance ${id} is unavailable at this time.`);
    if (found.kind === 'absent' || found.server.host === null) continue;
    if (found.server.projectId === actor.projectId || isAdmin(actor)) hosts.add(found.server.host);
  }
  return [...hosts];
}
