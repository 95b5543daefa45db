// Tokens as they travel: claims as a list in JSON (names would make every request longer), and an HMAC-SHA-256 over them
// under the deployment's key, both in base64url.
// Whether what a token claims still holds is not known here.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const MIN_KEY_BYTES = 32;

export type Scope =
  | { readonly kind: 'project'; readonly id: string }
  | { readonly kind: 'domain'; readonly id: string }
  | { readonly kind: 'system' }
  | { readonly kind: 'unscoped' };

/** The id of a project or domain; empty for the others. */
export function scopeIdOf(scope: Scope): string {
  switch (scope.kind) {
    case 'project':
    case 'domain':
      return scope.id;
    case 'system':
    case 'unscoped':
      return '';
  }
}

export interface Claims {
  readonly userId: string;
  /** The user's token epoch when it was issued. */
  readonly epoch: number;
  readonly scope: Scope;
  /** The application credential that it was issued for; null: none. */
  readonly credentialId: string | null;
  readonly methods: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly auditId: string;
  /** Of the token that it was made from; null: it was not. */
  readonly parentAuditId: string | null;
}

export interface TokenSigner {
  sign(claims: Claims): string;
  /** Null: not a token of ours. */
  read(token: string): Claims | null;
}

export const newAuditId = (): string => randomBytes(16).toString('base64url');

/** @param key at least 32 random bytes, kept in a file that only the operator can read */
export function tokenSigner(key: Buffer): TokenSigner {
  if (key.length < MIN_KEY_BYTES) throw new Error(`the token key must have at least ${MIN_KEY_BYTES} bytes`);
  const mac = (payload: string): Buffer => createHmac('sha256', key).update(payload).digest();
  return {
    sign(claims) {
      const payload = Buffer.from(JSON.stringify(packed(claims))).toString('base64url');
      return `${payload}.${mac(payload).toString('base64url')}`;
    },
    read(token) {
      const [payload, signature, ...rest] = token.split('.');
      if (!payload || !signature || rest.length > 0) return null;
      const given = Buffer.from(signature, 'base64url');
      const right = mac(payload);
      if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
      return unpacked(JSON.parse(Buffer.from(payload, 'base64url').toString()) as Packed);
    },
  };
}

type Packed = ReturnType<typeof packed>;

const packed = (claims: Claims) =>
  [
    ...([claims.userId, claims.epoch, claims.scope.kind, scopeIdOf(claims.scope), claims.credentialId] as const),
    ...([claims.methods, claims.issuedAt, claims.expiresAt, claims.auditId, claims.parentAuditId] as const),
  ] as const;

function unpacked(all: Packed): Claims {
  const [userId, epoch, kind, id, credentialId, methods, issuedAt, expiresAt, auditId, parentAuditId] = all;
  const scope: Scope = kind === 'project' || kind === 'domain' ? { kind, id } : { kind };
  return { userId, epoch, scope, credentialId, methods, issuedAt, expiresAt, auditId, parentAuditId };
}
