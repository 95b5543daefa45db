// Quotas of volumes: limits under Cinder's names in the quotas table (prefix `volume:`, so that no name of Nova's can
// ever mean both) or the settings, usage counted from the records. Whoever makes something checks in the transaction that
// makes it, after `claimVolumeQuota`: two at a time cannot both pass.
import { type Kysely, sql } from 'kysely';
import type { Refusal } from '../../model/types.ts';
import {
  checkVolumeQuota,
  DEFAULT_VOLUME_LIMITS,
  type VolumeLimits,
  type VolumeUsage,
} from '../../model/volume-quota.ts';
import { exclusively } from '../../store/dialect.ts';
import { fixed } from '../../store/fixed.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';
import { writeLimits } from '../quota.ts';

type Db = Kysely<GlobalTables>;

export interface VolumeQuota {
  readonly limits: VolumeLimits;
  readonly used: VolumeUsage;
}

const PREFIX = 'volume:';

type Of = { readonly projectId: string };
type Sum = { readonly count: number; readonly gigabytes: number | null };

const LIMITS = fixed<GlobalTables, Of, { readonly resource: string; readonly hard_limit: number }>(
  (db, { projectId }) =>
    db
      .selectFrom('quotas')
      .select(['resource', 'hard_limit'])
      .where('project_id', '=', projectId)
      // Written out: SQLite plans anew at each execution if a parameter decides whether an index will do.
      .where('resource', 'like', sql.lit(`${PREFIX}%`)),
);
const VOLUMES = fixed<GlobalTables, Of, Sum>((db, { projectId }) =>
  db
    .selectFrom('volumes')
    .select((eb) => [eb.fn.countAll<number>().as('count'), eb.fn.sum<number | null>('size_gb').as('gigabytes')])
    .where('project_id', '=', projectId),
);
const SNAPSHOTS = fixed<GlobalTables, Of, Sum>((db, { projectId }) =>
  db
    .selectFrom('volume_snapshots')
    .select((eb) => [eb.fn.countAll<number>().as('count'), eb.fn.sum<number | null>('size_gb').as('gigabytes')])
    .where('project_id', '=', projectId),
);

/** Three statements. A volume counts from the request that makes it until its row is gone, also in error. */
export async function volumeQuotaOf(p: Platform, projectId: string, db: Db = p.stores.global): Promise<VolumeQuota> {
  const { rows } = await LIMITS(db, { projectId });
  const own = new Map(rows.map((row) => [row.resource.slice(PREFIX.length), row.hard_limit]));
  const limit = (name: keyof VolumeLimits): number =>
    own.get(name) ?? p.settings.quota[name] ?? DEFAULT_VOLUME_LIMITS[name];
  const [volumes] = (await VOLUMES(db, { projectId })).rows;
  const [snapshots] = (await SNAPSHOTS(db, { projectId })).rows;
  return {
    limits: {
      volumes: limit('volumes'),
      snapshots: limit('snapshots'),
      gigabytes: limit('gigabytes'),
      per_volume_gigabytes: limit('per_volume_gigabytes'),
      backups: limit('backups'),
      backup_gigabytes: limit('backup_gigabytes'),
      groups: limit('groups'),
    },
    used: {
      volumes: Number(volumes?.count ?? 0),
      snapshots: Number(snapshots?.count ?? 0),
      gigabytes: Number(volumes?.gigabytes ?? 0) + Number(snapshots?.gigabytes ?? 0),
    },
  };
}

/** Whether the project may have this much more; nobody else of the project asks before the transaction has ended. */
export async function claimVolumeQuota(
  p: Platform,
  trx: Db,
  projectId: string,
  wanted: VolumeUsage,
): Promise<Refusal | null> {
  await exclusively(trx, `volume quota of ${projectId}`);
  const { limits, used } = await volumeQuotaOf(p, projectId, trx);
  return checkVolumeQuota(limits, used, wanted);
}

/** Sets limits of a project; -1: unlimited. */
export async function setVolumeQuota(p: Platform, projectId: string, limits: Partial<VolumeLimits>): Promise<void> {
  const rows = Object.entries(limits).map(([name, hard_limit]) => ({
    ...{ project_id: projectId, user_id: '', resource: `${PREFIX}${name}`, hard_limit },
  }));
  await writeLimits(p.stores.global, rows);
}

/** The project's own limits go; the defaults count again. */
export async function forgetVolumeQuota(p: Platform, projectId: string): Promise<void> {
  await p.stores.global
    .deleteFrom('quotas')
    .where('project_id', '=', projectId)
    .where('resource', 'like', `${PREFIX}%`)
    .execute();
}
