// Giving a new port its MAC and its IPs.
//
// Theory of operation. An address is taken by inserting it, and the unique indexes on (subnet, IP) and on (network, MAC)
// decide between two who want the same. The first tries are computed from the port's id and the number of the try, so that almost always one statement does it and a replay takes the same address. When the subnet is crowded,
// the lowest free address is looked up instead, which finds the last one too. An address that the user named is tried
// alone. The number of tries has a limit; losing every one of them to concurrent callers is answered as a refusal that
// may be tried again. All of a port is inserted in one transaction: a refusal leaves nothing.
import { createHash } from 'node:crypto';
import { formatIpv4, macAddress, parseIpv4 } from '../../model/network.ts';
import { addressAt, nextFreeAddress, type Range, sizeOf } from '../../model/subnets.ts';
import { atomically, forKeyShare } from '../../store/dialect.ts';
import { fixed } from '../../store/fixed.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type NetworkResult, no, refusable, refuseWith } from './results.ts';
import { type Db, listOf } from './standard.ts';

const COMPUTED_TRIES = 6;
const LOOKED_UP_TRIES = 6;

/** Where an address comes from. */
export interface AddressSource {
  readonly subnetId: string;
  /** The subnet's pools as they are kept: `[["10.0.0.2", "10.0.0.254"]]`. */
  readonly poolsJson: string;
  /** The address to have, which need not be in a pool; absent: any of the pools. */
  readonly ip?: string;
}

