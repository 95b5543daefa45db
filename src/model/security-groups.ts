// Security group rules: what a rule may say, and when two say the same.
//
// Theory of operation. A rule is brought into the form in which it is kept: names in lower case, the two old names of
// IPv6's ICMP as the new one, the whole range of ports as none, an address as a prefix. Then it is checked as Neutron
// does, in Neutron's order and with its sentences (neutron/db/securitygroups_db.py, neutron/extensions/securitygroup.py).
// Two rules of a group are the same when they let the same traffic through by the same words; a protocol's name and its
// number are one word.
import { isIP } from 'node:net';
import { formatIpv4, parseIpv4 } from './network.ts';
import { type NetworkRefusal, networkRefusal } from './network-refusal.ts';

const PROTOCOLS: Readonly<Record<string, number>> = {
  ...{ ah: 51, dccp: 33, egp: 8, esp: 50, gre: 47, hopopt: 0, icmp: 1, igmp: 2, ip: 0, ipip: 4, 'ipv6-encap': 41 },
  ...{ 'ipv6-frag': 44, 'ipv6-icmp': 58, icmpv6: 58, 'ipv6-nonxt': 59, 'ipv6-opts': 60, 'ipv6-route': 43, ospf: 89 },
  ...{ pgm: 113, rsvp: 46, sctp: 132, tcp: 6, udp: 17, udplite: 136, vrrp: 112 },
};
const WITH_PORTS = ['dccp', 'sctp', 'tcp', 'udp', 'udplite'] as const;
const ICMP = [1, 58];
const IPV6_ONLY = new Set([41, 44, 58, 59, 60, 43]);

export interface RuleWish {
  readonly direction: 'ingress' | 'egress';
  /** Absent: IPv4. */
  readonly ethertype?: string | undefined;
  readonly protocol?: string | number | null | undefined;
  readonly portMin?: number | null | undefined;
  readonly portMax?: number | null | undefined;
  readonly remotePrefix?: string | null | undefined;
  readonly remoteGroupId?: string | null | undefined;
}

/** As it is kept. For ICMP portMin is the type and portMax the code. */
export interface Rule {
  readonly direction: 'ingress' | 'egress';
  readonly ethertype: 'IPv4' | 'IPv6';
  /** Null: every one. */
  readonly protocol: string | null;
  readonly portMin: number | null;
  readonly portMax: number | null;
  readonly remotePrefix: string | null;
  readonly remoteGroupId: string | null;
}

/** The rule as it is kept, or what is wrong with it. */
export function ruleOf(wish: RuleWish): Rule | NetworkRefusal {
  const ethertype = ethertypeOf(wish.ethertype ?? 'IPv4');
  if (typeof ethertype !== 'string') return ethertype;
  const named = protocolOf(wish.protocol ?? null);
  if (named !== null && typeof named !== 'string') return named;
  const protocol = ethertype === 'IPv6' ? modernIcmp(named) : named;
  const ports = portsOf(wish.portMin ?? null, wish.portMax ?? null);
  if ('code' in ports) return ports;
  const wrong = wrongPorts(protocol, ports);
  if (wrong) return wrong;
  const remotePrefix = wish.remotePrefix ? prefixOf(wish.remotePrefix, ethertype) : null;
  if (remotePrefix !== null && typeof remotePrefix !== 'string') return remotePrefix;
  if (ethertype === 'IPv4' && protocol !== null && IPV6_ONLY.has(numberOf(protocol))) {
    const message = `Invalid ethertype ${ethertype} for protocol ${protocol}.`;
    return networkRefusal(400, 'SecurityGroupEthertypeConflictWithProtocol', message);
  }
  const remoteGroupId = wish.remoteGroupId ?? null;
  if (remoteGroupId !== null && remotePrefix !== null) return several();
  return { direction: wish.direction, ethertype, protocol, ...ports, remotePrefix, remoteGroupId };
}

/** Two rules of one group with the same key say the same. */
export function ruleKey(rule: Rule): string {
  const everyone = rule.remotePrefix === '0.0.0.0/0' || rule.remotePrefix === '::/0';
  return JSON.stringify([
    ...[rule.direction, rule.ethertype, rule.protocol === null ? null : numberOf(rule.protocol)],
    ...[rule.portMin, rule.portMax, everyone ? null : rule.remotePrefix, rule.remoteGroupId],
  ]);
}

const anything = { protocol: null, portMin: null, portMax: null, remotePrefix: null };

/** What a new group begins with: everything may go out; into the default group, what comes from its members. */
export function firstRules(group: { readonly id: string; readonly isDefault: boolean }): Rule[] {
  const ethertypes = ['IPv4', 'IPv6'] as const;
  const out = ethertypes.map((ethertype) => ({
    ...{ direction: 'egress' as const, ethertype, ...anything, remoteGroupId: null },
  }));
  if (!group.isDefault) return out;
  const from = ethertypes.map((ethertype) => ({
    ...{ direction: 'ingress' as const, ethertype, ...anything, remoteGroupId: group.id },
  }));
  return [...out, ...from];
}

