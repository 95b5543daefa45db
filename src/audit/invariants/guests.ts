// What runs where.
import { shouldRun } from '../../control/servers.ts';
import { POWER_STATE } from '../../model/types.ts';
import {
  type Breach,
  type Finding,
  homeRecords,
  type Invariant,
  idleServers,
  type Owed,
  silentCells,
  silentHosts,
  waitingMoves,
} from '../invariant.ts';
import type { Snapshot } from '../snapshot.ts';

export const ONE_GUEST: Invariant = {
  name: 'one guest',
  sentence: 'At most one guest of a server runs at any time, over all hosts.',
  // No saga excuses this one, and no debt.
  check(s) {
    const breaches = [...s.together].map(([serverId, hosts]) => ({
      what: `guests of server ${serverId} run at the same time on ${[...hosts].sort().join(' and ')}`,
      cause: 'a host was given up as down while it went on running its guest, or a guest was started by hand',
      repair: `the server's record names the right host (openstack server show): stop the guest on every other host now; its disk there is not the server's`,
    }));
    return { breaches, unknown: silentHosts(s) };
  },
};

export const GUEST_AS_RECORDED: Invariant = {
  name: 'guest as recorded',
  sentence:
    'A server’s guest is on the host that its record names, and runs exactly if the record says so; of a suspended one the memory is kept.',
  check(s) {
    const hosts = new Map(s.hosts.map((host) => [host.name, host]));
    const breaches: Breach[] = [];
    const owed: Owed[] = [];
    const debts = new Map(
      debtsOf(s, ['match-guest', 'drop-spare']).map((debt) => [`${debt.host} ${debt.serverId}`, debt]),
    );
    for (const server of idleServers(s)) {
      if (server.host === null) continue;
      const debt = debts.get(`${server.host} ${server.id}`);
      if (debt) {
        owed.push({
          what: `that the guest of server ${server.id} on ${debt.host} is as recorded`,
          ...{ reason: debt.reason, since: debt.createdAt },
        });
        continue;
      }
      const host = hosts.get(server.host);
      if (!host) {
        breaches.push({
          what: `server ${server.id} is recorded on host ${server.host}, which is not known`,
          cause: 'the host was removed while it had servers',
          repair: 'register the host again, or delete the server',
        });
        continue;
      }
      if (host.unreachable !== null) continue;
      const guest = host.guests.find((each) => each.serverId === server.id);
      if (!guest) {
        breaches.push({
          what: `server ${server.id} has no guest on its host ${host.name}`,
          cause: 'the host lost its state directory, or the guest was removed by hand',
          repair:
            'restore the state directory of the host; else force the host down and evacuate the server, or delete the server',
        });
      } else if (guest.running && !shouldRun(server)) {
        breaches.push({
          what: `the guest of server ${server.id} runs on ${host.name} although the server is ${server.vmState} and off`,
          cause: 'the guest was started by hand, or the record was changed by hand',
          repair: 'stop the server (openstack server stop), or start it so that the record follows',
        });
      } else if (!guest.running && shouldRun(server)) {
        breaches.push({
          what: `the guest of server ${server.id} is off on ${host.name} although the server is ${server.vmState}`,
          cause: 'the guest turned itself off or died; the control plane records that within a minute if it runs',
          repair: 'wait a minute with the control plane running, or start the server (openstack server start)',
        });
      } else if (guest.running && server.vmState === 'active' && server.powerState === POWER_STATE.SHUTDOWN) {
        breaches.push({
          what: `the guest of server ${server.id} runs on ${host.name} although its record says that it is off`,
          cause: 'the record was changed by hand',
          repair: 'reboot the server, or stop and start it, so that the record follows',
        });
      } else if (server.vmState === 'suspended' && !guest.suspended) {
        breaches.push({
          what: `what the guest of server ${server.id} had in memory is not kept on ${host.name} although the server is suspended`,
          cause: 'the host lost a part of its state directory, or the guest was turned off by hand',
          repair: 'start the server anew (openstack server reboot --hard)',
        });
      }
    }
    return { breaches, owed, unknown: [...silentCells(s), ...silentHosts(s)] };
  },
};

