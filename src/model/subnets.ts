// Subnets: which addresses one has, which of them are its gateway's and which are handed out.
//
// Theory of operation. A subnet is planned from its CIDR, its gateway and its allocation pools, each of which has
// Neutron's default: the first host address; every host address but the gateway's. Pools keep their order, never overlap
// and never hold the gateway. Addresses are numbers here (see network.ts). Sentences are Neutron's
// (neutron/db/ipam_backend_mixin.py, neutron-lib/exceptions).
import { type Cidr, contains, formatCidr, formatIpv4, networkOf, parseIpv4 } from './network.ts';
import { invalidNetworkInput, type NetworkRefusal, networkRefusal } from './network-refusal.ts';

/** Sizes that a guest's user-mode network can have. */
const SHORTEST_PREFIX = 8;
const LONGEST_PREFIX = 29;
const MAX_POOLS = 20;

/** Both ends included. */
export interface Range {
  readonly first: number;
  readonly last: number;
}
export interface SubnetPlan {
  readonly cidr: Cidr;
  readonly gateway: number | null;
  readonly pools: readonly Range[];
}
export interface SubnetWish {
  readonly cidr: string;
  /** Null: none. Absent: the first host address. */
  readonly gateway?: string | null | undefined;
  /** Absent: everything but the gateway. */
  readonly pools?: readonly { readonly start: string; readonly end: string }[] | undefined;
}

/** The plan of a subnet, or what is wrong with the wish. */
export function planSubnet(wish: SubnetWish): SubnetPlan | NetworkRefusal {
  // An address with a prefix stands for its network, as in Neutron.
  const cidr = networkOf(wish.cidr);
  if (!cidr && !/^[0-9a-f.:]+\/[0-9]+$/i.test(wish.cidr)) {
    const message = `Invalid input for operation: ${wish.cidr.slice(0, 50)} is not in a CIDR format.`;
    return networkRefusal(400, 'InvalidInput', message);
  }
  if (!cidr || cidr.prefix < SHORTEST_PREFIX || cidr.prefix > LONGEST_PREFIX) {
    const reason = `'${wish.cidr.slice(0, 50)}' is not an IPv4 network of /${SHORTEST_PREFIX} to /${LONGEST_PREFIX}`;
    return networkRefusal(400, 'HTTPBadRequest', `Invalid input for cidr. Reason: ${reason}.`);
  }
  const gateway = gatewayOf(cidr, wish.gateway);
  if (gateway !== null && typeof gateway !== 'number') return gateway;
  if (wish.pools === undefined) return { cidr, gateway, pools: defaultPools(cidr, gateway) };
  const pools = poolsOf(cidr, wish.pools);
  if ('code' in pools) return pools;
  const around = gateway === null ? undefined : pools.find((pool) => inRange(pool, gateway));
  if (!around || gateway === null) return { cidr, gateway, pools };
  const message = `Gateway ip ${formatIpv4(gateway)} conflicts with allocation pool ${formatRange(around)}.`;
  return networkRefusal(409, 'GatewayConflictWithAllocationPools', message);
}

/** Every host address but the gateway's; two ranges when that is in the middle. */
export function defaultPools(cidr: Cidr, gateway: number | null): Range[] {
  const [first, last] = [cidr.network + 1, cidr.broadcast - 1];
  if (gateway === null || gateway < first || gateway > last) return [{ first, last }];
  return [
    { first, last: gateway - 1 },
    { first: gateway + 1, last },
  ].filter((range) => range.first <= range.last);
}

function gatewayOf(cidr: Cidr, wished: string | null | undefined): number | null | NetworkRefusal {
  if (wished === undefined) return cidr.network + 1;
  if (wished === null) return null;
  const gateway = parseIpv4(wished);
  // Outside is right, as in Neutron (ipam/utils.py check_gateway_invalid_in_subnet): nobody knows that address's network.
  if (gateway !== null && (isHost(cidr, gateway) || !contains(cidr, gateway))) return gateway;
  return invalidNetworkInput('Gateway is not valid on subnet');
}

function poolsOf(cidr: Cidr, wished: NonNullable<SubnetWish['pools']>): Range[] | NetworkRefusal {
  if (wished.length > MAX_POOLS) return invalidNetworkInput(`At most ${MAX_POOLS} allocation pools can be given`);
  const pools: Range[] = [];
  for (const { start, end } of wished) {
    const [first, last] = [parseIpv4(start), parseIpv4(end)];
    const said = `${start}-${end}`;
    if (first === null || last === null || first > last)
      return networkRefusal(400, 'InvalidAllocationPool', `The allocation pool ${said} is not valid.`);
    if (!isHost(cidr, first) || !isHost(cidr, last)) {
      const message = `The allocation pool ${said} spans beyond the subnet cidr ${formatCidr(cidr)}.`;
      return networkRefusal(400, 'OutOfBoundsAllocationPool', message);
    }
    const other = pools.find((pool) => pool.first <= last && first <= pool.last);
    if (other) {
      const message = `Found overlapping allocation pools: ${formatRange(other)} ${said} for subnet ${formatCidr(cidr)}.`;
      return networkRefusal(409, 'OverlappingAllocationPools', message);
    }
    pools.push({ first, last });
  }
  return pools;
}

/** Neither the network's own address nor the broadcast's. */
export const isHost = (cidr: Cidr, address: number): boolean =>
  contains(cidr, address) && address !== cidr.network && address !== cidr.broadcast;

export const inRange = ({ first, last }: Range, address: number): boolean => address >= first && address <= last;
export const formatRange = ({ first, last }: Range): string => `${formatIpv4(first)}-${formatIpv4(last)}`;

export const overlap = (a: Cidr, b: Cidr): boolean => a.network <= b.broadcast && b.network <= a.broadcast;

/** Those of which a port of this owner may have an address, the ones that are for it alone first. */
export function subnetsFor<S extends { readonly serviceTypes: readonly string[] }>(
  subnets: readonly S[],
  owner: string,
): S[] {
  const own = subnets.filter(({ serviceTypes }) => serviceTypes.includes(owner));
  return [...own, ...subnets.filter(({ serviceTypes }) => serviceTypes.length === 0)];
}

/** Neutron's refusal when there are some, but none of them for ports of this owner. */
export const noSubnetFor = (networkId: string, owner: string): NetworkRefusal =>
  networkRefusal(
    409,
    'IpAddressGenerationFailureNoMatchingSubnet',
    `No valid service subnet for the given device owner, network ${networkId}, service type ${owner}.`,
  );

/** How many addresses the pools hold. */
export const sizeOf = (pools: readonly Range[]): number =>
  pools.reduce((sum, { first, last }) => sum + last - first + 1, 0);

/** The address that stands at `index` (from 0, below sizeOf) when the pools are laid end to end. */
export function addressAt(pools: readonly Range[], index: number): number {
  let left = index;
  for (const { first, last } of pools) {
    const size = last - first + 1;
    if (left < size) return first + left;
    left -= size;
  }
  throw new RangeError(`no address at ${index}`);
}

/** The lowest address of the pools, in their order, that is not in `used`; null when all are. */
export function nextFreeAddress(pools: readonly Range[], used: ReadonlySet<number>): number | null {
  for (const { first, last } of pools) {
    for (let address = first; address <= last; address += 1) if (!used.has(address)) return address;
  }
  return null;
}
