// What the configuration says of projects and users, made sure of at every start.
//
// Theory of operation. The configuration is a floor: what it names and is not there is made, with ids that follow from
// the names unless it gives them, so that they are the same everywhere; roles that it gives and that are missing are
// given. What is there is left as it is, for it may have been changed over the API, with one exception: a password that
// is not the one that the configuration gave last (`seeded_hash`) has been changed in the configuration, and counts from
// now on. Nothing is deleted: what is taken out of the configuration is deleted over the API. Whoever is an
// administrator in some project is one of the system too, as `keystone-manage bootstrap` has it.
import { createHash } from 'node:crypto';
import type { Kysely } from 'kysely';
import { RANKED_ROLES } from '../../model/policy/roles.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { DEFAULT_DOMAIN, type Directory, ok } from './directory.ts';
import { hashPassword, isPassword, parsePasswordHash } from './passwords.ts';

export interface IdentityConfig {
  readonly projects: readonly { readonly name: string; readonly id?: string; readonly description?: string }[];
  readonly users: readonly {
    readonly name: string;
    readonly id?: string;
    /** Exactly one of the two; passwordHash as `hashPassword` makes it. */
    readonly password?: string;
    readonly passwordHash?: string;
    readonly email?: string;
    /** Role names by project name. */
    readonly roles: Readonly<Record<string, readonly string[]>>;
    /** Project of a token for which no scope was asked; default: the first of `roles`. */
    readonly defaultProject?: string;
  }[];
  readonly tokenLifetimeSeconds: number;
}

interface Seeds {
  readonly projects: readonly { readonly id: string; readonly name: string; readonly description: string }[];
  readonly roles: readonly { readonly id: string; readonly name: string }[];
  readonly users: readonly SeededUser[];
}
interface SeededUser {
  readonly id: string;
  readonly name: string;
  readonly email: string | null;
  readonly defaultProjectId: string | null;
  readonly password: string | null;
  /** Null: the one that the configuration gave last is still the one that it gives. */
  readonly newHash: string | null;
  readonly grants: readonly { readonly projectId: string; readonly roleId: string }[];
  readonly systemAdmin: boolean;
}

/** Id of what the configuration names without an id: the same at every start, in Keystone's form. */
export const derivedId = (kind: 'user' | 'project' | 'role' | 'service' | 'endpoint', name: string): string =>
  createHash('sha256').update(`${kind}:${name}`).digest('hex').slice(0, 32);

/** @throws Error with a sentence for the operator when the configuration contradicts itself or what is recorded */
export async function seedIdentity(directory: Directory, config: IdentityConfig): Promise<void> {
  const seeds = await seedsOf(directory, config);
  await directory.change(async (trx) => {
    for (const role of seeds.roles) {
      await trx
        .insertInto('roles')
        .values({ ...role, description: null, created_at: directory.clock.now() })
        .onConflict((on) => on.doNothing())
        .execute();
    }
    for (const project of seeds.projects) await seedProject(trx, project, directory.clock.now());
    for (const user of seeds.users) await seedUser(trx, user, directory.clock.now());
    return ok(null);
  });
}

async function seedsOf(directory: Directory, config: IdentityConfig): Promise<Seeds> {
  const projects = config.projects.map((each) => ({
    id: each.id ?? derivedId('project', each.name),
    name: each.name,
    description: each.description ?? '',
  }));
  const named = (key: 'name' | 'id', values: readonly { readonly name: string; readonly id: string }[]): string[] =>
    values.map((each) => each[key]);
  unique('project name', named('name', projects));
  unique('project id', named('id', projects));
  const given = config.users.flatMap((each) => Object.values(each.roles).flat());
  const roles = await Promise.all([...new Set([...RANKED_ROLES, ...given])].map((name) => roleNamed(directory, name)));
  const users = await Promise.all(config.users.map((each) => userSeed(directory, each, projects, roles)));
  unique('user name', named('name', users));
  unique('user id', named('id', users));
  return { projects, roles, users };
}

/** The role that is there, else the one to be made. */
async function roleNamed({ db }: Directory, name: string): Promise<{ id: string; name: string }> {
  const row = await db.selectFrom('roles').select('id').where('name', '=', name).executeTakeFirst();
  return { id: row?.id ?? derivedId('role', name), name };
}

