// Flavors: what they are, who may use them. A server keeps a copy of the flavor it was made with, so a flavor may be
// deleted at any time; nothing here looks at servers.
//
// Rows are written here only. Extra specs are one JSON column; changing one reads and writes it within a transaction.
import type { Kysely, Selectable } from 'kysely';
import { newId } from '../lib/ids.ts';
import { checkExtraSpecs, checkFlavorId, checkName } from '../model/names.ts';
import { badRequest, conflict, firstRefusal, notFound, type Refusal } from '../model/refusal.ts';
import { mayUseFlavor, type OfferedFlavor } from '../model/resize-rules.ts';
import { type Actor, isAdmin } from '../model/types.ts';
import { exclusively } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

export interface FlavorRecord extends OfferedFlavor {
  readonly rxtxFactor: number;
  readonly description: string | null;
  readonly createdAt: number;
}

export interface NewFlavor {
  /** Null: a new UUID. */
  readonly flavorId: string | null;
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly rootGb: number;
  readonly ephemeralGb: number;
  readonly swapMb: number;
  readonly rxtxFactor: number;
  readonly isPublic: boolean;
  readonly description: string | null;
  readonly extraSpecs?: Readonly<Record<string, string>>;
}

export type FlavorResult =
  | { readonly kind: 'ok'; readonly flavor: FlavorRecord }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const MAX_EXTRA_SPECS = 128;

/** Nova's 404 (FlavorNotFound). */
export const flavorNotFound = (flavorId: string): Refusal => notFound(`Flavor ${flavorId} could not be found.`);

const recordOf = (row: Selectable<GlobalTables['flavors']>, projectIds: readonly string[]): FlavorRecord => ({
  projectIds,
  flavorId: row.flavor_id,
  name: row.name,
  vcpus: row.vcpus,
  memoryMb: row.memory_mb,
  rootGb: row.root_gb,
  ephemeralGb: row.ephemeral_gb,
  swapMb: row.swap_mb,
  extraSpecs: JSON.parse(row.extra_specs_json) as Record<string, string>,
  isPublic: row.is_public === 1,
  disabled: row.disabled === 1,
  rxtxFactor: row.rxtx_factor,
  description: row.description,
  createdAt: row.created_at,
});

const FLAVOR = fixed<GlobalTables, { readonly flavorId: string }, Selectable<GlobalTables['flavors']>>(
  (db, { flavorId }) => db.selectFrom('flavors').selectAll().where('flavor_id', '=', flavorId),
);

/** The flavor, disabled or not, private or not; see mayUseFlavor. One statement, two for a private one. */
export async function findFlavor(p: Platform, flavorId: string): Promise<FlavorRecord | null> {
  const [row] = (await FLAVOR(p.stores.global, { flavorId })).rows;
  if (!row) return null;
  return recordOf(row, row.is_public === 1 ? [] : await flavorAccess(p, flavorId));
}

/** The flavor, if there is one that the actor may see. */
export async function visibleFlavor(p: Platform, flavorId: string, actor: Actor): Promise<FlavorRecord | null> {
  const flavor = await findFlavor(p, flavorId);
  return flavor && mayUseFlavor(flavor, actor.projectId, isAdmin(actor)) ? flavor : null;
}

/** All flavors, in the order in which they were made. Two statements. */
export async function listFlavors(p: Platform): Promise<FlavorRecord[]> {
  const rows = await p.stores.global.selectFrom('flavors').selectAll().orderBy('id').execute();
  const given = await p.stores.global.selectFrom('flavor_projects').selectAll().orderBy('project_id').execute();
  const projects = Map.groupBy(given, (each) => each.flavor_id);
  return rows.map((row) =>
    recordOf(
      row,
      (projects.get(row.flavor_id) ?? []).map((each) => each.project_id),
    ),
  );
}

/** Refuses (400, 409) what Nova refuses: bad names and ids, an id or name that is taken. */
export async function createFlavor(p: Platform, flavor: NewFlavor): Promise<FlavorResult> {
  const flavorId = flavor.flavorId ?? newId();
  const specs = flavor.extraSpecs ?? {};
  const refusal = firstRefusal(
    checkName(flavor.name),
    checkFlavorId(flavorId, 'flavorid'),
    checkExtraSpecs(specs),
    flavor.vcpus >= 1 ? null : badRequest('vcpus must be at least 1'),
  );
  if (refusal) return { kind: 'refused', refusal };
  return p.stores.global.transaction().execute(async (trx): Promise<FlavorResult> => {
    await exclusively(trx, 'flavors');
    const taken = await trx
      .selectFrom('flavors')
      .select(['flavor_id', 'name'])
      .where((eb) => eb.or([eb('flavor_id', '=', flavorId), eb('name', '=', flavor.name)]))
      .executeTakeFirst();
    if (taken) {
      const message =
        taken.name === flavor.name
          ? `Flavor with name ${flavor.name} already exists.`
          : `Flavor with ID ${flavorId} already exists.`;
      return { kind: 'refused', refusal: conflict(message) };
    }
    const row = await trx
      .insertInto('flavors')
      .values({
        flavor_id: flavorId,
        name: flavor.name,
        vcpus: flavor.vcpus,
        memory_mb: flavor.memoryMb,
        root_gb: flavor.rootGb,
        ephemeral_gb: flavor.ephemeralGb,
        swap_mb: flavor.swapMb,
        rxtx_factor: flavor.rxtxFactor,
        is_public: flavor.isPublic ? 1 : 0,
        disabled: 0,
        description: flavor.description,
        extra_specs_json: JSON.stringify(specs),
        created_at: p.clock.now(),
      })
      .returningAll()
      .executeTakeFirstOrThrow();
    return { kind: 'ok', flavor: recordOf(row, []) };
  });
}

