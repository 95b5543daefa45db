// Limits and quotas of volumes, in Cinder's words. Backups and groups are not there: their limits are kept, their usage is 0.
import { Type } from 'typebox';
import { forgetVolumeQuota, setVolumeQuota, type VolumeQuota, volumeQuotaOf } from '../../control/volumes/quota.ts';
import { DEFAULT_VOLUME_LIMITS, VOLUME_LIMIT_NAMES, type VolumeLimits } from '../../model/volume-quota.ts';
import { booleanOf, object, text } from '../compute/common.ts';
import { type Route, route } from '../http/route.ts';
import { V3 } from './common.ts';
import { Flag } from './filters.ts';

const QUOTAS = `${V3}/os-quota-sets/:id`;
const service = 'volume' as const;
const ProjectParams = object({ id: Type.String({ minLength: 1, maxLength: 255 }) });

const Limit = Type.Integer({ minimum: -1, maximum: 2_147_483_647 });
const limits = {
  volumes: Limit,
  snapshots: Limit,
  gigabytes: Limit,
  per_volume_gigabytes: Limit,
  backups: Limit,
  backup_gigabytes: Limit,
  groups: Limit,
};
const usage = () => object({ limit: Limit, in_use: Type.Integer(), reserved: Type.Integer() });
const QuotaSet = object({ id: text(), ...limits });
const QuotaUsage = object({
  ...{ id: text(), volumes: usage(), snapshots: usage(), gigabytes: usage(), per_volume_gigabytes: usage() },
  ...{ backups: usage(), backup_gigabytes: usage(), groups: usage() },
});
const Wanted = Type.Union([Limit, Type.String({ pattern: '^(-1|[0-9]{1,9})$' })]);
const UpdateBody = object({
  quota_set: Type.Object(
    {
      volumes: Type.Optional(Wanted),
      snapshots: Type.Optional(Wanted),
      gigabytes: Type.Optional(Wanted),
      per_volume_gigabytes: Type.Optional(Wanted),
      // Clients send them along, and look for them later: nothing is counted against them.
      backups: Type.Optional(Wanted),
      backup_gigabytes: Type.Optional(Wanted),
      groups: Type.Optional(Wanted),
      tenant_id: Type.Optional(text()),
      force: Type.Optional(Flag),
    },
    { additionalProperties: false, minProperties: 1 },
  ),
});

const withUsage = (id: string, { limits: most, used }: VolumeQuota): object => {
  const one = (limit: number, in_use: number) => ({ limit, in_use, reserved: 0 });
  return {
    id,
    volumes: one(most.volumes, used.volumes),
    snapshots: one(most.snapshots, used.snapshots),
    gigabytes: one(most.gigabytes, used.gigabytes),
    per_volume_gigabytes: one(most.per_volume_gigabytes, 0),
    ...{ backups: one(most.backups, 0), backup_gigabytes: one(most.backup_gigabytes, 0), groups: one(most.groups, 0) },
  };
};

export const quotaRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V3}/limits`, service, summary: "Show the project's limits and usage" },
    policy: 'limits_extension:used_limits',
    query: object({ project_id: Type.Optional(text()) }),
    answers: {
      200: object({
        limits: object({ rate: Type.Array(Type.Object({})), absolute: Type.Record(Type.String(), Type.Integer()) }),
      }),
    },
    handle: async ({ p, actor, query }) => {
      const projectId = actor.admin ? (query.project_id ?? actor.projectId) : actor.projectId;
      const { limits: most, used } = await volumeQuotaOf(p, projectId);
      const absolute = {
        ...{ maxTotalVolumes: most.volumes, totalVolumesUsed: used.volumes },
        ...{ maxTotalSnapshots: most.snapshots, totalSnapshotsUsed: used.snapshots },
        ...{ maxTotalVolumeGigabytes: most.gigabytes, totalGigabytesUsed: used.gigabytes },
        ...{ maxTotalBackups: most.backups, totalBackupsUsed: 0 },
        ...{ maxTotalBackupGigabytes: most.backup_gigabytes, totalBackupGigabytesUsed: 0 },
      };
      return { status: 200, body: { limits: { rate: [], absolute } } };
    },
  }),
  route({
    ...{ method: 'GET', url: QUOTAS, service, summary: "Show a project's quotas of volumes" },
    policy: 'volume_extension:quotas:show',
    target: (id) => ({ project_id: id }),
    params: ProjectParams,
    query: object({ usage: Type.Optional(text(10)) }),
    answers: { 200: object({ quota_set: Type.Union([QuotaSet, QuotaUsage]) }) },
    handle: async ({ p, params: { id }, query }) => {
      const quota = await volumeQuotaOf(p, id);
      const shown = booleanOf(query.usage) === true ? withUsage(id, quota) : { id, ...quota.limits };
      return { status: 200, body: { quota_set: shown } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${QUOTAS}/defaults`, service, summary: 'Show the default quotas of volumes' },
    policy: 'volume_extension:quotas:show',
    target: (id) => ({ project_id: id }),
    params: ProjectParams,
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: ({ p, params: { id } }) => ({
      ...{ status: 200, body: { quota_set: { id, ...defaults(p.settings.quota) } } },
    }),
  }),
  route({
    ...{ method: 'PUT', url: QUOTAS, service, summary: "Change a project's quotas of volumes" },
    policy: 'volume_extension:quotas:update',
    target: (id) => ({ project_id: id }),
    params: ProjectParams,
    body: UpdateBody,
    answers: { 200: object({ quota_set: object(limits) }) },
    handle: async ({ p, params: { id }, body: { quota_set } }) => {
      const wanted: { -readonly [name in keyof VolumeLimits]?: number } = {};
      for (const name of VOLUME_LIMIT_NAMES) {
        const value = quota_set[name];
        if (value !== undefined) wanted[name] = Number(value);
      }
      await setVolumeQuota(p, id, wanted);
      return { status: 200, body: { quota_set: (await volumeQuotaOf(p, id)).limits } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: QUOTAS, service, summary: "Give a project's quotas of volumes their defaults again" },
    policy: 'volume_extension:quotas:delete',
    target: (id) => ({ project_id: id }),
    params: ProjectParams,
    answers: { 200: null },
    handle: async ({ p, params }) => {
      await forgetVolumeQuota(p, params.id);
      return { status: 200 };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/os-quota-class-sets/:id`, service, summary: 'Show the default quotas of volumes' },
    policy: 'volume_extension:quota_classes:get',
    params: ProjectParams,
    answers: { 200: object({ quota_class_set: QuotaSet }) },
    handle: ({ p, params: { id } }) => ({
      ...{ status: 200, body: { quota_class_set: { id, ...defaults(p.settings.quota) } } },
    }),
  }),
];

const defaults = (configured: Readonly<Record<string, number>>): VolumeLimits => ({
  volumes: configured['volumes'] ?? DEFAULT_VOLUME_LIMITS.volumes,
  snapshots: configured['snapshots'] ?? DEFAULT_VOLUME_LIMITS.snapshots,
  gigabytes: configured['gigabytes'] ?? DEFAULT_VOLUME_LIMITS.gigabytes,
  per_volume_gigabytes: configured['per_volume_gigabytes'] ?? DEFAULT_VOLUME_LIMITS.per_volume_gigabytes,
  backups: configured['backups'] ?? DEFAULT_VOLUME_LIMITS.backups,
  backup_gigabytes: configured['backup_gigabytes'] ?? DEFAULT_VOLUME_LIMITS.backup_gigabytes,
  groups: configured['groups'] ?? DEFAULT_VOLUME_LIMITS.groups,
});
