// Key pairs of users: SSH keys, or certificates (certificates.ts). A generated private key is given out once and never
// kept. Names are unique per user; an SSH key's fingerprint is MD5 over its blob with colons, as Nova shows it.
import { createHash, generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import type { Kysely, Selectable } from 'kysely';
import { Shares } from '../lib/shares.ts';
import { checkKeypairName } from '../model/names.ts';
import { checkKeypairQuota } from '../model/quota.ts';
import { badRequest, conflict, notFound, type Refusal, refuse, refused } from '../model/refusal.ts';
import { exclusively } from '../store/dialect.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { certificateFingerprint, generateCertificate } from './certificates.ts';
import { turnstile } from './identity/throttle.ts';
import type { Platform } from './platform.ts';
import { userLimitsOf } from './quota.ts';

export type KeyType = 'ssh' | 'x509';

export interface Keypair {
  readonly userId: string;
  readonly name: string;
  readonly type: KeyType;
  readonly publicKey: string;
  readonly fingerprint: string;
  readonly createdAt: number;
}

export type KeypairResult =
  /** privateKey: PEM, only when the pair was generated here. */
  | { readonly kind: 'ok'; readonly keypair: Keypair; readonly privateKey: string | null }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const RSA_BITS = 2048;
// Off the main thread: making an RSA key takes a good part of a second.
const generateAsync = promisify(generateKeyPair);
/** Keys that are made or waited for: in all, and for one user. */
const [MOST_MAKING, MOST_OF_USER] = [32, 4];
const MAKING = new Shares(MOST_MAKING, MOST_OF_USER);
const turns = turnstile(1, MOST_MAKING);

const keypairOf = (row: Selectable<GlobalTables['keypairs']>): Keypair => ({
  userId: row.user_id,
  name: row.name,
  type: row.type as KeyType,
  publicKey: row.public_key,
  fingerprint: row.fingerprint,
  createdAt: row.created_at,
});

/** Nova's 404 (KeypairNotFound). */
export const keypairNotFound = (userId: string, name: string): Refusal =>
  notFound(`Keypair ${name} not found for user ${userId}`);

export async function findKeypair(p: Platform, userId: string, name: string): Promise<Keypair | null> {
  const row = await p.stores.global
    .selectFrom('keypairs')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .executeTakeFirst();
  return row ? keypairOf(row) : null;
}

/** By name. */
export async function listKeypairs(p: Platform, userId: string): Promise<Keypair[]> {
  const rows = await p.stores.global
    .selectFrom('keypairs')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('name')
    .execute();
  return rows.map(keypairOf);
}

/**
 * Imports a public key, or generates a pair when none is given.
 * @param minor N of the microversion 2.N: names may hold more from 2.92 on, and nothing is generated any more
 */
export async function createKeypair(
  p: Platform,
  owner: { readonly userId: string; readonly projectId: string },
  request: { readonly name: string; readonly publicKey: string | null; readonly type?: KeyType },
  minor: number,
): Promise<KeypairResult> {
  const refusal = checkKeypairName(request.name, minor);
  if (refusal) return refused(refusal);
  const { type = 'ssh' } = request;
  const limits = await userLimitsOf(p, owner.projectId, owner.userId);
  // Before the work; what counts is looked at again where the pair is written.
  const full = checkKeypairQuota(limits, await countOf(p.stores.global, owner.userId));
  if (full) return refused(full);
  const make = type === 'ssh' ? () => generate(request.name) : () => generateCertificate(owner.userId, p.clock.now());
  const generated = request.publicKey === null ? await inTurn(owner.userId, make) : null;
  if (generated === 'busy') return refused(refuse(503, 'Too many key pairs are being made. Try again in a moment.'));
  const publicKey = (generated?.publicKey ?? request.publicKey ?? '').trim();
  const fingerprint = type === 'ssh' ? fingerprintOf(publicKey) : certificateFingerprint(publicKey);
  if (fingerprint === null) {
    const what = type === 'ssh' ? 'fingerprint' : 'X509 fingerprint.';
    return refused(badRequest(`Keypair data is invalid: failed to generate ${what}`));
  }
  return p.stores.global.transaction().execute(async (trx): Promise<KeypairResult> => {
    await exclusively(trx, `keypairs of ${owner.userId}`);
    const over = checkKeypairQuota(limits, await countOf(trx, owner.userId));
    if (over) return refused(over);
    const row = await trx
      .insertInto('keypairs')
      .values({
        user_id: owner.userId,
        name: request.name,
        type,
        public_key: publicKey,
        fingerprint,
        created_at: p.clock.now(),
      })
      .onConflict((on) => on.columns(['user_id', 'name']).doNothing())
      .returningAll()
      .executeTakeFirst();
    if (!row) return refused(conflict(`Key pair '${request.name}' already exists.`));
    return { kind: 'ok', keypair: keypairOf(row), privateKey: generated?.privateKey ?? null };
  });
}

async function countOf(db: Kysely<GlobalTables>, userId: string): Promise<number> {
  const { existing } = await db
    .selectFrom('keypairs')
    .select((eb) => eb.fn.countAll<number>().as('existing'))
    .where('user_id', '=', userId)
    .executeTakeFirstOrThrow();
  return Number(existing);
}

/** One key is made at a time in this process: files, names and passwords wait for the same few threads. */
async function inTurn<T>(userId: string, make: () => Promise<T>): Promise<T | 'busy'> {
  const place = MAKING.enter(userId);
  const turn = place ? await turns.enter() : null;
  try {
    return turn ? await make() : 'busy';
  } finally {
    turn?.leave();
    place?.leave();
  }
}

/** False when there is none. */
export async function deleteKeypair(p: Platform, userId: string, name: string): Promise<boolean> {
  const { numDeletedRows } = await p.stores.global
    .deleteFrom('keypairs')
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

const KEY_TYPES = new Set([
  'ssh-rsa',
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
]);

/**
 * MD5 of a public key in OpenSSH's one-line format, as hexadecimal pairs with colons; null unless it is one: a known
 * type, and a blob that names the same type.
 */
export function fingerprintOf(publicKey: string): string | null {
  const [type = '', blob = ''] = publicKey.split(' ');
  if (!KEY_TYPES.has(type) || /[\r\n]/.test(publicKey) || !/^[A-Za-z0-9+/]+={0,2}$/.test(blob)) return null;
  const bytes = Buffer.from(blob, 'base64');
  const named = bytes.length >= 4 ? bytes.subarray(4, 4 + Math.min(bytes.readUInt32BE(0), 64)).toString('latin1') : '';
  if (named !== type || bytes.length <= 4 + type.length + 4) return null;
  const hex = createHash('md5').update(bytes).digest('hex');
  return (hex.match(/../g) ?? []).join(':');
}

async function generate(name: string): Promise<{ publicKey: string; privateKey: string }> {
  const { publicKey, privateKey } = await generateAsync('rsa', { modulusLength: RSA_BITS });
  const { e = '', n = '' } = publicKey.export({ format: 'jwk' });
  const parts = [Buffer.from('ssh-rsa'), multiplePrecision(e), multiplePrecision(n)];
  const blob = Buffer.concat(parts.flatMap((part) => [lengthOf(part), part])).toString('base64');
  return {
    publicKey: `ssh-rsa ${blob} Generated-by-Crosscell-${name.replaceAll(/[^\w-]/g, '-')}`,
    privateKey: privateKey.export({ format: 'pem', type: 'pkcs1' }).toString(),
  };
}

/** A positive integer as SSH writes it: big-endian, with a zero in front when its first bit is set (RFC 4251, mpint). */
function multiplePrecision(base64url: string): Buffer {
  const bytes = Buffer.from(base64url, 'base64url');
  return (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
}

function lengthOf(part: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(part.length);
  return length;
}
