// Projects. A project that is deleted takes its role assignments and application credentials with it; what the other
// services hold for it stays where it is and belongs to its id, as in OpenStack: its servers run on, an administrator
// sees and deletes them. Nobody gets a token for it any more, and tokens for it end.
import type { Insertable, Kysely, Updateable } from 'kysely';
import { badRequest, conflict, forbidden, notFound, type Refusal, refused } from '../../model/refusal.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type TagFilter, tagConditions } from '../../store/tag-filter.ts';
import {
  assignmentsFor,
  type Changed,
  type Directory,
  MAX_LISTED,
  newIdentityId,
  ok,
  type Project,
  projectOf,
} from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';

export const projectNotFound = (id: string): Refusal => notFound(`Could not find project: ${id.slice(0, 255)}.`);

export interface ProjectFilter extends NameFilter {
  readonly domainId?: string;
  /** A domain's id stands for the projects directly under it. */
  readonly parentId?: string;
  readonly enabled?: boolean;
  /** In which this user has a role, by itself or in a group. */
  readonly userId?: string;
  readonly tags?: TagFilter;
}

/** By name; one more than MAX_LISTED at most. */
export async function listProjects({ db }: Directory, filter: ProjectFilter): Promise<Project[]> {
  const { domainId, parentId, enabled, userId, tags = {}, ...names } = filter;
  let query = db.selectFrom('projects').selectAll().where(isNamed(names));
  for (const condition of tagConditions('tags_json', tags)) query = query.where(condition);
  if (domainId !== undefined) query = query.where('domain_id', '=', domainId);
  if (parentId !== undefined) {
    query = query.where((eb) =>
      eb.or([eb('parent_id', '=', parentId), eb.and([eb('parent_id', 'is', null), eb('domain_id', '=', parentId)])]),
    );
  }
  if (enabled !== undefined) query = query.where('enabled', '=', enabled ? 1 : 0);
  if (userId !== undefined) {
    query = query.where((eb) =>
      eb('id', 'in', assignmentsFor(db, userId).select('scope_id').where('scope', '=', 'project')),
    );
  }
  const rows = await query
    .orderBy('name')
    .orderBy('id')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map(projectOf);
}

/** Most levels of projects below a domain: Keystone's max_project_tree_depth. */
const MAX_LEVELS = 5;

/** The projects above this one, the nearest first; the domain above them is no project. */
export const ancestorsOf = ({ db }: Directory, { parentId }: Pick<Project, 'parentId'>): Promise<Project[]> =>
  branchTo(db, parentId);

async function branchTo(db: Kysely<GlobalTables>, id: string | null): Promise<Project[]> {
  const branch: Project[] = [];
  // A project has its parent from the beginning and for good: this goes up, and ends.
  for (let next = id; next !== null; next = branch.at(-1)?.parentId ?? null) {
    const row = await db.selectFrom('projects').selectAll().where('id', '=', next).executeTakeFirst();
    if (!row) break;
    branch.push(projectOf(row));
  }
  return branch;
}

export interface ProjectRequest {
  readonly name: string;
  readonly domainId: string;
  /** Null, or the domain's id: directly under the domain. */
  readonly parentId: string | null;
  readonly description: string;
  readonly enabled: boolean;
  readonly tags: readonly string[];
}

const nameTaken = (name: string, id: string): Refusal =>
  conflict(
    'Conflict occurred attempting to store project - it is not permitted to have two projects with either the same ' +
      `name or same id in the same domain: name is ${name}, project id ${id}.`,
  );

export const createProject = ({ change, clock }: Directory, request: ProjectRequest): Promise<Changed<Project>> =>
  change(async (trx) => {
    const { name, domainId, description, enabled, tags } = request;
    const parentId = request.parentId === domainId ? null : request.parentId;
    const domain = await trx.selectFrom('domains').select('id').where('id', '=', domainId).executeTakeFirst();
    if (!domain) return refused(notFound(`Could not find domain: ${domainId}.`));
    if (parentId !== null) {
      const parent = await trx.selectFrom('projects').select('domain_id').where('id', '=', parentId).executeTakeFirst();
      if (!parent) return refused(projectNotFound(parentId));
      if (parent.domain_id !== domainId) {
        return refused(badRequest('A project must be in the same domain as its parent.'));
      }
      if ((await branchTo(trx, parentId)).length >= MAX_LEVELS) {
        return refused(forbidden(`Max hierarchy depth reached for ${parentId} branch.`));
      }
    }
    const values: Insertable<GlobalTables['projects']> = {
      ...{ id: newIdentityId(), domain_id: domainId, parent_id: parentId, name, description },
      ...{ enabled: enabled ? 1 : 0, tags_json: JSON.stringify(tags), created_at: clock.now() },
    };
    const row = await trx
      .insertInto('projects')
      .values(values)
      .onConflict((on) => on.columns(['domain_id', 'name']).doNothing())
      .returningAll()
      .executeTakeFirst();
    return row ? ok(projectOf(row)) : refused(nameTaken(name, values.id));
  });

export interface ProjectChange {
  readonly name?: string;
  readonly description?: string;
  readonly enabled?: boolean;
  readonly tags?: readonly string[];
}

export const updateProject = (
  { change }: Directory,
  id: string,
  { name, description, enabled, tags }: ProjectChange,
): Promise<Changed<Project>> =>
  change(async (trx) => {
    const before = await trx.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst();
    if (!before) return refused(projectNotFound(id));
    if (name !== undefined && name !== before.name) {
      const other = await trx
        .selectFrom('projects')
        .select('id')
        .where('domain_id', '=', before.domain_id)
        .where('name', '=', name)
        .executeTakeFirst();
      if (other) return refused(nameTaken(name, id));
    }
    const values: Updateable<GlobalTables['projects']> = {
      name: name ?? before.name,
      description: description ?? before.description,
      enabled: (enabled ?? before.enabled === 1) ? 1 : 0,
      tags_json: tags === undefined ? before.tags_json : JSON.stringify(tags),
    };
    const row = await trx
      .updateTable('projects')
      .set(values)
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return ok(projectOf(row));
  });

export const deleteProject = ({ change }: Directory, id: string): Promise<Changed<null>> =>
  change(async (trx) => {
    const row = await trx.selectFrom('projects').select('id').where('id', '=', id).executeTakeFirst();
    if (!row) return refused(projectNotFound(id));
    const child = await trx.selectFrom('projects').select('id').where('parent_id', '=', id).executeTakeFirst();
    if (child) {
      return refused(forbidden(`Cannot delete the project ${id} since it is not a leaf in the hierarchy.`));
    }
    await trx.deleteFrom('role_assignments').where('scope', '=', 'project').where('scope_id', '=', id).execute();
    await trx.updateTable('users').set({ default_project_id: null }).where('default_project_id', '=', id).execute();
    await trx.deleteFrom('projects').where('id', '=', id).execute();
    return ok(null);
  });
