// Which networks, ports, addresses and security groups a new server asks for: the part of the body of POST /servers that
// the network service answers for. In the order in which they were asked for, which is the order of the guest's cards.
import { networkOutside, portOutside } from '../../control/network/interfaces.ts';
import { findNetwork, isUsableBy, listNetworks } from '../../control/network/networks.ts';
import { networkService } from '../../control/network/service.ts';
import type { Platform } from '../../control/platform.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { badRequest, conflict, errorOf } from '../http/errors.ts';
import { requireNewPort } from './new-ports.ts';
import type { CreateWish } from './server-schemas.ts';

const MAX_NETWORKS = 16;

export interface RequestedNetworks {
  readonly networkIds: readonly string[];
  /** By place: a port of the user's, the address to have, the device tag. */
  readonly networkPorts: readonly (string | null)[];
  readonly networkIps: readonly (string | null)[];
  readonly networkTags: readonly (string | null)[];
  /** Absent: the default one. */
  readonly securityGroupIds?: readonly string[];
}

/**
 * @param maxCount how many servers are to get what is asked for: of a port and of an address there is one
 * @throws ApiError for what is not there, not the project's, asked for twice, or refused by the network service's rules
 */
export async function requestedNetworks(
  p: Platform,
  actor: Actor,
  wish: CreateWish,
  maxCount: number,
): Promise<RequestedNetworks> {
  const usable = await networkService(p).refresh(p);
  const names = (wish.security_groups ?? []).map((each) => each.name);
  const groups = names.length === 0 || names.every((name) => name === 'default') ? {} : await groupsOf(p, actor, names);
  const asked = wish.networks === undefined || typeof wish.networks === 'string' ? [] : wish.networks;
  if (asked.length === 0) {
    const networks = wish.networks === 'none' ? [] : await automaticNetwork(p, actor, wish.networks === 'auto', usable);
    for (const network of networks) requireNewPort(p, actor, { projectId: actor.projectId, network, ip: null });
    return { networkIds: networks.map(({ id }) => id), networkPorts: [], networkIps: [], networkTags: [], ...groups };
  }
  if (maxCount > 1) forOneServer(asked);
  const networkIds: string[] = [];
  const networkPorts: (string | null)[] = [];
  for (const each of asked) {
    const portId = each.port?.toLowerCase() ?? null;
    networkPorts.push(portId);
    networkIds.push(portId === null ? await networkOf(p, actor, each, usable) : await networkOfPort(p, actor, portId));
  }
  const ports = networkPorts.filter((id) => id !== null);
  if (new Set(ports).size < ports.length) throw badRequest('Port was given more than once.');
  return {
    ...{ networkIds, networkPorts, networkIps: asked.map(({ fixed_ip }) => fixed_ip ?? null) },
    ...{ networkTags: asked.map(({ tag }) => tag ?? null), ...groups },
  };
}

/** @throws ApiError 400 (nova/compute/api.py, _check_multiple_instances_with…) */
function forOneServer(asked: readonly Asked[]): void {
  if (asked.some((each) => each.uuid !== undefined && each.fixed_ip !== undefined)) {
    throw badRequest('Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.');
  }
  if (asked.some((each) => (each.port ?? null) !== null)) {
    throw badRequest(
      'Failed to launch instances: Unable to launch multiple instances with a single configured port ID. ' +
        'Please launch your instance one by one with different ports.',
    );
  }
}

async function groupsOf(p: Platform, actor: Actor, names: readonly string[]) {
  const ids = await networkService(p).groupsNamed(p, actor, names);
  if ('code' in ids) throw errorOf(ids);
  return { securityGroupIds: ids };
}

type Asked = Exclude<CreateWish['networks'], undefined | string>[number];

/** Ids of the networks that may be used; null: all that are on record. */
type Usable = ReadonlySet<string> | null;

async function networkOf(p: Platform, actor: Actor, { uuid, fixed_ip }: Asked, usable: Usable): Promise<string> {
  if (uuid === undefined) throw badRequest("Bad network format: missing 'uuid'");
  if (usable === null && fixed_ip?.includes(':'))
    throw badRequest(`Fixed IP address (${fixed_ip}) is not an IPv4 address.`);
  const network = await findNetwork(p.stores.global, actor, uuid.toLowerCase());
  if (!network || usable?.has(network.id) === false)
    throw badRequest(`Network ${uuid.toLowerCase()} could not be found.`);
  const outside = networkOutside(network, actor.projectId);
  if (outside) throw errorOf(outside);
  requireNewPort(p, actor, { projectId: actor.projectId, network, ip: fixed_ip ?? null });
  return network.id;
}

async function networkOfPort(p: Platform, actor: Actor, portId: string): Promise<string> {
  const port = await networkService(p).port(p, actor, portId);
  if (!port) throw badRequest(`Port id ${portId} could not be found.`);
  if (port.deviceId !== '') throw conflict(`Port ${portId} is still in use.`);
  const outside = await portOutside(p.stores.global, actor, port);
  if (outside) throw errorOf(outside);
  if (port.fixedIps.length === 0) throw badRequest(`Port ${portId} requires a FixedIP in order to be used.`);
  return port.networkId;
}

/** Nova's choice when none is named: the only one there is. */
async function automaticNetwork(p: Platform, actor: Actor, mustBe: boolean, there: Usable) {
  const seen = await listNetworks(p.stores.global, actor, { limit: isAdmin(actor) ? 1000 : MAX_NETWORKS });
  const usable = seen.filter(
    (each) => there?.has(each.id) !== false && each.subnetIds.length > 0 && isUsableBy(each, actor.projectId),
  );
  if (usable.length > 1) throw conflict('Multiple possible networks found, use a Network ID to be more specific.');
  if (usable.length === 0 && mustBe) {
    throw badRequest('Unable to automatically allocate a network: there is none that the project can use.');
  }
  return usable;
}
