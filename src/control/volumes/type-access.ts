// Which projects may use a volume type that is not public. A type that is made public keeps its list, which means nothing
// until it is private again.
import type { Kysely } from 'kysely';
import { badRequest, conflict, notFound, type Refusal } from '../../model/refusal.ts';
import { typeNotFound } from '../../model/volumes.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';

/** Most projects that one type is open to. */
const MOST_PROJECTS = 1000;

export interface TypeAccess {
  readonly typeId: string;
  readonly projectId: string;
}

/** Ids of the projects, in order. */
export async function projectsOfType(p: Platform, typeId: string): Promise<string[]> {
  const rows = await p.stores.global
    .selectFrom('volume_type_projects')
    .select('project_id')
    .where('type_id', '=', typeId)
    .orderBy('project_id')
    .execute();
  return rows.map((row) => row.project_id);
}

/** Ids of the private types whose lists name the project. */
export async function typesOfProject(p: Platform, projectId: string): Promise<ReadonlySet<string>> {
  const rows = await p.stores.global
    .selectFrom('volume_type_projects')
    .select('type_id')
    .where('project_id', '=', projectId)
    .execute();
  return new Set(rows.map((row) => row.type_id));
}

/** Nobody else changes a type before the transaction ends. Null: this one has a list that counts. */
async function lockList(trx: Kysely<GlobalTables>, typeId: string): Promise<Refusal | null> {
  await exclusively(trx, 'volume types');
  const type = await trx.selectFrom('volume_types').select('is_public').where('id', '=', typeId).executeTakeFirst();
  if (!type) return typeNotFound(typeId);
  return type.is_public === 1 ? PUBLIC : null;
}

/** 400 for a public type, 409 for a project that has it already. */
export const addTypeAccess = (p: Platform, { typeId, projectId }: TypeAccess): Promise<Refusal | null> =>
  p.stores.global.transaction().execute(async (trx) => {
    const noList = await lockList(trx, typeId);
    if (noList) return noList;
    const { count } = await trx
      .selectFrom('volume_type_projects')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('type_id', '=', typeId)
      .executeTakeFirstOrThrow();
    if (Number(count) >= MOST_PROJECTS)
      return badRequest(`A volume type is open to at most ${MOST_PROJECTS} projects.`);
    const made = await trx
      .insertInto('volume_type_projects')
      .values({ type_id: typeId, project_id: projectId })
      .onConflict((on) => on.doNothing())
      .returning('type_id')
      .executeTakeFirst();
    return made ? null : conflict(`Volume type access for ${typeId} / ${projectId} combination already exists.`);
  });

/** 400 for a public type, 404 for a project that does not have it. Volumes of the type stay. */
export const removeTypeAccess = (p: Platform, { typeId, projectId }: TypeAccess): Promise<Refusal | null> =>
  p.stores.global.transaction().execute(async (trx) => {
    const noList = await lockList(trx, typeId);
    if (noList) return noList;
    const { numDeletedRows } = await trx
      .deleteFrom('volume_type_projects')
      .where('type_id', '=', typeId)
      .where('project_id', '=', projectId)
      .executeTakeFirst();
    return numDeletedRows > 0n
      ? null
      : notFound(`Volume type access not found for ${typeId} / ${projectId} combination.`);
  });

const PUBLIC = badRequest('Invalid volume type: Type access modification is not applicable to public volume type.');
