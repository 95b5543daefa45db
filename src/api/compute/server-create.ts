// From the body of POST /servers to the use case: which zone, how many; which networks: requested-networks.ts.
import { findFlavor } from '../../control/flavors.ts';
import { findImage, maySee } from '../../control/images.ts';
import type { Platform } from '../../control/platform.ts';
import { quotasFor } from '../../control/quota.ts';
import type { BlockDevice } from '../../model/block-devices.ts';
import { checkDescription } from '../../model/names.ts';
import { canonicalIpv6 } from '../../model/network.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { checkCreateQuota } from '../../model/quota.ts';
import type { Actor } from '../../model/types.ts';
import { createServer } from '../../moves/create-server.ts';
import { requestDelete } from '../../moves/delete.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError, badRequest, errorOf, refuse } from '../http/errors.ts';
import { requireBehind } from '../http/targets.ts';
import { disksOf } from './block-devices.ts';
import { booleanOf, overQuotaOrElse } from './common.ts';
import { requestedNetworks } from './requested-networks.ts';
import type { PlacementHints } from './scheduler-hints.ts';
import { destinationOf } from './server-destination.ts';
import type { CreateWish } from './server-schemas.ts';

const MAX_SERVERS_AT_ONCE = 50;

export interface CreatedServers {
  readonly serverId: string;
  readonly reservationId: string;
}

/**
 * Creates the servers that were asked for; when fewer than min_count can be made, none is left.
 * @param hints the server group that they join, and servers to be beside of or away from
 * @returns the first one
 * @throws ApiError with the refusal
 */
export async function createServers(
  p: Platform,
  actor: Actor,
  wish: CreateWish,
  hints: PlacementHints,
  minor: number,
): Promise<CreatedServers> {
  const { minCount, maxCount } = countsOf(wish);
  if (Array.isArray(wish.networks) && wish.networks.length > 0) {
    requireRule(p, 'compute', actor, 'os_compute_api:servers:create:attach_network');
  }
  if (wish.description) refuse(checkDescription(wish.description));
  if (wish.hostname !== undefined && maxCount > 1) {
    throw badRequest('Multiple-server create with a hostname is not supported: hostnames must be unique.');
  }
  const disks = disksOf(wish, await propertiesOf(p, actor, wish.imageRef));
  if (disks.blockDevices.length > 0) requireRule(p, 'compute', actor, 'os_compute_api:servers:create:attach_volume');
  for (const { source } of disks.blockDevices) await requireSource(p, actor, source);
  if (maxCount > 1 && disks.blockDevices.some(({ source }) => source.kind === 'volume')) {
    throw badRequest('Cannot attach one or more volumes to multiple instances');
  }
  const request = {
    ...disks,
    ...(disks.imageId === null && wish.imageRef ? { namedImageId: wish.imageRef } : {}),
    multiattach: minor >= 60,
    flavorId: idOf(wish.flavorRef),
    ...(await destinationOf(p, actor, wish, hints)),
    ...(await requestedNetworks(p, actor, wish, maxCount)),
    keyName: wish.key_name ?? null,
    metadata: wish.metadata ?? {},
    tags: [...new Set(wish.tags ?? [])],
    description: wish.description ?? null,
    diskConfig: wish['OS-DCF:diskConfig'] ?? 'AUTO',
    ...(hints.groupId === null ? {} : { groupId: hints.groupId }),
    ...(wish.hostname === undefined ? {} : { hostname: wish.hostname }),
    accessIpV4: wish.accessIPv4 || null,
    accessIpV6: canonicalIpv6(wish.accessIPv6 ?? '') || null,
    userData: userDataOf(wish),
    configDrive: configDriveOf(wish),
  } as const;
  const count = maxCount === 1 ? 1 : await affordable(p, actor, request.flavorId, minCount, maxCount);
  const nameOf = (index: number) => (maxCount === 1 ? wish.name : `${wish.name}-${index + 1}`);
  const created: CreatedServers[] = [];
  const failure = await fails(async () => {
    for (let launchIndex = 0; launchIndex < count; launchIndex += 1) {
      const [first] = created;
      const together = first === undefined ? {} : { reservationId: first.reservationId };
      const one = { ...request, ...together, name: nameOf(launchIndex), launchIndex };
      const result = await createServer(p, actor, one);
      if (result.kind === 'refused') throw overQuotaOrElse(result.refusal);
      created.push(result);
    }
  });
  const [first] = created;
  if (first && created.length >= minCount) {
    if (failure && !(failure.error instanceof ApiError))
      p.log.error({ err: failure.error }, 'fewer servers than max_count');
    return first;
  }
  for (const each of created) await requestDelete(p, each.serverId);
  throw failure?.error ?? new Error('no server was asked for');
}

