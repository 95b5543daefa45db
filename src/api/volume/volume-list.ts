// Volumes as lists are asked for them: filters, order, page.
import type { Platform } from '../../control/platform.ts';
import { type VolumeFilter, volumesFrom } from '../../control/volumes/records.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { type Volume, volumeNotFound } from '../../model/volumes.ts';
import { dictionaryOf, type ListPage, type ListWish, newestPage, projectOf } from './common.ts';
import { FILTERS_BY_TIME, flagOf, timeFilter, volumeFlagOf } from './filters.ts';
import { imageMetadata } from './render.ts';

interface VolumeQuery extends ListWish {
  readonly availability_zone?: string;
  readonly bootable?: string;
  readonly multiattach?: string;
  readonly metadata?: string;
  readonly snapshot_id?: string;
  readonly host?: string;
  readonly size?: string;
  readonly created_at?: string;
  readonly updated_at?: string;
  readonly consumes_quota?: string;
  readonly migration_status?: string;
  readonly consistencygroup_id?: string;
  readonly group_id?: string;
  readonly glance_metadata?: string;
}

const SORT_KEYS = {
  availability_zone: (volume: Volume) => volume.zone,
  bootable: (volume: Volume) => Number(volume.bootable),
  multiattach: (volume: Volume) => Number(volume.multiattach),
  snapshot_id: (volume: Volume) => volume.snapshotId ?? '',
  source_volid: (volume: Volume) => volume.sourceVolumeId ?? '',
  volume_type_id: (volume: Volume) => volume.typeId,
} as const;

/** The page of volumes that is asked for. @throws ApiError 400 for what is no filter, order or page, 404 for a marker */
export async function listedVolumes(
  p: Platform,
  actor: Actor,
  query: VolumeQuery,
  minor: number,
): Promise<ListPage<Volume>> {
  const holds = holdsFor(query, minor);
  // No volume here has ever been in a group or been migrated.
  const never = query.migration_status ?? query.consistencygroup_id ?? query.group_id;
  const filter = filterOf(actor, query, minor);
  async function* read(from?: string): AsyncGenerator<readonly Volume[]> {
    if (never !== undefined) return;
    for await (const volumes of volumesFrom(p.stores.global, filter, from)) yield volumes.filter(holds);
  }
  return newestPage(read, { wish: query, minor }, volumeNotFound, SORT_KEYS);
}

const filterOf = (actor: Actor, query: VolumeQuery, minor: number): VolumeFilter => ({
  projectId: projectOf(isAdmin(actor), actor.projectId, query),
  ...(query.name === undefined ? {} : { name: query.name }),
  ...(query.status === undefined ? {} : { statuses: [query.status] }),
  ...(query.availability_zone === undefined ? {} : { zone: query.availability_zone }),
  ...(query.bootable === undefined ? {} : { bootable: volumeFlagOf('bootable', query.bootable, minor) }),
  ...(query.multiattach === undefined ? {} : { multiattach: volumeFlagOf('multiattach', query.multiattach, minor) }),
  ...(query.snapshot_id === undefined ? {} : { snapshotId: query.snapshot_id }),
  ...(query.host === undefined ? {} : { storageHost: query.host.split('@', 1)[0] ?? '' }),
  ...(query.metadata === undefined ? {} : { metadata: dictionaryOf('metadata', query.metadata) }),
});

/** What is looked at beside the database's filter. @throws ApiError 400 */
function holdsFor(query: VolumeQuery, minor: number): (volume: Volume) => boolean {
  const timed = (value: string | undefined): ((time: number) => boolean) =>
    value === undefined || minor < FILTERS_BY_TIME ? () => true : timeFilter(value);
  const [created, updated] = [timed(query.created_at), timed(query.updated_at)];
  const counted = query.consumes_quota === undefined || flagOf('use_quota', query.consumes_quota);
  const ofImage = Object.entries(
    query.glance_metadata === undefined ? {} : dictionaryOf('glance_metadata', query.glance_metadata),
  );
  return (volume) => {
    const known = ofImage.length === 0 || volume.image === null ? {} : imageMetadata(volume.image);
    return (
      // Every volume here counts in its project's quota.
      counted &&
      (query.size === undefined || query.size === String(volume.sizeGb)) &&
      created(volume.createdAt) &&
      updated(volume.updatedAt) &&
      ofImage.every(([key, value]) => known[key] === value)
    );
  };
}
