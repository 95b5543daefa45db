// Addresses and networks as operators write them: 10.0.0.5, 10.0.0.0/8, ::1, fd00::/8.
import { BlockList, isIP } from 'node:net';

export interface NetworkList {
  /** As they were written. */
  readonly networks: readonly string[];
  /** False for what is no address. An IPv4 address written as an IPv6 one (::ffff:10.0.0.5) is the IPv4 address. */
  has(address: string): boolean;
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Whether the text is an address, or an address with the length of a network's prefix. */
export function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const longest = familyOf(address) === 'ipv6' ? 128 : 32;
  if (isIP(address) === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= longest);
}

/** @throws what BlockList throws for what `isNetwork` refuses */
export function networkList(networks: readonly string[]): NetworkList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    const family = familyOf(address);
    list.addSubnet(address, prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix), family);
  }
  return { networks, has: (address) => isIP(address) !== 0 && list.check(address, familyOf(address)) };
}

/** A host as it stands in a URL: an IPv6 address in brackets. */
export const urlHost = (host: string): string => (host.includes(':') ? `[${host}]` : host);
