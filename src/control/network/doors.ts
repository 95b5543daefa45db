// Where floating IPs lead: which TCP ports of them are open, for whom, and to which guest.
//
// Theory of operation. Reads only. A floating IP that leads to a server's port is a door for each TCP port that a rule of
// the port's security groups names and lets in. It leads to the guest of that server on the host of the port's active
// binding, so a server that moves takes its doors along with nothing to be done. Guests are told the first address of a
// port alone (GuestPort), so a floating IP of another address of the port leads nowhere.
// Not handled: rules for other guests (remote groups), which have no way to here; rules without ports, or with more than
// MAX_DOORS.
import { BlockList } from 'node:net';
import type { Db } from './standard.ts';

/** A TCP port of a floating IP. */
export interface Door {
  readonly address: string;
  readonly tcpPort: number;
  readonly serverId: string;
  readonly portId: string;
  /** Whose port it is. */
  readonly projectId: string;
  /** Null: the server is nowhere now. */
  readonly host: string | null;
  /** Addresses that are let in, such as 10.0.0.0/8; null: all. */
  readonly from: readonly string[] | null;
}

/** Doors of one floating IP; further ones, by number, stay closed. */
export const MAX_DOORS = 32;
const LAST_PORT = 65_535;

/** All doors, or those of one address. */
export async function openDoors(db: Db, address: string | null = null): Promise<Door[]> {
  let query = db
    .selectFrom('floating_ips as f')
    .innerJoin('ports as p', 'p.id', 'f.fixed_port_id')
    .innerJoin('port_addresses as a', (join) =>
      join.onRef('a.port_id', '=', 'p.id').onRef('a.ip', '=', 'f.fixed_ip').on('a.position', '=', 0),
    )
    .leftJoin('port_bindings as b', (join) => join.onRef('b.port_id', '=', 'p.id').on('b.active', '=', 1))
    .innerJoin('port_security_groups as s', 's.port_id', 'p.id')
    .innerJoin('security_group_rules as r', 'r.group_id', 's.group_id')
    .select(['f.ip', 'p.device_id', 'p.id', 'p.project_id', 'b.host', 'r.port_min', 'r.port_max', 'r.remote_prefix'])
    .where('p.device_id', '<>', '')
    .where('r.direction', '=', 'ingress')
    .where('r.ethertype', '=', 'IPv4')
    .where('r.protocol', 'in', ['tcp', '6'])
    .where('r.port_min', 'is not', null)
    .where('r.remote_group_id', 'is', null);
  if (address !== null) query = query.where('f.ip', '=', address);
  const rows = await query.orderBy('f.ip').orderBy('r.port_min').execute();
  return doorsOf(rows);
}

/** A rule that lets TCP in, of a port that a floating IP leads to. Its columns as they are in the tables. */
export interface Rule {
  readonly ip: string;
  readonly device_id: string;
  readonly id: string;
  readonly project_id: string;
  readonly host: string | null;
  readonly port_min: number | null;
  readonly port_max: number | null;
  readonly remote_prefix: string | null;
}

/** Pure. The rules in the order of their lowest ports. */
export const doorsOf = (rules: readonly Rule[]): Door[] =>
  [...Map.groupBy(rules, (rule) => rule.ip).values()].flatMap((ofAddress) => {
    const doors = new Map<number, Door>();
    for (const { ip, device_id: serverId, id: portId, project_id: projectId, host, ...rule } of ofAddress) {
      const { port_min, port_max, remote_prefix } = rule;
      const last = Math.min(port_max ?? 0, LAST_PORT);
      for (let tcpPort = Math.max(port_min ?? 1, 1); tcpPort <= last; tcpPort += 1) {
        const before = doors.get(tcpPort);
        if (!before && doors.size >= MAX_DOORS) break;
        const from = remote_prefix === null || before?.from === null ? null : [...(before?.from ?? []), remote_prefix];
        doors.set(tcpPort, { address: ip, tcpPort, serverId, portId, projectId, host, from });
      }
    }
    return [...doors.values()];
  });

/** Whether somebody at this address (IPv4, dotted) may come in. */
export function letsIn({ from }: Door, remote: string): boolean {
  if (from === null) return true;
  const list = new BlockList();
  for (const prefix of from) {
    const [network = '', length = '32'] = prefix.split('/');
    list.addSubnet(network, Number(length), 'ipv4');
  }
  return list.check(remote, 'ipv4');
}
