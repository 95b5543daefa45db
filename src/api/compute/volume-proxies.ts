// os-volumes and os-snapshots: the block storage service in Nova's old words, until 2.35. They call the use cases that the
// block storage API calls, for the caller's own project, under rules of compute and of block storage.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { attachmentsOfVolumes } from '../../control/volumes/attachments.ts';
import { mappingsInHomes } from '../../control/volumes/devices.ts';
import { listVolumes, volumeFor } from '../../control/volumes/records.ts';
import { listSnapshots, snapshotFor } from '../../control/volumes/snapshots.ts';
import { volumeTypesById } from '../../control/volumes/types.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { isoMicroseconds } from '../../model/time.ts';
import type { Snapshot, Volume } from '../../model/volumes.ts';
import { createVolume } from '../../moves/volumes/create.ts';
import { deleteVolume } from '../../moves/volumes/delete.ts';
import { createSnapshot, deleteSnapshot } from '../../moves/volumes/snapshots.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { Metadata } from '../volume/common.ts';
import { BASE, booleanOf, IdParams, MAX_PAGE, nullable, object, overQuotaOrElse, StringMap, text } from './common.ts';

const VOLUMES = `${BASE}/os-volumes`;
const SNAPSHOTS = `${BASE}/os-snapshots`;
const shared = { service: 'compute', until: 35 } as const;

const behind = (rule: RuleName) => ({ service: 'volume', rule }) as const;
const behindVolume = (rule: RuleName) => ({ ...behind(rule), record: '/volume/v3/volumes/:id' }) as const;
const behindSnapshot = (rule: RuleName) => ({ ...behind(rule), record: '/volume/v3/snapshots/:id' }) as const;

