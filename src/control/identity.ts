// Who there is and who may enter: users, projects and roles from configuration, passwords, tokens.
//
// Everything here lives in memory and is rebuilt from configuration at every start; nothing is written. Passwords are
// kept as scrypt hashes. A password that was right once is remembered as an HMAC under a key of this process, so that
// the next token costs microseconds; wrong ones always cost a full scrypt, the same whether the user exists or not.
// Tokens carry their claims, signed with HMAC-SHA-256 under a key that outlives the process: they stay valid over a
// restart, and several processes with the same key accept each other's. Roles are looked up at every check and are not
// part of the token. Revocations are kept in memory until the token would have expired: a restart forgets them, and
// other processes never learn of them.
import { createHash, createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';

const scryptAsync = promisify<string, Buffer, number, { N: number; r: number; p: number }, Buffer>(scrypt);

/** About 25 ms on a current core. */
const SCRYPT = { N: 1 << 13, r: 8, p: 1 };
const HASH_BYTES = 32;
const MIN_KEY_BYTES = 32;
/** Failed logins that one address may have per window, for one user name and altogether. */
const MAX_FAILURES = 20;
const FAILURE_WINDOW_MS = 60_000;
const MAX_COUNTED = 10_000;
const MAX_REVOKED = 100_000;
/** Password checks at the same time; more wait their turn, up to MAX_WAITING. */
const MAX_CHECKS = 2;
const MAX_WAITING = 64;

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

/** What a valid token says, with its names looked up. Times in milliseconds since the epoch. */
export interface TokenInfo {
  readonly user: User;
  readonly project: Project | null;
  readonly roles: readonly Role[];
  readonly methods: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly auditId: string;
}

export interface Selector {
  readonly id?: string;
  readonly name?: string;
}
export interface LoginRequest {
  readonly by:
    | { readonly kind: 'password'; readonly user: Selector; readonly password: string }
    | { readonly kind: 'token'; readonly token: string };
  /** `default`: the user's default project, if there is one. */
  readonly scope:
    | { readonly kind: 'project'; readonly project: Selector }
    | { readonly kind: 'default' }
    | { readonly kind: 'unscoped' };
  /** Where the request comes from, for counting failures. */
  readonly address: string;
}
export type LoginResult =
  | { readonly kind: 'ok'; readonly token: string; readonly info: TokenInfo }
  /** Never says which part was wrong. */
  | { readonly kind: 'denied' }
  | { readonly kind: 'slow-down'; readonly retryAfterSeconds: number };

export interface Identity {
  login(request: LoginRequest): Promise<LoginResult>;
  /** Null: malformed, forged, expired, revoked, or its user or project is gone. */
  tokenInfo(token: string): TokenInfo | null;
  /** The same in the few words that authorisation needs. */
  principalOf(token: string): { userId: string; projectId: string | null; roles: string[] } | null;
  revoke(token: string): void;
  readonly users: readonly User[];
  readonly projects: readonly Project[];
  readonly roles: readonly Role[];
  projectsOf(userId: string): readonly Project[];
  /** Role names that the user has in the project. */
  rolesOf(userId: string, projectId: string): readonly string[];
}

interface Claims {
  readonly u: string;
  readonly p: string | null;
  readonly i: number;
  readonly e: number;
  readonly m: readonly string[];
  readonly a: string;
}

interface Account {
  readonly user: User;
  readonly hash: string;
  readonly rolesByProject: ReadonlyMap<string, readonly string[]>;
  /** HMAC of the password that was right last, under this process's own key. */
  remembered: Buffer | null;
}

/** Id of a configured user, project or role that was not given one: the same at every start, in Keystone's form. */
export const derivedId = (kind: 'user' | 'project' | 'role', name: string): string =>
  createHash('sha256').update(`${kind}:${name}`).digest('hex').slice(0, 32);

/** The password as `scrypt$N$r$p$salt$hash` (base64url), for configuration files. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await scryptAsync(password, salt, HASH_BYTES, SCRYPT);
  return ['scrypt', SCRYPT.N, SCRYPT.r, SCRYPT.p, salt.toString('base64url'), hash.toString('base64url')].join('$');
}

interface ParsedHash {
  readonly cost: { N: number; r: number; p: number };
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** Null unless it is a hash that `hashPassword` could have made, at a cost that checks in reasonable time. */
export function parsePasswordHash(text: string): ParsedHash | null {
  const match = /^scrypt\$(\d{1,6})\$(\d{1,2})\$(\d)\$([\w-]{8,128})\$([\w-]{43})$/.exec(text);
  if (!match) return null;
  const [N, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const powerOfTwo = N >= 2 && (N & (N - 1)) === 0;
  if (!powerOfTwo || N > 1 << 16 || r < 1 || r > 16 || p < 1) return null;
  return {
    cost: { N, r, p },
    salt: Buffer.from(match[4] ?? '', 'base64url'),
    hash: Buffer.from(match[5] ?? '', 'base64url'),
  };
}

/**
 * @param key at least 32 random bytes, kept in a file that only the operator can read
 * @throws Error with a sentence for the operator when the configuration contradicts itself
 */
export async function createIdentity(config: IdentityConfig, key: Buffer, clock: Clock): Promise<Identity> {
  if (key.length < MIN_KEY_BYTES) throw new Error(`the token key must have at least ${MIN_KEY_BYTES} bytes`);
  const projects = projectsFrom(config);
  const projectById = new Map(projects.map((each) => [each.id, each]));
  const accounts = await Promise.all(config.users.map((each) => accountFrom(each, projects)));
  unique(
    'user name',
    accounts.map((each) => each.user.name),
  );
  unique(
    'user id',
    accounts.map((each) => each.user.id),
  );
  const accountById = new Map(accounts.map((each) => [each.user.id, each]));
  const roles = rolesFrom(config);
  const roleByName = new Map(roles.map((each) => [each.name, each]));

  const memoryKey = randomBytes(32);
  const nobodysHash = await hashPassword(randomBytes(16).toString('hex'));
  const revoked = new Map<string, number>();
  const failures = failureCounter(clock);
  const turns = turnstile(MAX_CHECKS, MAX_WAITING);

  const sign = (payload: string): Buffer => createHmac('sha256', key).update(payload).digest();

  function issue(
    account: Account,
    project: Project | null,
    methods: readonly string[],
    lastsUntil: number | null,
  ): LoginResult {
    const now = clock.now();
    const expiresAt = Math.min(now + config.tokenLifetimeSeconds * 1000, lastsUntil ?? Number.POSITIVE_INFINITY);
    const claims: Claims = {
      u: account.user.id,
      p: project?.id ?? null,
      i: now,
      e: expiresAt,
      m: methods,
      a: randomBytes(16).toString('base64url'),
    };
    const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
    const token = `${payload}.${sign(payload).toString('base64url')}`;
    const info = tokenInfo(token);
    invariant(info, 'a new token is valid');
    return { kind: 'ok', token, info };
  }

  function claimsOf(token: string): Claims | null {
    const [payload, signature, ...rest] = token.split('.');
    if (!payload || !signature || rest.length > 0) return null;
    const given = Buffer.from(signature, 'base64url');
    const right = sign(payload);
    if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims;
    return claims.e > clock.now() && !revoked.has(claims.a) ? claims : null;
  }

  function tokenInfo(token: string): TokenInfo | null {
    const claims = claimsOf(token);
    const account = claims && accountById.get(claims.u);
    if (!claims || !account) return null;
    const project = claims.p === null ? null : (projectById.get(claims.p) ?? null);
    const names = project ? (account.rolesByProject.get(project.id) ?? []) : [];
    if (claims.p !== null && names.length === 0) return null;
    return {
      user: account.user,
      project,
      roles: names.flatMap((name) => roleByName.get(name) ?? []),
      methods: claims.m,
      issuedAt: claims.i,
      expiresAt: claims.e,
      auditId: claims.a,
    };
  }

  const memoOf = (account: Account, password: string): Buffer =>
    createHmac('sha256', memoryKey).update(account.user.id).update('\0').update(password).digest();

  /** Null: not the password, or no such user. */
  async function checkPassword(account: Account | undefined, password: string): Promise<Account | null> {
    if (account?.remembered && timingSafeEqual(account.remembered, memoOf(account, password))) return account;
    const stored = parsePasswordHash(account?.hash ?? nobodysHash);
    invariant(stored, 'hashes were checked at the start');
    const hash = await scryptAsync(password, stored.salt, HASH_BYTES, stored.cost);
    if (!timingSafeEqual(hash, stored.hash) || !account) return null;
    account.remembered = memoOf(account, password);
    return account;
  }

  function accountOf(user: Selector): Account | undefined {
    if (user.id !== undefined) return accountById.get(user.id);
    return accounts.find((each) => each.user.name === user.name);
  }

  function projectFor(account: Account, scope: LoginRequest['scope']): Project | 'denied' | null {
    switch (scope.kind) {
      case 'unscoped':
        return null;
      case 'default':
        return account.user.defaultProjectId === null ? null : (projectById.get(account.user.defaultProjectId) ?? null);
      case 'project': {
        const { id, name } = scope.project;
        const project = projects.find((each) => (id !== undefined ? each.id === id : each.name === name));
        return project && account.rolesByProject.has(project.id) ? project : 'denied';
      }
    }
  }

  async function login(request: LoginRequest): Promise<LoginResult> {
    if (request.by.kind === 'token') {
      const claims = claimsOf(request.by.token);
      const account = claims ? accountById.get(claims.u) : undefined;
      if (!claims || !account) return { kind: 'denied' };
      const project = projectFor(account, request.scope);
      // A token made from a token lives no longer than it.
      return project === 'denied'
        ? { kind: 'denied' }
        : issue(account, project, ['token', ...claims.m].slice(0, 2), claims.e);
    }
    const who = (request.by.user.id ?? request.by.user.name ?? '').slice(0, 255);
    // Per user and address: nobody can lock a user out from elsewhere.
    const origin = `${request.address} ${who}`;
    const blocked = failures.blockedFor([origin, request.address]);
    if (blocked > 0) return { kind: 'slow-down', retryAfterSeconds: blocked };
    const turn = await turns.enter();
    if (!turn) return { kind: 'slow-down', retryAfterSeconds: 1 };
    let account: Account | null;
    try {
      account = await checkPassword(accountOf(request.by.user), request.by.password);
    } finally {
      turn.leave();
    }
    const project = account ? projectFor(account, request.scope) : 'denied';
    if (!account || project === 'denied') {
      failures.count([origin, request.address]);
      return { kind: 'denied' };
    }
    return issue(account, project, ['password'], null);
  }

  return {
    login,
    tokenInfo,
    principalOf(token) {
      const info = tokenInfo(token);
      if (!info) return null;
      return { userId: info.user.id, projectId: info.project?.id ?? null, roles: info.roles.map((each) => each.name) };
    },
    revoke(token) {
      const claims = claimsOf(token);
      if (!claims) return;
      const now = clock.now();
      if (revoked.size >= MAX_REVOKED) for (const [id, expiry] of revoked) if (expiry <= now) revoked.delete(id);
      // Still full of live ones: the oldest revocation is given up rather than memory.
      const oldest = revoked.size >= MAX_REVOKED ? revoked.keys().next().value : undefined;
      if (oldest !== undefined) revoked.delete(oldest);
      revoked.set(claims.a, claims.e);
    },
    users: accounts.map((each) => each.user),
    projects,
    roles,
    projectsOf: (userId) => projects.filter((each) => accountById.get(userId)?.rolesByProject.has(each.id)),
    rolesOf: (userId, projectId) => accountById.get(userId)?.rolesByProject.get(projectId) ?? [],
  };
}

function projectsFrom(config: IdentityConfig): Project[] {
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

function rolesFrom(config: IdentityConfig): Role[] {
  const names = new Set([
    'admin',
    'member',
    'reader',
    ...config.users.flatMap((each) => Object.values(each.roles).flat()),
  ]);
  return [...names].map((name) => ({ id: derivedId('role', name), name }));
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

/** Counts failures per key in windows; the oldest key is forgotten when there are too many. */
function failureCounter(clock: Clock): {
  blockedFor(keys: readonly string[]): number;
  count(keys: readonly string[]): void;
} {
  const counted = new Map<string, { since: number; times: number }>();
  const live = (key: string): { since: number; times: number } | null => {
    const entry = counted.get(key);
    return entry && clock.now() - entry.since < FAILURE_WINDOW_MS ? entry : null;
  };
  return {
    blockedFor(keys) {
      const waits = keys.map((key) => {
        const entry = live(key);
        return entry && entry.times >= MAX_FAILURES ? entry.since + FAILURE_WINDOW_MS - clock.now() : 0;
      });
      return Math.ceil(Math.max(0, ...waits) / 1000);
    },
    count(keys) {
      for (const key of keys) {
        const entry = live(key);
        if (entry) entry.times += 1;
        else {
          counted.delete(key);
          const oldest = counted.size >= MAX_COUNTED ? counted.keys().next().value : undefined;
          if (oldest !== undefined) counted.delete(oldest);
          counted.set(key, { since: clock.now(), times: 1 });
        }
      }
    },
  };
}

/** Lets `inside` in at a time; `enter` answers null when `waiting` already wait. */
function turnstile(inside: number, waiting: number): { enter(): Promise<{ leave(): void } | null> } {
  let busy = 0;
  const queue: (() => void)[] = [];
  const leave = (): void => {
    const next = queue.shift();
    if (next) next();
    else busy -= 1;
  };
  return {
    async enter() {
      if (busy < inside) busy += 1;
      else if (queue.length >= waiting) return null;
      else {
        const { promise, resolve } = Promise.withResolvers<void>();
        queue.push(resolve);
        await promise;
      }
      return { leave };
    },
  };
}
