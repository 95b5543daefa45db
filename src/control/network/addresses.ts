// Giving a new port its MAC and its IP.
//
// Theory of operation. Nothing is locked: an address is taken by inserting the port, and the unique indexes
// on (subnet, IP) and on the MAC decide between two who want the same. The first tries are computed from the port's id
// and the number of the try, so that almost always one statement does it and a replay takes the same address. When the
// subnet is crowded, the lowest free address is looked up instead, which finds the last one too. A port that the user
// gave an address is tried with that one only. The number of tries has a limit; losing every one of them to concurrent
// callers is answered as a refusal that may be tried again.
import { createHash } from 'node:crypto';
import type { Kysely } from 'kysely';
import { invariant } from '../../lib/errors.ts';
import {
  type AddressPool,
  formatIpv4,
  macAddress,
  nextFreeAddress,
  parseCidr,
  parseIpv4,
  poolOf,
} from '../../model/network.ts';
import type { Refusal } from '../../model/types.ts';
import type { GlobalTables } from '../../store/global-schema.ts';

const COMPUTED_TRIES = 6;
const LOOKED_UP_TRIES = 6;

/** Where a port gets its address from. */
export interface SubnetPool {
  readonly id: string;
  readonly networkId: string;
  readonly cidr: string;
  /** First and last address of the pool, dotted, both included. */
  readonly poolStart: string;
  readonly poolEnd: string;
}

export interface NewPort {
  /** A UUID. */
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  /** The server that will use it, or ''. */
  readonly tag?: string | null;
  readonly deviceId: string;
  readonly deviceOwner: string;
  /** The address to have; absent: any of the pool. */
  readonly ip?: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export type Insertion =
  | { readonly kind: 'ok'; readonly mac: string; readonly ip: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** The id of a server's port on a network: always the same, so that creating it twice makes one. */
export const portIdFor = (serverId: string, networkId: string): string => uuidOf('port', serverId, networkId);

/** A UUID that follows from its parts: version 8, the one for rules of one's own (RFC 9562, section 5.8). */
export function uuidOf(...parts: readonly string[]): string {
  const hex = digest(...parts).toString('hex');
  const groups = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ];
  return groups.join('-');
}

const digest = (...parts: readonly (string | number)[]): Buffer =>
  createHash('sha256').update(parts.join('\n')).digest();

/**
 * Inserts the port with a MAC and an IP of its own. Inserting a port that is already there by its id answers what it has.
 * Refused with 409 (Neutron's sentences) when the wished address or every address is taken.
 */
export async function insertPort(db: Kysely<GlobalTables>, subnet: SubnetPool, port: NewPort): Promise<Insertion> {
  const pool = poolFrom(subnet);
  for (let attempt = 0; attempt < COMPUTED_TRIES + LOOKED_UP_TRIES; attempt += 1) {
    const random = digest('address', port.id, attempt);
    const ip =
      port.ip ??
      (attempt < COMPUTED_TRIES
        ? formatIpv4(pool.first + (random.readUInt32BE(4) % (pool.last - pool.first + 1)))
        : await lowestFree(db, subnet, pool));
    if (ip === null) return refused(`No more IP addresses available on network ${subnet.networkId}.`);
    const mac = macAddress(random);
    if (await insert(db, subnet, port, mac, ip)) return { kind: 'ok', mac, ip };
    const there = await whatIsThere(db, subnet, port.id, ip);
    if (there.kind === 'port') return { kind: 'ok', mac: there.mac, ip: there.ip };
    if (there.kind === 'address' && port.ip !== undefined)
      return refused(`IP address ${ip} already allocated in subnet ${subnet.id}`);
  }
  return refused(`Unable to find a free address on network ${subnet.networkId} now; try again.`);
}

/** True when the row went in; false when its id, its MAC or its IP is taken. */
async function insert(
  db: Kysely<GlobalTables>,
  subnet: SubnetPool,
  port: NewPort,
  mac: string,
  ip: string,
): Promise<boolean> {
  const inserted = await db
    .insertInto('ports')
    .values({
      id: port.id,
      name: port.name,
      network_id: subnet.networkId,
      subnet_id: subnet.id,
      project_id: port.projectId,
      mac,
      ip,
      tag: port.tag ?? null,
      device_id: port.deviceId,
      device_owner: port.deviceOwner,
      created_at: port.now,
      updated_at: port.now,
    })
    .onConflict((any) => any.doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

type Obstacle =
  | { readonly kind: 'port'; readonly mac: string; readonly ip: string }
  | { readonly kind: 'address' | 'mac' };

async function whatIsThere(
  db: Kysely<GlobalTables>,
  subnet: SubnetPool,
  portId: string,
  ip: string,
): Promise<Obstacle> {
  const rows = await db
    .selectFrom('ports')
    .select(['id', 'mac', 'ip'])
    .where((where) =>
      where.or([where('id', '=', portId), where.and([where('subnet_id', '=', subnet.id), where('ip', '=', ip)])]),
    )
    .execute();
  const same = rows.find((row) => row.id === portId);
  if (same) return { kind: 'port', mac: same.mac, ip: same.ip };
  return { kind: rows.length > 0 ? 'address' : 'mac' };
}

/** The lowest address that no port of the subnet has. Reads the addresses of its ports: a pool has at most 65,533. */
async function lowestFree(db: Kysely<GlobalTables>, subnet: SubnetPool, pool: AddressPool): Promise<string | null> {
  const taken = await db.selectFrom('ports').select('ip').where('subnet_id', '=', subnet.id).execute();
  const free = nextFreeAddress(pool, new Set(taken.map((row) => parseIpv4(row.ip) ?? -1)));
  return free === null ? null : formatIpv4(free);
}

function poolFrom(subnet: SubnetPool): AddressPool {
  const cidr = parseCidr(subnet.cidr);
  const whole = cidr && poolOf(cidr);
  const first = parseIpv4(subnet.poolStart);
  const last = parseIpv4(subnet.poolEnd);
  invariant(whole && first !== null && last !== null && first <= last, `subnet ${subnet.id} has a pool that is none`);
  return { ...whole, first, last };
}

const refused = (message: string): Insertion => ({ kind: 'refused', refusal: { code: 409, message } });