export interface NewPort {
  /** A UUID. */
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly networkId: string;
  readonly tag?: string | null;
  /** The server that will use it, or ''. */
  readonly deviceId: string;
  readonly deviceOwner: string;
  /** What else has it. */
  readonly holderId?: string;
  readonly mac?: string;
  readonly portSecurity?: boolean;
  /** Whether a user made it. Default: the control plane, for its server. */
  readonly byUser?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export interface InsertedPort {
  /** False: it was there before, and nothing was changed. */
  readonly isNew: boolean;
  readonly mac: string;
}

export interface FixedIp {
  readonly subnetId: string;
  readonly ip: string;
}

/** An address that another service has given needs no pool here. */
export const givenElsewhere = (fixedIp: FixedIp): AddressSource => ({ ...fixedIp, poolsJson: '[]' });

/** The id of a server's port on a network: always the same, so that creating it twice makes one. */
export const portIdFor = (serverId: string, networkId: string, nth = 0): string =>
  nth === 0 ? uuidOf('port', serverId, networkId) : uuidOf('port', serverId, networkId, String(nth));

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
 * Inserts the port with a MAC and an address of each source. Inserting a port that is there already by its id answers
 * what it has. Refused with 409 (Neutron's sentences) when a wished address, or every address, or the MAC is taken.
 */
export const insertPort = (
  db: Db,
  port: NewPort,
  sources: readonly AddressSource[],
): Promise<NetworkResult<InsertedPort>> =>
  refusable(() =>
    atomically(db, async (trx) => {
      const before = await insertRow(trx, port);
      if (before.kind === 'there') return { isNew: false, mac: before.mac };
      for (const [position, source] of sources.entries()) await takeAddress(trx, port, source, position);
      return { isNew: true, mac: before.mac };
    }),
  );

interface Address {
  readonly portId: string;
  readonly position: number;
  readonly subnetId: string;
  readonly ip: string;
}

/** Nothing is inserted when somebody has it. Of a subnet that is there, and stays until the transaction has ended. */
const INSERT_ADDRESS = fixed<GlobalTables, Address, { readonly ip: string }>((db, { portId, position, subnetId, ip }) =>
  db
    .insertInto('port_addresses')
    .columns(['port_id', 'position', 'subnet_id', 'ip'])
    .expression((from) =>
      from
        .selectFrom('subnets')
        .select(({ cast, val }) => [
          cast<string>(val(portId), 'text').as('port_id'),
          cast<number>(val(position), 'integer').as('position'),
          'id',
          cast<string>(val(ip), 'text').as('ip'),
        ])
        .where('id', '=', subnetId)
        .modifyEnd(forKeyShare(db)),
    )
    .onConflict((any) => any.columns(['subnet_id', 'ip']).doNothing())
    .returning('ip'),
);

/** The port gets one more address. @throws Refused 409 */
export async function takeAddress(
  trx: Db,
  port: Pick<NewPort, 'id' | 'networkId'>,
  source: AddressSource,
  position: number,
): Promise<FixedIp> {
  const { subnetId } = source;
  const pools = rangesOf(source.poolsJson);
  for (let attempt = 0; attempt < COMPUTED_TRIES + LOOKED_UP_TRIES; attempt += 1) {
    const ip = source.ip ?? (await candidate(trx, port.id, subnetId, pools, attempt));
    if (ip === null) {
      const message = `No more IP addresses available on network ${port.networkId}.`;
      refuseWith(no(409, 'IpAddressGenerationFailure', message));
    }
    const inserted = await INSERT_ADDRESS(trx, { portId: port.id, position, subnetId, ip });
    if (inserted.rows.length > 0) return { subnetId, ip };
    if (source.ip !== undefined) {
      const message = `IP address ${ip} already allocated in subnet ${subnetId}`;
      refuseWith(no(409, 'IpAddressAlreadyAllocated', message));
    }
  }
  const message = `Unable to find a free address on network ${port.networkId} now; try again.`;
  return refuseWith(no(409, 'IpAddressGenerationFailure', message));
}

type Inserted = { readonly kind: 'new' | 'there'; readonly mac: string };

async function insertRow(trx: Db, port: NewPort): Promise<Inserted> {
  for (let attempt = 0; attempt < COMPUTED_TRIES; attempt += 1) {
    const mac = port.mac ?? macAddress(digest('address', port.id, attempt));
    const inserted = await trx
      .insertInto('ports')
      .values({
        ...{ id: port.id, name: port.name, project_id: port.projectId, network_id: port.networkId, mac },
        ...{ tag: port.tag ?? null, device_id: port.deviceId, device_owner: port.deviceOwner },
        ...{ holder_id: port.holderId ?? '', port_security: port.portSecurity === false ? 0 : 1 },
        ...{ by_user: port.byUser ? 1 : 0, attached_at: port.deviceId === '' ? null : port.now },
        ...{ created_at: port.now, updated_at: port.now },
      })
      .onConflict((any) => any.doNothing())
      .returning('id')
      .executeTakeFirst();
    if (inserted) return { kind: 'new', mac };
    const there = await trx.selectFrom('ports').select('mac').where('id', '=', port.id).executeTakeFirst();
    if (there) return { kind: 'there', mac: there.mac };
    if (port.mac !== undefined) {
      const message = `Unable to complete operation for network ${port.networkId}. The mac address ${mac} is in use.`;
      refuseWith(no(409, 'MacAddressInUse', message));
    }
  }
  return refuseWith(
    no(503, 'NetworkMacAddressGenerationFailure', `Unable to generate unique mac on network ${port.networkId}.`),
  );
}

/** The address to try: computed first; then the lowest that is free; null when none is. */
async function candidate(
  trx: Db,
  portId: string,
  subnetId: string,
  pools: readonly Range[],
  attempt: number,
): Promise<string | null> {
  const size = sizeOf(pools);
  if (size === 0) return null;
  if (attempt < COMPUTED_TRIES)
    return formatIpv4(addressAt(pools, digest('address', portId, attempt).readUInt32BE(4) % size));
  const taken = await trx.selectFrom('port_addresses').select('ip').where('subnet_id', '=', subnetId).execute();
  const free = nextFreeAddress(pools, new Set(taken.map((row) => parseIpv4(row.ip) ?? -1)));
  return free === null ? null : formatIpv4(free);
}

const rangesOf = (json: string): Range[] =>
  listOf<[string, string]>(json).map(([first, last]) => ({
    first: parseIpv4(first) ?? 0,
    last: parseIpv4(last) ?? -1,
  }));