async function userSeed(
  directory: Directory,
  user: IdentityConfig['users'][number],
  projects: Seeds['projects'],
  roles: Seeds['roles'],
): Promise<SeededUser> {
  const projectId = (name: string): string => {
    const project = projects.find((each) => each.name === name);
    if (!project) throw new Error(`user ${user.name}: there is no project ${name}`);
    return project.id;
  };
  const grants = Object.entries(user.roles).flatMap(([project, names]) =>
    names.map((name) => ({
      projectId: projectId(project),
      roleId: roles.find((each) => each.name === name)?.id ?? '',
    })),
  );
  const id = user.id ?? derivedId('user', user.name);
  return {
    ...{ id, name: user.name, email: user.email ?? null, grants },
    defaultProjectId:
      user.defaultProject === undefined ? (grants[0]?.projectId ?? null) : projectId(user.defaultProject),
    password: user.password ?? null,
    newHash: await newHash(directory, id, user),
    systemAdmin: Object.values(user.roles).flat().includes('admin'),
  };
}

async function newHash({ db }: Directory, id: string, user: IdentityConfig['users'][number]): Promise<string | null> {
  const before = await db.selectFrom('users').select('seeded_hash').where('id', '=', id).executeTakeFirst();
  const { password, passwordHash } = user;
  if (passwordHash !== undefined && password === undefined) {
    if (!parsePasswordHash(passwordHash)) throw new Error(`user ${user.name}: the password hash is malformed`);
    return passwordHash === before?.seeded_hash ? null : passwordHash;
  }
  if (password === undefined || passwordHash !== undefined) {
    throw new Error(`user ${user.name}: give either a password or a password hash`);
  }
  const stored = before?.seeded_hash ? parsePasswordHash(before.seeded_hash) : null;
  return stored && (await isPassword(password, stored)) ? null : hashPassword(password);
}

async function seedProject(trx: Kysely<GlobalTables>, project: Seeds['projects'][number], now: number): Promise<void> {
  if (await isThere(trx, 'projects', project)) return;
  const values = {
    ...project,
    domain_id: DEFAULT_DOMAIN,
    parent_id: null,
    enabled: 1,
    tags_json: '[]',
    created_at: now,
  };
  await trx.insertInto('projects').values(values).execute();
}

async function seedUser(trx: Kysely<GlobalTables>, user: SeededUser, now: number): Promise<void> {
  const { newHash: hash } = user;
  if (!(await isThere(trx, 'users', user))) {
    await trx
      .insertInto('users')
      .values({
        ...{ id: user.id, domain_id: DEFAULT_DOMAIN, name: user.name, description: null, email: user.email },
        ...{ default_project_id: user.defaultProjectId, project_id: null, enabled: 1 },
        ...{ options_json: '{}', token_epoch: 0 },
        ...{ password_hash: hash, seeded_hash: hash, password_at: now, created_at: now },
      })
      .execute();
  } else if (hash !== null) {
    await trx
      .updateTable('users')
      .set((eb) => ({
        ...{ password_hash: hash, seeded_hash: hash, password_at: now },
        token_epoch: eb('token_epoch', '+', 1),
      }))
      .where('id', '=', user.id)
      .execute();
  }
  const admin = await trx.selectFrom('roles').select('id').where('name', '=', 'admin').executeTakeFirstOrThrow();
  const assignments = [
    ...user.grants.map((each) => ({ scope: 'project', scope_id: each.projectId, role_id: each.roleId })),
    ...(user.systemAdmin ? [{ scope: 'system', scope_id: '', role_id: admin.id }] : []),
  ].map((each) => ({ ...each, user_id: user.id }));
  if (assignments.length === 0) return;
  await trx
    .insertInto('role_assignments')
    .values(assignments)
    .onConflict((on) => on.doNothing())
    .execute();
}

/** @throws Error when its name is another's */
async function isThere(
  trx: Kysely<GlobalTables>,
  table: 'users' | 'projects',
  { id, name }: { readonly id: string; readonly name: string },
): Promise<boolean> {
  const there = await trx.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst();
  if (there) return true;
  const other = await trx
    .selectFrom(table)
    .select('id')
    .where('domain_id', '=', DEFAULT_DOMAIN)
    .where('name', '=', name)
    .executeTakeFirst();
  if (other) throw new Error(`${table}: the configuration's ${name} would be ${id}, but ${other.id} is called so`);
  return false;
}

function unique(what: string, values: readonly string[]): void {
  const twice = values.find((each, index) => values.indexOf(each) !== index);
  if (twice !== undefined) throw new Error(`the ${what} ${twice} is there twice`);
}