const OffsetPage = object({
  limit: Type.Optional(Type.Integer({ minimum: 0 })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
});
const optionalText = Type.Optional(text());
const ProxiedVolume = object({
  id: text(),
  status: text(),
  size: Type.Integer(),
  availabilityZone: text(),
  createdAt: text(),
  attachments: Type.Array(
    object({ id: optionalText, volumeId: optionalText, serverId: optionalText, device: optionalText }),
  ),
  displayName: nullable(text()),
  displayDescription: nullable(text()),
  volumeType: nullable(text()),
  snapshotId: nullable(text()),
  metadata: StringMap,
});
const ProxiedSnapshot = object({
  id: text(),
  volumeId: text(),
  status: text(),
  size: Type.Integer(),
  createdAt: text(),
  displayName: nullable(text()),
  displayDescription: nullable(text()),
});
const Size = Type.Union([
  Type.Integer({ minimum: 1, maximum: 0x7fffffff }),
  Type.String({ pattern: '^0*[1-9][0-9]{0,8}$' }),
]);
const CreateVolume = object({
  volume: object({
    size: Size,
    volume_type: optionalText,
    metadata: Type.Optional(Metadata),
    snapshot_id: optionalText,
    availability_zone: optionalText,
    display_name: optionalText,
    display_description: optionalText,
  }),
});
const CreateSnapshot = object({
  snapshot: object({
    volume_id: text(),
    force: Type.Optional(Type.Union([Type.Boolean(), text(5)])),
    display_name: optionalText,
    display_description: optionalText,
  }),
});

interface Offset {
  readonly limit?: number;
  readonly offset?: number;
}

function sliced<T>(items: readonly T[], { limit, offset = 0 }: Offset): T[] {
  return items.slice(offset, offset + Math.min(limit ?? MAX_PAGE, MAX_PAGE));
}

const volumeLists = [
  { url: VOLUMES, summary: 'List volumes', policy: 'os_compute_api:os-volumes:list' },
  { url: `${VOLUMES}/detail`, summary: 'List volumes with details', policy: 'os_compute_api:os-volumes:detail' },
] as const;
const snapshotLists = [
  { url: SNAPSHOTS, summary: 'List snapshots', policy: 'os_compute_api:os-volumes:snapshots:list' },
  {
    url: `${SNAPSHOTS}/detail`,
    summary: 'List snapshots with details',
    policy: 'os_compute_api:os-volumes:snapshots:detail',
  },
] as const;

export const volumeProxyRoutes: readonly Route[] = [
  ...volumeLists.map((list) =>
    route({
      ...{ ...shared, ...list, method: 'GET', behind: behind('volume:get_all') },
      query: OffsetPage,
      answers: { 200: object({ volumes: Type.Array(ProxiedVolume) }) },
      handle: async ({ p, actor, query }) => {
        const volumes = await listVolumes(p.stores.global, { projectId: actor.projectId });
        return { status: 200, body: { volumes: await render(p, sliced(volumes, query)) } };
      },
    }),
  ),
  route({
    ...{ ...shared, method: 'GET', url: `${VOLUMES}/:id`, summary: 'Show a volume' },
    policy: 'os_compute_api:os-volumes:show',
    behind: behindVolume('volume:get'),
    params: IdParams,
    answers: { 200: object({ volume: ProxiedVolume }) },
    handle: async ({ p, actor, params }) => {
      const volume = await volumeFor(p.stores.global, actor, params.id);
      if ('code' in volume) throw errorOf(volume);
      return { status: 200, body: { volume: (await render(p, [volume]))[0] } };
    },
  }),
  route({
    ...{ ...shared, method: 'POST', url: VOLUMES, summary: 'Create a volume' },
    policy: 'os_compute_api:os-volumes:create',
    behind: behind('volume:create'),
    body: CreateVolume,
    answers: { 200: object({ volume: ProxiedVolume }) },
    tells: ['location'],
    handle: async ({ p, actor, body: { volume: wish } }) => {
      const result = await createVolume(p, actor, {
        sizeGb: Number(wish.size),
        name: wish.display_name ?? null,
        description: wish.display_description ?? null,
        metadata: wish.metadata ?? {},
        zone: wish.availability_zone || null,
        type: wish.volume_type || null,
        multiattach: false,
        source: wish.snapshot_id ? { kind: 'snapshot', snapshotId: wish.snapshot_id } : { kind: 'blank' },
      });
      if (result.kind === 'refused') throw overQuotaOrElse(result.refusal);
      const location = `${p.settings.publicUrl}${VOLUMES}/${result.volume.id}`;
      return { status: 200, body: { volume: (await render(p, [result.volume]))[0] }, headers: { location } };
    },
  }),
  route({
    ...{ ...shared, method: 'DELETE', url: `${VOLUMES}/:id`, summary: 'Delete a volume' },
    policy: 'os_compute_api:os-volumes:delete',
    behind: behindVolume('volume:delete'),
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const volume = await volumeFor(p.stores.global, actor, params.id);
      if ('code' in volume) throw errorOf(volume);
      refuse(await deleteVolume(p, actor, volume.id, { cascade: false, force: false }));
      return { status: 202 };
    },
  }),
  ...snapshotLists.map((list) =>
    route({
      ...{ ...shared, ...list, method: 'GET', behind: behind('volume:get_all_snapshots') },
      query: OffsetPage,
      answers: { 200: object({ snapshots: Type.Array(ProxiedSnapshot) }) },
      handle: async ({ p, actor, query }) => {
        const snapshots = await listSnapshots(p.stores.global, { projectId: actor.projectId });
        return { status: 200, body: { snapshots: sliced(snapshots, query).map(renderSnapshot) } };
      },
    }),
  ),
  route({
    ...{ ...shared, method: 'GET', url: `${SNAPSHOTS}/:id`, summary: 'Show a snapshot' },
    policy: 'os_compute_api:os-volumes:snapshots:show',
    behind: behindSnapshot('volume:get_snapshot'),
    params: IdParams,
    answers: { 200: object({ snapshot: ProxiedSnapshot }) },
    handle: async ({ p, actor, params }) => {
      const snapshot = await snapshotFor(p.stores.global, actor, params.id);
      if ('code' in snapshot) throw errorOf(snapshot);
      return { status: 200, body: { snapshot: renderSnapshot(snapshot) } };
    },
  }),
  route({
    ...{ ...shared, method: 'POST', url: SNAPSHOTS, summary: 'Take a snapshot of a volume' },
    policy: 'os_compute_api:os-volumes:snapshots:create',
    behind: behind('volume:create_snapshot'),
    body: CreateSnapshot,
    answers: { 200: object({ snapshot: ProxiedSnapshot }) },
    handle: async ({ p, actor, body: { snapshot: wish } }) => {
      const volume = await volumeFor(p.stores.global, actor, wish.volume_id);
      if ('code' in volume) throw errorOf(volume);
      const result = await createSnapshot(p, actor, {
        ...{ volumeId: volume.id, name: wish.display_name ?? null, description: wish.display_description ?? null },
        ...{ metadata: {}, force: booleanOf(String(wish.force ?? false)) === true },
      });
      if (result.kind === 'refused') throw overQuotaOrElse(result.refusal, 'Quota exceeded for resources: snapshots');
      return { status: 200, body: { snapshot: renderSnapshot(result.snapshot) } };
    },
  }),
  route({
    ...{ ...shared, method: 'DELETE', url: `${SNAPSHOTS}/:id`, summary: 'Delete a snapshot' },
    policy: 'os_compute_api:os-volumes:snapshots:delete',
    behind: behindSnapshot('volume:delete_snapshot'),
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const snapshot = await snapshotFor(p.stores.global, actor, params.id);
      if ('code' in snapshot) throw errorOf(snapshot);
      refuse(await deleteSnapshot(p, actor, snapshot));
      return { status: 202 };
    },
  }),
];

async function render(p: Platform, volumes: readonly Volume[]): Promise<object[]> {
  const attached = await attachmentsOfVolumes(
    p.stores.global,
    volumes.map((each) => each.id),
  );
  const types = await volumeTypesById(p);
  const shown = [...attached.values()].flat().filter((each) => each.active && each.attachedAt !== null);
  const homes = await mappingsInHomes(
    p,
    shown.map((each) => each.serverId),
  );
  return volumes.map((volume) => {
    const [attachment] = shown.filter((each) => each.volumeId === volume.id);
    const mapping = attachment && homes.get(attachment.serverId)?.find((each) => each.volumeId === volume.id);
    return {
      id: volume.id,
      status: volume.status,
      size: volume.sizeGb,
      availabilityZone: volume.zone,
      createdAt: isoMicroseconds(volume.createdAt),
      // One attachment, or an empty object: Nova's old habit.
      attachments: [
        attachment === undefined
          ? {}
          : {
              ...{ id: volume.id, volumeId: volume.id, serverId: attachment.serverId },
              ...(mapping ? { device: mapping.device } : {}),
            },
      ],
      displayName: volume.name,
      displayDescription: volume.description,
      volumeType: types.get(volume.typeId)?.name ?? null,
      snapshotId: volume.snapshotId,
      metadata: volume.metadata,
    };
  });
}

const renderSnapshot = (snapshot: Snapshot): object => ({
  id: snapshot.id,
  volumeId: snapshot.volumeId,
  status: snapshot.status,
  size: snapshot.sizeGb,
  createdAt: isoMicroseconds(snapshot.createdAt),
  displayName: snapshot.name,
  displayDescription: snapshot.description,
});