/** The number of a protocol that has been checked. */
const numberOf = (protocol: string): number => PROTOCOLS[protocol] ?? Number(protocol);

function ethertypeOf(given: string): 'IPv4' | 'IPv6' | NetworkRefusal {
  const lower = given.toLowerCase();
  if (lower === 'ipv4') return 'IPv4';
  if (lower === 'ipv6') return 'IPv6';
  const message = `Security group rule for ethertype '${given.slice(0, 50)}' not supported. Allowed values are ['IPv4', 'IPv6'].`;
  return networkRefusal(400, 'SecurityGroupRuleInvalidEtherType', message);
}

function protocolOf(given: string | number | null): string | null | NetworkRefusal {
  if (given === null || given === 'any') return null;
  const text = String(given).toLowerCase();
  if (Object.hasOwn(PROTOCOLS, text) || (/^\d{1,3}$/.test(text) && Number(text) <= 255)) return text;
  const values = [`None`, `'any'`, ...Object.keys(PROTOCOLS).map((name) => `'${name}'`)].join(', ');
  const message = `Security group rule protocol ${text.slice(0, 50)} not supported. Only protocol values (${values}) and integer representations [0 to 255] are supported.`;
  return networkRefusal(400, 'SecurityGroupRuleInvalidProtocol', message);
}

const modernIcmp = (protocol: string | null): string | null =>
  protocol === 'icmp' || protocol === 'icmpv6' ? 'ipv6-icmp' : protocol === '1' ? '58' : protocol;

type Ports = Pick<Rule, 'portMin' | 'portMax'>;

function portsOf(portMin: number | null, portMax: number | null): Ports | NetworkRefusal {
  for (const port of [portMin, portMax])
    if (port !== null && (!Number.isInteger(port) || port < 0 || port > 65_535)) return badPort(port);
  return portMin === 1 && portMax === 65_535 ? { portMin: null, portMax: null } : { portMin, portMax };
}

const badPort = (port: number): NetworkRefusal =>
  networkRefusal(400, 'SecurityGroupInvalidPortValue', `Invalid value for port ${port}`);

function wrongPorts(protocol: string | null, { portMin, portMax }: Ports): NetworkRefusal | null {
  const no = (type: string, message: string) => networkRefusal(400, type, message);
  if (portMin === null && portMax === null) return null;
  if (protocol === null)
    return no('SecurityGroupProtocolRequiredWithPorts', 'Must also specify protocol if port range is given.');
  const number = numberOf(protocol);
  if (WITH_PORTS.some((name) => PROTOCOLS[name] === number)) {
    if (portMin === 0 || portMax === 0) return badPort(0);
    if (portMin !== null && portMax !== null && portMin <= portMax) return null;
    return no('SecurityGroupInvalidPortRange', 'For TCP/UDP protocols, port_range_min must be <= port_range_max');
  }
  if (ICMP.includes(number)) return wrongIcmp(portMin, portMax);
  const names = WITH_PORTS.map((name) => name.toUpperCase()).join(', ');
  const message = `Ports cannot be specified for protocol ${number}. Ports are only supported for ${names}.`;
  return no('SecurityGroupInvalidProtocolForPort', message);
}

function wrongIcmp(type: number | null, code: number | null): NetworkRefusal | null {
  const fields = [
    ['type', 'port_range_min', type],
    ['code', 'port_range_max', code],
  ] as const;
  for (const [field, attribute, value] of fields) {
    if (value === null || value <= 255) continue;
    const message = `Invalid value for ICMP ${field} (${attribute}) ${value}. It must be 0 to 255.`;
    return networkRefusal(400, 'SecurityGroupInvalidIcmpValue', message);
  }
  if (type !== null || code === null) return null;
  const message = `ICMP code (port-range-max) ${code} is provided but ICMP type (port-range-min) is missing.`;
  return networkRefusal(400, 'SecurityGroupMissingIcmpType', message);
}

/** With its length, which is all of the address when none is given. Bits behind it may be set, as in Neutron. */
function prefixOf(given: string, ethertype: Rule['ethertype']): string | NetworkRefusal {
  const [address = '', length, ...more] = given.split('/');
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  const long = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (version === 0 || more.length > 0 || !(long <= bits) || address.includes('%')) {
    return networkRefusal(400, 'InvalidCIDR', `Invalid CIDR ${given.slice(0, 100)} given as IP prefix.`);
  }
  const whole = `${version === 4 ? formatIpv4(parseIpv4(address) ?? 0) : address.toLowerCase()}/${long}`;
  if (ethertype === `IPv${version}`) return whole;
  const message = `Conflicting value ethertype ${ethertype} for CIDR ${whole}`;
  return networkRefusal(400, 'SecurityGroupRuleParameterConflict', message);
}

function several(): NetworkRefusal {
  const message = 'Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.';
  return networkRefusal(400, 'SecurityGroupMultipleRemoteEntites', message);
}
