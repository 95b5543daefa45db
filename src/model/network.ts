// Addresses: MACs and IPv4 networks. Addresses are 32-bit unsigned numbers inside and dotted text outside. Which of a
// network's are handed out: subnets.ts. Randomness is passed in.
import { invariant } from '../lib/errors.ts';

/** Nova's and Neutron's default prefix (base_mac fa:16:3e:00:00:00). */
const MAC_PREFIX = 'fa:16:3e';

/** A MAC address from three random bytes. */
export function macAddress(random: Uint8Array): string {
  invariant(random.length >= 3, 'a MAC address needs three random bytes');
  return [MAC_PREFIX, ...Array.from(random.subarray(0, 3), (byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** A MAC address in the form in which it is kept; null: it is none, or nobody's, or everybody's (as in neutron-lib). */
export function parseMac(text: string): string | null {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) return null;
  return /^(00|ff)(:\1){5}$/.test(mac) ? null : mac;
}

/** Whether a MAC address, as it is kept, is that of a group: no guest's card can have it. */
export const isGroupMac = (mac: string): boolean => (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;

const IPV4 = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/;

/** The number of a dotted IPv4 address, or null. Leading zeros are refused: some readers take them for octal. */
export function parseIpv4(text: string): number | null {
  const match = IPV4.exec(text);
  if (match === null) return null;
  let value = 0;
  for (const part of match.slice(1)) {
    const octet = Number(part);
    if (octet > 255) return null;
    value = value * 256 + octet;
  }
  return value;
}

export function formatIpv4(address: number): string {
  invariant(Number.isInteger(address) && address >= 0 && address <= 0xffff_ffff, `not an IPv4 address: ${address}`);
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

export interface Cidr {
  readonly network: number;
  /** 0–32. */
  readonly prefix: number;
  readonly broadcast: number;
}

/** A CIDR whose host bits are zero (`10.0.0.0/24`), or null. */
export function parseCidr(text: string): Cidr | null {
  const match = /^([0-9.]+)\/(0|[1-9]\d?)$/.exec(text);
  const network = parseIpv4(match?.[1] ?? '');
  const prefix = Number(match?.[2]);
  if (network === null || !(prefix <= 32)) return null;
  const size = 2 ** (32 - prefix);
  return network % size === 0 ? { network, prefix, broadcast: network + size - 1 } : null;
}

/** The network that an address with a prefix is in (`10.0.0.5/24`), or null. */
export function networkOf(text: string): Cidr | null {
  const [, ip = '', prefix = ''] = /^([0-9.]+)\/(0|[1-9]\d?)$/.exec(text) ?? [];
  const address = parseIpv4(ip);
  if (address === null || !(Number(prefix) <= 32)) return null;
  return parseCidr(`${formatIpv4(address - (address % 2 ** (32 - Number(prefix))))}/${prefix}`);
}

export const formatCidr = (cidr: Cidr): string => `${formatIpv4(cidr.network)}/${cidr.prefix}`;

export function contains(cidr: Cidr, address: number): boolean {
  return address >= cidr.network && address <= cidr.broadcast;
}

/** What a network of this CIDR offers; all ends included. */
export interface AddressPool {
  readonly cidr: Cidr;
  readonly gateway: number;
  readonly dns: number;
  readonly first: number;
  readonly last: number;
}

/** The pool of a CIDR, or null when it is too small for a gateway, a name server and one guest (needs /29 or larger). */
export function poolOf(cidr: Cidr): AddressPool | null {
  if (cidr.prefix > 29) return null;
  return { cidr, gateway: cidr.network + 1, dns: cidr.network + 2, first: cidr.network + 3, last: cidr.broadcast - 1 };
}

/**
 * The lowest address of the pool that is not in `used`; null when all are. Costs one look per used address at most,
 * however large the pool.
 */
export function nextFreeAddress(pool: AddressPool, used: ReadonlySet<number>): number | null {
  for (let address = pool.first; address <= pool.last; address += 1) {
    if (!used.has(address)) return address;
  }
  return null;
}

/** As RFC 5952 writes it: zeros left out, no dotted part. Text that is no IPv6 address comes back as it is. */
export function canonicalIpv6(address: string): string {
  const url = URL.parse(`http://[${address}]/`);
  return url === null ? address : url.hostname.slice(1, -1);
}
