// Who there is, from configuration: projects, users with their roles and password hashes. Ids that are not given follow
// from the names, so that they are the same at every start.
import { createHash } from 'node:crypto';
import { hashPassword, parsePasswordHash } from './passwords.ts';

export const DOMAIN = { id: 'default', name: 'Default' } as const;

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

export interface Project {
  readonly id: string;
  readonly name: string;
  readonly description: string;
}
export interface User {
  readonly id: string;
  readonly name: string;
  readonly email: string | null;
  readonly defaultProjectId: string | null;
}
export interface Role {
  readonly id: string;
  readonly name: string;
}

export interface Account {
  readonly user: User;
  readonly hash: string;
  readonly rolesByProject: ReadonlyMap<string, readonly string[]>;
  /** HMAC of the password that was right last, under this process's own key. */
  remembered: Buffer | null;
}

/** Id of a configured user, project or role that was not given one: the same at every start, in Keystone's form. */
export const derivedId = (kind: 'user' | 'project' | 'role', name: string): string =>
  createHash('sha256').update(`${kind}:${name}`).digest('hex').slice(0, 32);

export function projectsFrom(config: IdentityConfig): Project[] {
  const projects = config.projects.map((each) => ({
    id: each.id ?? derivedId('project', each.name),
    name: each.name,
    description: each.description ?? '',
  }));
  unique(
    'project name',
    projects.map((each) => each.name),
  );
  unique(
    'project id',
    projects.map((each) => each.id),
  );
  return projects;
}

export function rolesFrom(config: IdentityConfig): Role[] {
  const names = new Set([
    'admin',
    'member',
    'reader',
    ...config.users.flatMap((each) => Object.values(each.roles).flat()),
  ]);
  return [...names].map((name) => ({ id: derivedId('role', name), name }));
}

/** The users with their roles. @throws Error with a sentence for the operator */
export async function accountsFrom(config: IdentityConfig, projects: readonly Project[]): Promise<Account[]> {
  const accounts = await Promise.all(config.users.map((each) => accountFrom(each, projects)));
  unique(
    'user name',
    accounts.map((each) => each.user.name),
  );
  unique(
    'user id',
    accounts.map((each) => each.user.id),
  );
  return accounts;
}

async function accountFrom(user: IdentityConfig['users'][number], projects: readonly Project[]): Promise<Account> {
  const idOf = (projectName: string): string => {
    const project = projects.find((each) => each.name === projectName);
    if (!project) throw new Error(`user ${user.name}: there is no project ${projectName}`);
    return project.id;
  };
  const rolesByProject = new Map(
    Object.entries(user.roles)
      .filter(([, names]) => names.length > 0)
      .map(([project, names]) => [idOf(project), names]),
  );
  const [firstProject] = rolesByProject.keys();
  return {
    user: {
      id: user.id ?? derivedId('user', user.name),
      name: user.name,
      email: user.email ?? null,
      defaultProjectId: user.defaultProject === undefined ? (firstProject ?? null) : idOf(user.defaultProject),
    },
    hash: await storedHash(user),
    rolesByProject,
    remembered: null,
  };
}

async function storedHash(user: IdentityConfig['users'][number]): Promise<string> {
  if (user.passwordHash !== undefined && user.password === undefined) {
    if (!parsePasswordHash(user.passwordHash)) throw new Error(`user ${user.name}: the password hash is malformed`);
    return user.passwordHash;
  }
  if (user.password === undefined || user.passwordHash !== undefined) {
    throw new Error(`user ${user.name}: give either a password or a password hash`);
  }
  return hashPassword(user.password);
}

function unique(what: string, values: readonly string[]): void {
  const twice = values.find((each, index) => values.indexOf(each) !== index);
  if (twice !== undefined) throw new Error(`the ${what} ${twice} is there twice`);
}
