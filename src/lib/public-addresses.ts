// Which addresses belong to anybody on the Internet, and which only mean something near whoever uses them: private networks,
// this machine, links, multicast. Source: IANA's special-purpose address registries.
import { BlockList, isIP, isIPv6 } from 'node:net';

const RESERVED = new BlockList();
for (const [network, prefix] of [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
  ] as const),
  ...([
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
  ] as const),
  ...([
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 4],
    ['240.0.0.0', 4],
  ] as const),
]) {
  RESERVED.addSubnet(network, prefix, 'ipv4');
}
/** Of IPv6 all of the Internet is in one block; what stands for IPv4 addresses there is not asked what it stands for. */
const GLOBAL = new BlockList();
GLOBAL.addSubnet('2000::', 3, 'ipv6');
const RESERVED_6 = new BlockList();
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  RESERVED_6.addSubnet(network, prefix, 'ipv6');
}

/** False for what is no address. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false;
  if (isIPv6(address)) return GLOBAL.check(address, 'ipv6') && !RESERVED_6.check(address, 'ipv6');
  return !RESERVED.check(address, 'ipv4');
}