export const GUEST_HAS_OWNER: Invariant = {
  name: 'guests have owners',
  sentence: 'Every guest and disk on a host belongs to a server that is there, or whose waiting move left from there.',
  check(s) {
    const places = placesOf(s);
    const debts = new Map(guestDebts(s).map((debt) => [`${debt.host} ${debt.serverId}`, debt]));
    const kept = new Map(s.quarantined.map((each) => [`${each.host} ${each.serverId}`, each]));
    const unread = new Set(s.cells.filter((cell) => cell.unreachable !== null).map((cell) => cell.id));
    const breaches: Breach[] = [];
    const owed: Owed[] = [];
    for (const host of s.hosts) {
      for (const { serverId, running } of host.guests) {
        if (s.busy.has(serverId) || places.get(serverId)?.has(host.name)) continue;
        const home = s.homes.get(serverId);
        if (home && unread.has(home.cellId)) continue;
        const debt = debts.get(`${host.name} ${serverId}`);
        if (debt) {
          owed.push({
            what: `guest of server ${serverId} on ${host.name}`,
            reason: debt.reason,
            since: debt.createdAt,
          });
          continue;
        }
        const quarantined = kept.get(`${host.name} ${serverId}`);
        if (quarantined) {
          owed.push({
            what: `guest of server ${serverId} on ${host.name}`,
            reason: `in quarantine, for an operator to release or destroy: ${quarantined.reason}`,
            since: quarantined.foundAt,
          });
          continue;
        }
        breaches.push({
          what: `host ${host.name} keeps a ${running ? 'running' : 'stopped'} guest of server ${serverId}, which ${home ? 'is elsewhere' : 'does not exist'}`,
          cause: 'a clean-up was lost, or the host came back with an old state directory',
          repair: `look at the guest's disk first if in doubt; then have the agent of ${host.name} destroy it`,
          fix: { kind: 'destroy guest', host: host.name, serverId },
        });
      }
    }
    return {
      breaches,
      owed: [...owed, ...owedInTheDark(s)],
      unknown: [...silentCells(s), ...silentHosts(s)],
    } satisfies Finding;
  },
};

const debtsOf = (s: Snapshot, kinds: readonly string[]) => s.debts.filter((debt) => kinds.includes(debt.kind));
const guestDebts = (s: Snapshot) => debtsOf(s, ['destroy-guest']);

/** Debts of hosts that do not answer: nobody can see the guest, but it counts as owed all the same. */
const owedInTheDark = (s: Snapshot): Owed[] => {
  const silent = new Set(s.hosts.filter((host) => host.unreachable !== null).map((host) => host.name));
  return guestDebts(s)
    .filter((debt) => silent.has(debt.host))
    .map((debt) => ({
      what: `guest of server ${debt.serverId} on ${debt.host}`,
      reason: debt.reason,
      since: debt.createdAt,
    }));
};

/** The hosts on which a server may have a guest: its own, and the source of its waiting move. */
function placesOf(s: Snapshot): Map<string, Set<string>> {
  const waiting = waitingMoves(s);
  const places = new Map<string, Set<string>>();
  for (const { server } of homeRecords(s).values()) {
    const hosts = new Set<string>();
    if (server.host !== null) hosts.add(server.host);
    const migration = waiting.get(server.id);
    if (migration) hosts.add(migration.sourceHost);
    places.set(server.id, hosts);
  }
  return places;
}

export const EXPORT_HAS_OWNER: Invariant = {
  name: 'exports have owners',
  sentence: 'A disk can be read from other hosts only while a move of its server is under way.',
  check(s) {
    // What is owed closes it.
    const owed = new Set(debtsOf(s, ['match-guest']).map((debt) => `${debt.host} ${debt.serverId}`));
    const breaches = s.hosts.flatMap((host) =>
      host.guests
        .filter(({ serverId, exported }) => exported && !s.busy.has(serverId) && !owed.has(`${host.name} ${serverId}`))
        .map(({ serverId }) => ({
          what: `host ${host.name} exports the disk of server ${serverId}, which no move reads`,
          cause: 'the end of a move’s copy was lost, or the host came back with an old state directory',
          repair: `have the agent of ${host.name} close the export; starting the guest closes it too`,
          fix: { kind: 'close export', host: host.name, serverId } as const,
        })),
    );
    return { breaches, unknown: silentHosts(s) };
  },
};

export const KEPT_FOR_REVERT: Invariant = {
  name: 'way back kept',
  sentence: 'While a move waits to be confirmed, its source keeps the old guest, turned off.',
  check(s) {
    const hosts = new Map(s.hosts.map((host) => [host.name, host]));
    const breaches = [...waitingMoves(s).values()].flatMap((migration): Breach[] => {
      const host = hosts.get(migration.sourceHost);
      if (s.busy.has(migration.serverId) || !host || host.unreachable !== null) return [];
      const guest = host.guests.find((each) => each.serverId === migration.serverId);
      if (guest && !guest.running) return [];
      return [
        {
          what: `the old guest of server ${migration.serverId} on ${host.name} ${guest ? 'runs' : 'is gone'} although its move may be reverted`,
          cause: guest
            ? 'it was started by hand'
            : 'the host lost its state directory, or the guest was removed by hand',
          repair: guest ? `stop the guest on ${host.name} at once` : 'do not revert the move: confirm it',
        },
      ];
    });
    return { breaches, unknown: [...silentCells(s), ...silentHosts(s)] };
  },
};
