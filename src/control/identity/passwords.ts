// Passwords: how they are kept, and how one is compared with what is kept.
//
// Kept is a scrypt hash. One that was right once is remembered for its owner as an HMAC under a key of this process, over
// the hash that it was right for, so that the next time costs microseconds and a changed password is never taken from
// memory. A wrong one always costs a full scrypt, the same whether its owner exists or not. What memory would give away
// to whoever reads it is a keyed hash, beside the key: see decision 32.
import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { invariant } from '../../lib/errors.ts';
import { turnstile } from './throttle.ts';

const scryptAsync = promisify<string, Buffer, number, { N: number; r: number; p: number }, Buffer>(scrypt);

/** About 25 ms on a current core. */
const SCRYPT = { N: 1 << 13, r: 8, p: 1 };
const HASH_BYTES = 32;

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

/** True if the password is the one that was hashed. Takes as long either way. */
export async function isPassword(password: string, stored: ParsedHash): Promise<boolean> {
  return timingSafeEqual(await scryptAsync(password, stored.salt, HASH_BYTES, stored.cost), stored.hash);
}

/** Password checks at the same time; more wait their turn, up to MAX_WAITING. */
const MAX_CHECKS = 2;
const MAX_WAITING = 64;
const MAX_REMEMBERED = 10_000;

export interface PasswordChecker {
  /**
   * @param owner whose it is, such as `user <id>`
   * @param hash null: nobody's, or there is no password; never right
   */
  check(owner: string, hash: string | null, password: string): Promise<'right' | 'wrong' | 'busy'>;
  /** It is right without a check: it was hashed just now. */
  remember(owner: string, hash: string, password: string): void;
}

export function passwordChecker(): PasswordChecker {
  const key = randomBytes(32);
  const nobodys = hashPassword(randomBytes(16).toString('hex'));
  const remembered = new Map<string, Buffer>();
  const turns = turnstile(MAX_CHECKS, MAX_WAITING);
  const memoOf = (owner: string, hash: string, password: string): Buffer =>
    createHmac('sha256', key).update(`${owner}\0${hash}\0${password}`).digest();

  function remember(owner: string, hash: string, password: string): void {
    remembered.delete(owner);
    const oldest = remembered.size >= MAX_REMEMBERED ? remembered.keys().next().value : undefined;
    if (oldest !== undefined) remembered.delete(oldest);
    remembered.set(owner, memoOf(owner, hash, password));
  }

  return {
    remember,
    async check(owner, hash, password) {
      const memo = remembered.get(owner);
      if (memo && hash !== null && timingSafeEqual(memo, memoOf(owner, hash, password))) return 'right';
      const turn = await turns.enter();
      if (!turn) return 'busy';
      try {
        const stored = parsePasswordHash(hash ?? (await nobodys));
        invariant(stored, 'hashes are checked before they are kept');
        if (!(await isPassword(password, stored)) || hash === null) return 'wrong';
      } finally {
        turn.leave();
      }
      remember(owner, hash, password);
      return 'right';
    },
  };
}
