// Who may enter: logins, tokens, and what they are worth now.
//
// Theory of operation. Users, projects and roles are records of the global database (identity/directory.ts), seeded from
// the configuration (identity/seeds.ts). A token carries its claims, signed under a key that outlives the process; it
// stays valid over a restart, and every process with the key accepts it. What it claims is looked up at every check,
// through the cache: the user and its domain are there and enabled, the user's token epoch is the token's (it grows when
// the password changes or the user is disabled), the project or domain is there and enabled, the user still has a role
// there, the application credential still stands, the token itself was not revoked. So a change counts at once in the
// process that made it, and within LOOK_MS in every other (identity/cache.ts).
// What can race: a token that is issued while its user is being disabled is refused at its first check.
import type { Kysely } from 'kysely';
import type { Clock } from '../lib/clock.ts';
import type { Principal } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import {
  type ApplicationCredential,
  findCredential,
  isCredentialGood,
  selectCredential,
} from './identity/application-credentials.ts';
import {
  type Account,
  type Directory,
  type Domain,
  effectiveRolesIn,
  findAccount,
  openDirectory,
  type Role,
  rolesIn,
  selectAccount,
  selectDomain,
  selectProject,
  type User,
  withImpliedRoles,
} from './identity/directory.ts';
import type { LoginMethod, LoginRequest, LoginResult, SlowDown } from './identity/logins.ts';
import { EXPIRED_WINDOW_MS, isRevoked, revokeToken } from './identity/revocations.ts';
import { type ScopeInfo, scopeInfo } from './identity/scopes.ts';
import { failureCounter } from './identity/throttle.ts';
import { type Claims, newAuditId, type Scope, tokenSigner } from './identity/tokens.ts';

/** What a valid token says, with its names looked up. Times in milliseconds since the epoch. */
export interface TokenInfo {
  readonly user: User;
  readonly userDomain: Domain;
  readonly scope: ScopeInfo;
  /** With those that they imply. */
  readonly roles: readonly Role[];
  readonly credential: ApplicationCredential | null;
  readonly methods: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** Its own, and that of the token it was made from. */
  readonly auditIds: readonly string[];
}

export interface Identity {
  readonly directory: Directory;
  login(request: LoginRequest): Promise<LoginResult>;
  /**
   * Null: malformed, forged, expired, revoked, or what it claims does not hold any more. `allowExpired`: it may have expired
   * not longer than EXPIRED_WINDOW_MS ago.
   */
  tokenInfo(token: string, allowExpired?: boolean): Promise<TokenInfo | null>;
  principalOf(token: string): Promise<Principal | null>;
  revoke(token: string): Promise<void>;
  /** Whether the password is the user's, with failures counted as for logins. */
  isPasswordOf(
    account: Account | null,
    password: string,
    origin: { readonly who: string; readonly address: string | null },
  ): Promise<'right' | 'wrong' | SlowDown>;
}

export interface IdentityOptions {
  readonly db: Kysely<GlobalTables>;
  /** At least 32 random bytes, kept in a file that only the operator can read. */
  readonly key: Buffer;
  readonly clock: Clock;
  readonly tokenLifetimeSeconds: number;
}

