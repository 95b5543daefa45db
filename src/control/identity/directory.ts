// Who there is, as recorded: users, projects, domains and roles, read through the cache, and changed under one lock.
//
// Theory of operation. Every write of the identity tables goes through `change`: a transaction that runs alone among its
// kind (so that what it has checked stays true), raises the revision, and makes this process forget what it had read.
// Single records are read here, for tokens and routes alike; lists are not cached and stand beside their use cases.
import type { Kysely, Selectable } from 'kysely';
import type { Clock } from '../../lib/clock.ts';
import { newId } from '../../lib/ids.ts';
import { RANKED_ROLES, withImplied } from '../../model/policy/roles.ts';
import type { Refused } from '../../model/refusal.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { revisionCache } from './cache.ts';
import { type PasswordChecker, passwordChecker } from './passwords.ts';
import { type Scope, scopeIdOf } from './tokens.ts';

export const DEFAULT_DOMAIN = 'default';
/** Most that a list shows; then it says that it is truncated. */
export const MAX_LISTED = 10_000;

export interface Domain {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
}
export interface Project {
  readonly id: string;
  readonly domainId: string;
  readonly parentId: string | null;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  readonly tags: readonly string[];
}
export interface User {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly description: string | null;
  readonly email: string | null;
  readonly defaultProjectId: string | null;
  /** Attribute `project_id`, which means nothing, as somebody gave it. */
  readonly projectId: string | null;
  readonly enabled: boolean;
  readonly options: Readonly<Record<string, boolean>>;
}
export interface Group {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly description: string | null;
}
export interface Role {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
}

/** A user with what a login looks at. */
export interface Account {
  readonly user: User;
  readonly domain: Domain;
  readonly passwordHash: string | null;
  readonly epoch: number;
}
export interface ProjectIn {
  readonly project: Project;
  readonly domain: Domain;
}

export type Changed<T> = { readonly kind: 'ok'; readonly value: T } | Refused;
export const ok = <T>(value: T): Changed<T> => ({ kind: 'ok', value });

/** A record by its id, or by its name within a domain. */
export interface Selector {
  readonly id?: string;
  readonly name?: string;
  readonly domain?: { readonly id?: string; readonly name?: string };
}

export interface Directory {
  readonly db: Kysely<GlobalTables>;
  readonly clock: Clock;
  readonly passwords: PasswordChecker;
  cached<T>(key: string, load: () => Promise<T>): Promise<T>;
  /** Nothing is written when `work` refuses. */
  change<T>(work: (trx: Kysely<GlobalTables>) => Promise<Changed<T>>): Promise<Changed<T>>;
}

/** Ids of identity's records have no dashes, as Keystone's. */
export const newIdentityId = (): string => newId().replaceAll('-', '');

export function openDirectory(db: Kysely<GlobalTables>, clock: Clock): Directory {
  const cache = revisionCache(async () => {
    const { value } = await db
      .selectFrom('revisions')
      .select('value')
      .where('name', '=', 'identity')
      .executeTakeFirstOrThrow();
    return value;
  }, clock);
  return {
    db,
    clock,
    passwords: passwordChecker(),
    cached: cache.read,
    async change(work) {
      try {
        return await db.transaction().execute(async (trx) => {
          await exclusively(trx, 'identity');
          const result = await work(trx);
          if (result.kind === 'ok') {
            await trx
              .updateTable('revisions')
              .set((eb) => ({ value: eb('value', '+', 1) }))
              .where('name', '=', 'identity')
              .execute();
          }
          return result;
        });
      } finally {
        // Also when it failed: a commit whose answer was lost may have landed.
        cache.forget();
      }
    },
  };
}

export const domainOf = (row: Selectable<GlobalTables['domains']>): Domain => ({
  id: row.id,
  name: row.name,
  description: row.description,
  enabled: row.enabled === 1,
});

export const projectOf = (row: Selectable<GlobalTables['projects']>): Project => ({
  id: row.id,
  domainId: row.domain_id,
  parentId: row.parent_id,
  name: row.name,
  description: row.description,
  enabled: row.enabled === 1,
  tags: JSON.parse(row.tags_json) as string[],
});

export const userOf = (row: Selectable<GlobalTables['users']>): User => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  description: row.description,
  email: row.email,
  defaultProjectId: row.default_project_id,
  projectId: row.project_id,
  enabled: row.enabled === 1,
  options: JSON.parse(row.options_json) as Record<string, boolean>,
});

export const groupOf = (row: Selectable<GlobalTables['user_groups']>): Group => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  description: row.description,
});

export const roleOf = (row: Selectable<GlobalTables['roles']>): Role => ({
  id: row.id,
  name: row.name,
  description: row.description,
});

/** Whether it can be the id of a record at all: nothing else reaches the database or the cache. */
const isIdLike = (id: string): boolean => /^[\w-]{1,64}$/.test(id);

/** The record of a kind by its id, from the cache if it can be. */
export async function byId<T>(
  directory: Directory,
  kind: string,
  id: string,
  load: () => Promise<T | null>,
): Promise<T | null> {
  return isIdLike(id) ? directory.cached(`${kind} ${id}`, load) : null;
}

