// Passwords: how they are kept, and how one is compared with what is kept.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

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