export function createIdentity({ db, key, clock, tokenLifetimeSeconds }: IdentityOptions): Identity {
  const directory = openDirectory(db, clock);
  const signer = tokenSigner(key);
  const failures = failureCounter(clock);

  async function issue(
    request: Omit<Claims, 'issuedAt' | 'expiresAt' | 'auditId'>,
    until: number,
  ): Promise<LoginResult> {
    const now = clock.now();
    const claims: Claims = {
      ...request,
      issuedAt: now,
      expiresAt: Math.min(now + tokenLifetimeSeconds * 1000, until),
      auditId: newAuditId(),
    };
    const info = await infoOf(claims);
    return info ? { kind: 'ok', token: signer.sign(claims), info } : { kind: 'denied' };
  }

  /** The claims of a token that has not ended by time or revocation. */
  async function claimsOf(token: string, graceMs = 0): Promise<Claims | null> {
    const claims = signer.read(token);
    if (!claims || claims.expiresAt + graceMs <= clock.now()) return null;
    return (await isRevoked(directory, claims.auditId)) ? null : claims;
  }

  async function infoOf(claims: Claims): Promise<TokenInfo | null> {
    const account = await findAccount(directory, claims.userId);
    if (!account || !isEnabled(account) || account.epoch !== claims.epoch) return null;
    const scope = await scopeInfo(directory, claims.scope);
    const credential = claims.credentialId === null ? null : await findCredential(directory, claims.credentialId);
    if (!scope || (claims.credentialId !== null && !credential)) return null;
    const held = await effectiveRolesIn(directory, claims.userId, claims.scope);
    const given = credential ? held.filter((role) => credential.roleIds.includes(role.id)) : held;
    if (claims.scope.kind !== 'unscoped' && given.length === 0) return null;
    if (credential && !(await isCredentialGood(directory, credential))) return null;
    return {
      ...{ user: account.user, userDomain: account.domain, scope, credential, methods: claims.methods },
      roles: credential ? await withImpliedRoles(directory, given) : given,
      ...{ issuedAt: claims.issuedAt, expiresAt: claims.expiresAt },
      auditIds: [claims.auditId, ...(claims.parentAuditId === null ? [] : [claims.parentAuditId])],
    };
  }

  async function tokenInfo(token: string, allowExpired = false): Promise<TokenInfo | null> {
    const claims = await claimsOf(token, allowExpired ? EXPIRED_WINDOW_MS : 0);
    return claims && infoOf(claims);
  }

  /** Null: not there. Whether the user has a role in it is looked at when the token is issued. */
  async function scopeFor(account: Account, scope: LoginRequest['scope']): Promise<Scope | null> {
    switch (scope.kind) {
      case 'unscoped':
      case 'system':
        return { kind: scope.kind };
      case 'project': {
        const found = await selectProject(directory, scope.project);
        return found && { kind: 'project', id: found.project.id };
      }
      case 'domain': {
        const found = await selectDomain(directory, scope.domain);
        return found && { kind: 'domain', id: found.id };
      }
      case 'default': {
        const { id, defaultProjectId } = account.user;
        if (defaultProjectId === null) return { kind: 'unscoped' };
        const project: Scope = { kind: 'project', id: defaultProjectId };
        const usable = (await scopeInfo(directory, project)) && (await rolesIn(directory, id, project)).length > 0;
        return usable ? project : { kind: 'unscoped' };
      }
    }
  }

  async function byToken(token: string, asked: LoginRequest['scope']): Promise<LoginResult> {
    const claims = await claimsOf(token);
    const account = claims && (await findAccount(directory, claims.userId));
    // Tokens of application credentials stay in their project.
    if (!claims || !account || claims.credentialId !== null) return { kind: 'denied' };
    const scope = await scopeFor(account, asked);
    if (!scope) return { kind: 'denied' };
    const { userId, epoch, auditId } = claims;
    const methods = ['token', ...claims.methods.filter((each) => each !== 'token')];
    // A token made from a token lives no longer than it.
    return issue({ userId, epoch, scope, methods, credentialId: null, parentAuditId: auditId }, claims.expiresAt);
  }

  async function isPasswordOf(
    owner: string,
    hash: string | null,
    password: string,
    keys: readonly string[],
  ): Promise<'right' | 'wrong' | SlowDown> {
    const blocked = failures.blockedFor(keys);
    if (blocked > 0) return { kind: 'slow-down', retryAfterSeconds: blocked };
    const verdict = await directory.passwords.check(owner, hash, password);
    if (verdict === 'busy') return { kind: 'slow-down', retryAfterSeconds: 1 };
    if (verdict === 'wrong') failures.count(keys);
    return verdict;
  }

  /**
   * Failures count per user and address, so that nobody can lock a user out from elsewhere, and per address. Of an
   * unknown address they count per user alone: everybody may be behind it, and would be locked out by anybody.
   */
  const countedAs = (who: string, address: string | null): string[] => [
    `${address ?? ''} ${who.slice(0, 255)}`,
    ...(address === null ? [] : [address]),
  ];

  async function byPassword(
    { user, password }: Extract<LoginMethod, { kind: 'password' }>,
    { scope: asked, address }: LoginRequest,
  ): Promise<LoginResult> {
    const keys = countedAs(user.id ?? user.name ?? '', address);
    const account = await selectAccount(directory, user);
    const verdict = await isPasswordOf(ownerOf(account), account?.passwordHash ?? null, password, keys);
    if (typeof verdict !== 'string') return verdict;
    const scope = account && verdict === 'right' ? await scopeFor(account, asked) : null;
    if (!account || !scope) return { kind: 'denied' };
    const {
      epoch,
      user: { id: userId },
    } = account;
    const claims = { userId, epoch, scope, methods: ['password'], credentialId: null, parentAuditId: null };
    return issue(claims, Number.POSITIVE_INFINITY);
  }

  async function byCredential(
    { credential: named, secret }: Extract<LoginMethod, { kind: 'application_credential' }>,
    { scope: asked, address }: LoginRequest,
  ): Promise<LoginResult> {
    const credential = await selectCredential(directory, named);
    const keys = countedAs('id' in named ? named.id : named.name, address);
    const owner = `application credential ${credential?.id ?? ''}`;
    const verdict = await isPasswordOf(owner, credential?.secretHash ?? null, secret, keys);
    if (typeof verdict !== 'string') return verdict;
    const account = credential && verdict === 'right' ? await findAccount(directory, credential.userId) : null;
    // A credential is good for its own project alone, so there is nothing to ask for.
    if (!credential || !account || asked.kind !== 'default') return { kind: 'denied' };
    return issue(
      {
        ...{ userId: account.user.id, epoch: account.epoch, methods: ['application_credential'] },
        ...{ scope: { kind: 'project', id: credential.projectId }, credentialId: credential.id, parentAuditId: null },
      },
      credential.expiresAt ?? Number.POSITIVE_INFINITY,
    );
  }

  return {
    directory,
    tokenInfo,
    login(request) {
      const { by } = request;
      switch (by.kind) {
        case 'token':
          return byToken(by.token, request.scope);
        case 'password':
          return byPassword(by, request);
        case 'application_credential':
          return byCredential(by, request);
      }
    },
    async principalOf(token) {
      const info = await tokenInfo(token);
      return info && principalIn(info);
    },
    async revoke(token) {
      const claims = await claimsOf(token);
      if (claims) await revokeToken(directory, claims);
    },
    isPasswordOf: (account, password, { who, address }) =>
      isPasswordOf(ownerOf(account), account?.passwordHash ?? null, password, countedAs(who, address)),
  };
}

const ownerOf = (account: Account | null): string => `user ${account?.user.id ?? ''}`;
const isEnabled = ({ user, domain }: Account): boolean => user.enabled && domain.enabled;

function principalIn({ user, scope, roles }: TokenInfo): Principal {
  return {
    userId: user.id,
    projectId: scope.kind === 'project' ? scope.project.id : null,
    ...(scope.kind === 'project' ? { projectDomainId: scope.domain.id } : {}),
    ...(scope.kind === 'domain' ? { domainId: scope.domain.id } : {}),
    ...(scope.kind === 'system' ? { systemScope: true } : {}),
    roles: roles.map((role) => role.name),
  };
}
