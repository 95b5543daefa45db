// What a port may have, whether it is made or changed: addresses, groups, address pairs. Sentences are Neutron's
// (neutron/db/ipam_backend_mixin.py, neutron-lib: exceptions, api/definitions).
import { wrongDnsName } from '../../model/dns-names.ts';
import { parseCidr, parseIpv4, parseMac } from '../../model/network.ts';
import { isHost, noSubnetFor, subnetsFor } from '../../model/subnets.ts';
import type { AddressSource } from './addresses.ts';
import type { AddressPair, DhcpOption } from './ports.ts';
import { badRequest, invalidInput, no, refused, refuseWith, wrongAttribute } from './results.ts';
import type { SubnetRecord } from './subnets.ts';

/** One address: of a subnet, or itself, or both. */
export interface FixedIpWish {
  readonly subnetId?: string | undefined;
  readonly ip?: string | undefined;
}
export interface AddressPairWish {
  readonly ip_address: string;
  readonly mac_address?: string | undefined;
}

/** What users say of a port, made or changed. */
export interface PortWish {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly adminStateUp?: boolean | undefined;
  readonly fixedIps?: readonly FixedIpWish[] | undefined;
  readonly mac?: string | undefined;
  readonly wantedHost?: string | undefined;
  readonly deviceId?: string | undefined;
  readonly deviceOwner?: string | undefined;
  readonly portSecurity?: boolean | undefined;
  readonly groupIds?: readonly string[] | undefined;
  readonly addressPairs?: readonly AddressPairWish[] | undefined;
  readonly dhcpOptions?: readonly DhcpOption[] | undefined;
  readonly dnsName?: string | undefined;
  readonly vnicType?: string | undefined;
  readonly profile?: BindingProfile | undefined;
}

/** What an operator wrote down with a port or with one of its bindings; nothing here reads it. */
export type BindingProfile = Readonly<Record<string, unknown>>;

const MAX_FIXED_IPS = 16;
const MAX_PAIRS = 10;
/** Longest profile, as JSON (Neutron's column has as many characters). */
const MAX_PROFILE = 4095;

/**
 * Where the wished addresses of a port of this owner come from; without a wish one from the oldest subnet that it may
 * have one of, when there is one.
 * @throws Refused
 */
export function sourcesOf(
  networkId: string,
  all: readonly SubnetRecord[],
  owner: string,
  wishes: readonly FixedIpWish[] | undefined,
): AddressSource[] {
  const subnets = subnetsFor(all, owner);
  if (all.length > 0 && subnets.length === 0 && wishes?.length !== 0)
    refuseWith(refused(noSubnetFor(networkId, owner)));
  const [first] = subnets;
  if (wishes === undefined) return first ? [sourceOf(first)] : [];
  if (wishes.length > MAX_FIXED_IPS)
    refuseWith(invalidInput(`Exceeded maximum amount of fixed ips per port: ${MAX_FIXED_IPS}`));
  if (wishes.length > 0 && !first) refuseWith(invalidInput('IP allocation requires subnets for network'));
  return wishes.map(({ subnetId, ip }) => {
    if (subnetId === undefined && ip === undefined)
      refuseWith(invalidInput('IP allocation requires subnet_id or ip_address'));
    const subnet = subnets.find((each) => (subnetId === undefined ? holds(each, ip) : each.id === subnetId));
    if (!subnet && subnetId !== undefined) {
      const said = `Failed to create port on network ${networkId}, because fixed_ips included invalid subnet ${subnetId}`;
      refuseWith(invalidInput(said));
    }
    if (!subnet) {
      const said = `IP address ${ip} is not a valid IP for any of the subnets on the specified network.`;
      return refuseWith(no(400, 'InvalidIpForNetwork', said));
    }
    if (ip === undefined) return sourceOf(subnet);
    if (!holds(subnet, ip) || ip === subnet.gateway) refuseWith(notOfSubnet(ip));
    return { ...sourceOf(subnet), ip };
  });
}

export const sourceOf = (subnet: SubnetRecord): AddressSource => ({
  subnetId: subnet.id,
  poolsJson: JSON.stringify(subnet.pools.map(({ start, end }) => [start, end])),
});

/** Neutron's refusal of an address that nothing on the subnet can have. */
export const notOfSubnet = (ip: string) =>
  no(400, 'InvalidIpForSubnet', `IP address ${ip} is not a valid IP for the specified subnet.`);

/** Whether the address is one that something on the subnet can have. */
export function holds(subnet: Pick<SubnetRecord, 'cidr'>, ip: string | undefined): boolean {
  const [cidr, address] = [parseCidr(subnet.cidr), parseIpv4(ip ?? '')];
  return cidr !== null && address !== null && isHost(cidr, address);
}

/** The MAC in the form in which it is kept. @throws Refused 400 */
export function macOf(text: string): string {
  return (
    parseMac(text) ??
    refuseWith(badRequest(`Invalid input for mac_address. Reason: '${text.slice(0, 50)}' is not a valid MAC address.`))
  );
}

/** The pairs as they are kept: with the port's own MAC where none is given. @throws Refused */
export function pairsOf(wishes: readonly AddressPairWish[], portMac: string): AddressPair[] {
  if (wishes.length > MAX_PAIRS) {
    const said = `The number of allowed address pair exceeds the maximum ${MAX_PAIRS}.`;
    refuseWith(no(400, 'AllowedAddressPairExhausted', said));
  }
  const pairs = wishes.map(({ ip_address, mac_address }) => {
    const [address = '', length] = ip_address.split('/');
    if (parseIpv4(address) === null || (length !== undefined && !/^([12]?\d|3[0-2])$/.test(length)))
      refuseWith(
        badRequest(`Invalid input for allowed_address_pairs. Reason: '${ip_address}' is not a valid IP address.`),
      );
    return { ip_address, mac_address: mac_address === undefined ? portMac : macOf(mac_address) };
  });
  const twice = pairs.find((pair, index) =>
    pairs.slice(0, index).some((each) => each.ip_address === pair.ip_address && each.mac_address === pair.mac_address),
  );
  if (!twice) return pairs;
  const said = `Request contains duplicate address pair: mac_address ${twice.mac_address} ip_address ${twice.ip_address}.`;
  return refuseWith(no(400, 'DuplicateAddressPairInRequest', said));
}

/** What port security needs and forbids; whether the port has an address is no matter, as in ML2. @throws Refused */
export function checkSecurity(port: {
  readonly portSecurity: boolean;
  readonly groups: number;
  readonly pairs: number;
}): void {
  if (port.pairs > 0 && !port.portSecurity) {
    const said = 'Port Security must be enabled in order to have allowed address pairs on a port.';
    refuseWith(no(409, 'AddressPairAndPortSecurityRequired', said));
  }
  if (port.groups === 0 || port.portSecurity) return;
  const said = 'Port security must be enabled and port must have an IP address in order to use security groups.';
  refuseWith(no(400, 'PortSecurityAndIPRequiredForSecurityGroups', said));
}

/** A name that can stand in DNS, or ''. @throws Refused 400 */
export function dnsNameOf(text: string): string {
  const wrong = wrongAttribute('dns_name', wrongDnsName(text));
  return wrong ? refuseWith(wrong) : text.toLowerCase();
}

/** A profile as it is kept. @throws Refused 400 */
export function profileText(profile: BindingProfile): string {
  const text = JSON.stringify(profile);
  return text.length <= MAX_PROFILE ? text : refuseWith(invalidInput('binding:profile value too large'));
}