/** False when there is no such flavor. */
export async function deleteFlavor(p: Platform, flavorId: string): Promise<boolean> {
  const { numDeletedRows } = await p.stores.global
    .deleteFrom('flavors')
    .where('flavor_id', '=', flavorId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function describeFlavor(p: Platform, flavorId: string, description: string | null): Promise<FlavorResult> {
  const row = await p.stores.global
    .updateTable('flavors')
    .set({ description })
    .where('flavor_id', '=', flavorId)
    .returningAll()
    .executeTakeFirst();
  if (!row) return { kind: 'refused', refusal: flavorNotFound(flavorId) };
  return { kind: 'ok', flavor: recordOf(row, await flavorAccess(p, flavorId)) };
}

/** Adds or replaces extra specs. */
export async function setExtraSpecs(
  p: Platform,
  flavorId: string,
  specs: Readonly<Record<string, string>>,
): Promise<FlavorResult> {
  const refusal = checkExtraSpecs(specs);
  if (refusal) return { kind: 'refused', refusal };
  return changeExtraSpecs(p, flavorId, (before) => {
    const after = { ...before, ...specs };
    return Object.keys(after).length > MAX_EXTRA_SPECS
      ? badRequest(`A flavor can have at most ${MAX_EXTRA_SPECS} extra specs.`)
      : after;
  });
}

export function deleteExtraSpec(p: Platform, flavorId: string, key: string): Promise<FlavorResult> {
  return changeExtraSpecs(p, flavorId, (before) => {
    if (!Object.hasOwn(before, key)) return extraSpecNotFound(flavorId, key);
    const { [key]: _gone, ...after } = before;
    return after;
  });
}

/** Nova's 404 (FlavorExtraSpecsNotFound). */
export const extraSpecNotFound = (flavorId: string, key: string): Refusal =>
  notFound(`Flavor ${flavorId} has no extra specs with key ${key}.`);

function changeExtraSpecs(
  p: Platform,
  flavorId: string,
  change: (before: Readonly<Record<string, string>>) => Record<string, string> | Refusal,
): Promise<FlavorResult> {
  return p.stores.global.transaction().execute(async (trx): Promise<FlavorResult> => {
    await exclusively(trx, 'flavors');
    const before = await trx
      .selectFrom('flavors')
      .select('extra_specs_json')
      .where('flavor_id', '=', flavorId)
      .executeTakeFirst();
    if (!before) return { kind: 'refused', refusal: flavorNotFound(flavorId) };
    const after = change(JSON.parse(before.extra_specs_json) as Record<string, string>);
    if (isRefusal(after)) return { kind: 'refused', refusal: after };
    const row = await trx
      .updateTable('flavors')
      .set({ extra_specs_json: JSON.stringify(after) })
      .where('flavor_id', '=', flavorId)
      .returningAll()
      .executeTakeFirstOrThrow();
    return { kind: 'ok', flavor: recordOf(row, await accessIn(trx, flavorId)) };
  });
}

/** Extra specs are text by text, so a number under `code` tells a refusal from them. */
const isRefusal = (value: Record<string, string> | Refusal): value is Refusal => typeof value['code'] === 'number';

/** Projects that were given access to a private flavor. */
export const flavorAccess = (p: Platform, flavorId: string): Promise<string[]> => accessIn(p.stores.global, flavorId);

async function accessIn(db: Kysely<GlobalTables>, flavorId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('flavor_projects')
    .select('project_id')
    .where('flavor_id', '=', flavorId)
    .orderBy('project_id')
    .execute();
  return rows.map((row) => row.project_id);
}

/** 409 when the flavor is public or the project already has it, 404 when there is no such flavor. */
export async function grantFlavor(p: Platform, flavorId: string, projectId: string): Promise<Refusal | null> {
  return p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'flavors');
    const refusal = await privateOrRefusal(trx, flavorId);
    if (refusal) return refusal;
    const { numInsertedOrUpdatedRows } = await trx
      .insertInto('flavor_projects')
      .values({ flavor_id: flavorId, project_id: projectId })
      .onConflict((on) => on.columns(['flavor_id', 'project_id']).doNothing())
      .executeTakeFirst();
    return numInsertedOrUpdatedRows === 1n
      ? null
      : conflict(`Flavor access already exists for flavor ${flavorId} and project ${projectId} combination.`);
  });
}

/** 404 when the flavor does not exist or the project does not have it, 409 when it is public. */
export async function revokeFlavor(p: Platform, flavorId: string, projectId: string): Promise<Refusal | null> {
  return p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'flavors');
    const refusal = await privateOrRefusal(trx, flavorId);
    if (refusal) return refusal;
    const { numDeletedRows } = await trx
      .deleteFrom('flavor_projects')
      .where('flavor_id', '=', flavorId)
      .where('project_id', '=', projectId)
      .executeTakeFirst();
    return numDeletedRows === 1n
      ? null
      : notFound(`Flavor access not found for ${flavorId} / ${projectId} combination.`);
  });
}

async function privateOrRefusal(db: Kysely<GlobalTables>, flavorId: string): Promise<Refusal | null> {
  const row = await db.selectFrom('flavors').select('is_public').where('flavor_id', '=', flavorId).executeTakeFirst();
  if (!row) return flavorNotFound(flavorId);
  return row.is_public === 1 ? conflict('Can not add access to a public flavor.') : null;
}