/** What the work throws; null: nothing. */
async function fails(work: () => Promise<void>): Promise<{ readonly error: unknown } | null> {
  try {
    await work();
    return null;
  } catch (error) {
    return { error };
  }
}

/** Block storage's rules for the volume that a device is, or is made as. @throws ApiError 403 */
async function requireSource(p: Platform, actor: Actor, source: BlockDevice['source']): Promise<void> {
  const ask = (rule: RuleName, record: string, id: string) =>
    requireBehind(p, actor, { service: 'volume', rule, record }, id);
  if (source.kind === 'volume') return ask('volume:get', '/volume/v3/volumes/:id', source.volumeId);
  requireRule(p, 'volume', actor, 'volume:create');
  if (source.kind === 'image') requireRule(p, 'volume', actor, 'volume:create_from_image');
  if (source.kind === 'snapshot') await ask('volume:get_snapshot', '/volume/v3/snapshots/:id', source.snapshotId);
}

/** A flavor is named by its id, or by its URL, as in answers' links (nova/api/openstack/common.py: get_id_from_href). */
const idOf = (ref: string | number): string => String(ref).split(/[?#]/, 1).join().split('/').at(-1) ?? '';

/** What the named image says of itself; nothing where the actor may not see it, which the use case refuses. */
async function propertiesOf(
  p: Platform,
  actor: Actor,
  imageRef: string | undefined,
): Promise<Readonly<Record<string, string>>> {
  const image = imageRef ? await findImage(p, imageRef) : null;
  return image && maySee(actor, image) ? image.properties : {};
}

/** How many the quota lets be made, so that none is begun when too few can be. @throws ApiError 403 */
async function affordable(p: Platform, actor: Actor, flavorId: string, min: number, max: number): Promise<number> {
  const flavor = await findFlavor(p, flavorId);
  // The use case says what is wrong with the flavor.
  if (!flavor) return min;
  let count = max;
  for (const { limits, used } of await quotasFor(p, actor)) {
    const result = checkCreateQuota(limits, used, flavor, min, count);
    if (result.kind === 'refused') throw errorOf(result.refusal);
    count = result.count;
  }
  return count;
}

function countsOf(wish: CreateWish): { minCount: number; maxCount: number } {
  const minCount = Number(wish.min_count ?? 1);
  const maxCount = Number(wish.max_count ?? minCount);
  if (minCount > maxCount) throw badRequest('min_count must be <= max_count');
  if (maxCount > MAX_SERVERS_AT_ONCE) {
    throw badRequest(
      `Invalid input for field/attribute max_count. Value: ${maxCount}. At most ${MAX_SERVERS_AT_ONCE} servers can be created at once.`,
    );
  }
  return { minCount, maxCount };
}

function configDriveOf({ config_drive: asked }: CreateWish): boolean {
  if (asked === undefined || asked === null || asked === '') return false;
  const wanted = booleanOf(String(asked));
  if (wanted === null) throw badRequest(`Invalid input for field/attribute config_drive. Value: ${asked}.`);
  return wanted;
}

/** Base64, in which line ends may stand, as Nova takes it. */
export function userDataOf({ user_data: given }: Pick<CreateWish, 'user_data'>): string | null {
  if (given === undefined || given === null) return null;
  const text = given.replaceAll(/\s/g, '');
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw badRequest('Invalid input for field/attribute user_data. User data needs to be valid base 64.');
  }
  return text;
}