export const findDomain = (directory: Directory, id: string): Promise<Domain | null> =>
  byId(directory, 'domain', id, async () => {
    const row = await directory.db.selectFrom('domains').selectAll().where('id', '=', id).executeTakeFirst();
    return row ? domainOf(row) : null;
  });

export const findRole = (directory: Directory, id: string): Promise<Role | null> =>
  byId(directory, 'role', id, async () => {
    const row = await directory.db.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst();
    return row ? roleOf(row) : null;
  });

export const findGroup = (directory: Directory, id: string): Promise<Group | null> =>
  byId(directory, 'group', id, async () => {
    const row = await directory.db.selectFrom('user_groups').selectAll().where('id', '=', id).executeTakeFirst();
    return row ? groupOf(row) : null;
  });

export const findProject = (directory: Directory, id: string): Promise<ProjectIn | null> =>
  byId(directory, 'project', id, async () => {
    const row = await directory.db.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst();
    const domain = row && (await findDomain(directory, row.domain_id));
    return row && domain ? { project: projectOf(row), domain } : null;
  });

export const findAccount = (directory: Directory, id: string): Promise<Account | null> =>
  byId(directory, 'user', id, async () => {
    const row = await directory.db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
    const domain = row && (await findDomain(directory, row.domain_id));
    if (!row || !domain) return null;
    return { user: userOf(row), domain, passwordHash: row.password_hash, epoch: row.token_epoch };
  });

export async function selectAccount(directory: Directory, selector: Selector): Promise<Account | null> {
  const id = selector.id ?? (await idByName(directory, 'users', selector));
  return id === null ? null : findAccount(directory, id);
}

export async function selectProject(directory: Directory, selector: Selector): Promise<ProjectIn | null> {
  const id = selector.id ?? (await idByName(directory, 'projects', selector));
  return id === null ? null : findProject(directory, id);
}

/** By id, or by name; a domain has no domain. */
export async function selectDomain(directory: Directory, { id, name = '' }: Selector): Promise<Domain | null> {
  if (id !== undefined) return findDomain(directory, id);
  return directory.cached(`domain called ${name}`, async () => {
    const row = await directory.db.selectFrom('domains').selectAll().where('name', '=', name).executeTakeFirst();
    return row ? domainOf(row) : null;
  });
}

/** Without a domain: the default one. Id of the record of that name; null: there is none. */
async function idByName(
  directory: Directory,
  table: 'users' | 'projects',
  { name = '', domain = { id: DEFAULT_DOMAIN } }: Selector,
): Promise<string | null> {
  const domainId = domain.id ?? (await selectDomain(directory, domain))?.id;
  if (domainId === undefined) return null;
  return directory.cached(`${table} ${domainId} ${name}`, async () => {
    const row = await directory.db
      .selectFrom(table)
      .select('id')
      .where('domain_id', '=', domainId)
      .where('name', '=', name)
      .executeTakeFirst();
    return row?.id ?? null;
  });
}

/** The assignments that count for a user: its own, and those of the groups that it is in. */
export const assignmentsFor = (db: Kysely<GlobalTables>, userId: string) =>
  db
    .selectFrom('role_assignments')
    .where((eb) =>
      eb.or([
        eb('role_assignments.user_id', '=', userId),
        eb(
          'role_assignments.group_id',
          'in',
          eb.selectFrom('group_members').select('group_id').where('group_members.user_id', '=', userId),
        ),
      ]),
    );

/** Roles that the user has in the scope, by itself or in a group; without those that they imply. */
export const rolesIn = (directory: Directory, userId: string, scope: Scope): Promise<readonly Role[]> =>
  directory.cached(`roles ${userId} ${scope.kind} ${scopeIdOf(scope)}`, async () => {
    const rows = await assignmentsFor(directory.db, userId)
      .innerJoin('roles', 'roles.id', 'role_assignments.role_id')
      .selectAll('roles')
      .distinct()
      .where('scope', '=', scope.kind)
      .where('scope_id', '=', scopeIdOf(scope))
      .orderBy('roles.name')
      .execute();
    return rows.map(roleOf);
  });

/** The roles with all that they imply, as far as there are such roles. */
export async function withImpliedRoles(directory: Directory, given: readonly Role[]): Promise<readonly Role[]> {
  const names = withImplied(given.map((role) => role.name));
  const ranked = await directory.cached('ranked roles', async () => {
    const rows = await directory.db
      .selectFrom('roles')
      .selectAll()
      .where('name', 'in', [...RANKED_ROLES])
      .orderBy('name')
      .execute();
    return rows.map(roleOf);
  });
  return [...given, ...ranked.filter((role) => names.has(role.name) && !given.some((each) => each.id === role.id))];
}

/** Roles that the user has in the scope, with those that they imply. */
export const effectiveRolesIn = async (directory: Directory, userId: string, scope: Scope): Promise<readonly Role[]> =>
  withImpliedRoles(directory, await rolesIn(directory, userId, scope));
