// Who there is and who may enter: users, projects and roles from configuration, passwords, tokens.
//
// Everything here lives in memory and is rebuilt from configuration at every start; nothing is written. Passwords are
// kept as scrypt hashes. A password that was right once is remembered as an HMAC under a key of this process, so that
// the next token costs microseconds; wrong ones always cost a full scrypt, the same whether the user exists or not.
// Tokens carry their claims, signed with HMAC-SHA-256 under a key that outlives the process: they stay valid over a
// restart, and several processes with the same key accept each other's. Roles are looked up at every check and are not
// part of the token. Revocations are kept in memory until the token would have expired: a restart forgets them, and
// other processes never learn of them.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import {
  type Account,
  accountsFrom,
  type IdentityConfig,
  type Project,
  projectsFrom,
  type Role,
  rolesFrom,
  type User,
} from './identity/directory.ts';
import { hashPassword, isPassword, parsePasswordHash } from './identity/passwords.ts';
import { failureCounter, turnstile } from './identity/throttle.ts';

export { DOMAIN, derivedId, type IdentityConfig, type Project, type Role, type User } from './identity/directory.ts';

const MIN_KEY_BYTES = 32;
const MAX_REVOKED = 100_000;
/** Password checks at the same time; more wait their turn, up to MAX_WAITING. */
const MAX_CHECKS = 2;
const MAX_WAITING = 64;

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

/**
 * @param key at least 32 random bytes, kept in a file that only the operator can read
 * @throws Error with a sentence for the operator when the configuration contradicts itself
 */
export async function createIdentity(config: IdentityConfig, key: Buffer, clock: Clock): Promise<Identity> {
  if (key.length < MIN_KEY_BYTES) throw new Error(`the token key must have at least ${MIN_KEY_BYTES} bytes`);
  const projects = projectsFrom(config);
  const projectById = new Map(projects.map((each) => [each.id, each]));
  const accounts = await accountsFrom(config, projects);
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
    const right = await isPassword(password, stored);
    if (!right || !account) return null;
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
