// Placement and quota: who holds how much of what.
import { capacity } from '../../model/placement.ts';
import { type QuotaUsage, usageOfServer } from '../../model/quota.ts';
import { addResources, amountOf, flavorOnHost, resourcesOf, sameResources } from '../../model/resources.ts';
import { RESOURCE_CLASSES, type Resources } from '../../model/types.ts';
import { type Breach, type Invariant, idleServers, silentCells, waitingMoves } from '../invariant.ts';
import type { Snapshot } from '../snapshot.ts';

/** What a consumer is owed, by provider id. */
type Due = ReadonlyMap<string, Resources>;
const NOTHING: Due = new Map();

export const ROOM_AS_OWED: Invariant = {
  name: 'allocations',
  sentence:
    'What is allocated of each host is the sum of what its servers (by flavor) and waiting moves (by old flavor) are owed.',
  check(s) {
    const held = new Map(s.consumers.map((consumer) => [consumer.id, consumer.holds]));
    const nameOf = new Map(s.hosts.map((host) => [host.id, host.name]));
    const breaches: Breach[] = [];
    for (const [consumerId, { due, of }] of dues(s)) {
      const holds = held.get(consumerId) ?? NOTHING;
      for (const providerId of new Set([...due.keys(), ...holds.keys()])) {
        const [has, should] = [holds.get(providerId) ?? {}, due.get(providerId) ?? {}];
        if (sameResources(has, should)) continue;
        breaches.push({
          what: `${of} holds ${amounts(has)} of ${nameOf.get(providerId) ?? providerId} and is owed ${amounts(should)}`,
          cause: 'a claim or a release was lost, or an allocation was changed by hand',
          repair: 'set the rows of this consumer in allocations right, in one transaction with its consumers row',
        });
      }
    }
    return { breaches, unknown: silentCells(s) };
  },
};

/** What each consumer is owed for servers that stand still. */
function dues(s: Snapshot): Map<string, { readonly due: Due; readonly of: string }> {
  const providerOf = new Map(s.hosts.map((host) => [host.name, host.id]));
  const at = (host: string | null, resources: Resources): Due => {
    const providerId = host === null ? undefined : providerOf.get(host);
    return providerId === undefined ? NOTHING : new Map([[providerId, resources]]);
  };
  const waiting = waitingMoves(s);
  const owed = new Map<string, { due: Due; of: string }>();
  for (const server of idleServers(s)) {
    owed.set(server.id, {
      due: at(server.host, resourcesOf(flavorOnHost(server.flavor, server.image))),
      of: `server ${server.id}`,
    });
    const migration = waiting.get(server.id);
    if (migration && server.oldFlavor) {
      owed.set(migration.id, {
        due: at(migration.sourceHost, resourcesOf(flavorOnHost(server.oldFlavor, server.image))),
        of: `the waiting move ${migration.id} of server ${server.id}`,
      });
    }
  }
  return owed;
}

const amounts = (resources: Resources): string =>
  RESOURCE_CLASSES.map((each) => `${amountOf(resources, each)} ${each}`).join(', ');

export const WITHIN_CAPACITY: Invariant = {
  name: 'capacity',
  sentence: 'No host has more allocated than its inventory, less what is reserved, times its ratio.',
  check(s) {
    const breaches = s.providers.flatMap((provider) =>
      RESOURCE_CLASSES.flatMap((each) => {
        const [sum, inventory] = [amountOf(provider.used, each), provider.inventories[each]];
        const most = inventory === undefined ? 0 : capacity(inventory);
        if (sum <= most) return [];
        return [
          {
            what: `${sum} ${each} are allocated of host ${provider.name}, which has ${most} to give`,
            cause: 'the inventory or its ratio was lowered below what was already allocated',
            repair: 'move servers away from the host, or give the inventory its old size back',
          },
        ];
      }),
    );
    return { breaches, unknown: [] };
  },
};

export const ROOM_HAS_OWNER: Invariant = {
  name: 'room has owners',
  sentence: 'Every consumer of room is a server or an open move of one, and every provider is a host.',
  check(s) {
    const openMoves = new Set(s.migrations.map((migration) => migration.id));
    const hosts = new Set(s.hosts.map((host) => host.id));
    const orphans = s.consumers.flatMap((consumer): Breach[] => {
      if (s.busy.has(consumer.serverId)) return [];
      const home = s.homes.get(consumer.serverId);
      const isMove = consumer.type === 'migration';
      const owned = home !== undefined && (isMove ? openMoves.has(consumer.id) : consumer.id === consumer.serverId);
      if (owned && home.projectId === consumer.projectId && consumer.holds.size > 0) return [];
      const name = isMove ? `move ${consumer.id} of server ${consumer.serverId}` : `server ${consumer.serverId}`;
      const wrong = !owned
        ? `holds room although it ${home && isMove ? 'is closed' : 'does not exist'}`
        : consumer.holds.size === 0
          ? 'is a consumer that holds nothing'
          : 'holds room for another project than its own';
      return [
        {
          what: `${name} ${wrong}`,
          cause: 'a release was lost, or placement was changed by hand',
          repair: `delete the row ${consumer.id} from consumers: its allocations go with it`,
          // Room that counts for another project is in use: that is for a person to set right.
          ...(owned && consumer.holds.size > 0
            ? {}
            : { fix: { kind: 'release room', consumerId: consumer.id, serverId: consumer.serverId } as const }),
        },
      ];
    });
    const strangers = s.providers
      .filter((provider) => !hosts.has(provider.id))
      .map((provider) => ({
        what: `provider ${provider.name} is no host`,
        cause: 'a host was removed without its provider',
        repair: 'delete the provider, once nothing is allocated of it',
        fix: { kind: 'drop provider', providerId: provider.id } as const,
      }));
    return { breaches: [...orphans, ...strangers], unknown: [] };
  },
};

export const QUOTA_COUNTS_ONCE: Invariant = {
  name: 'quota',
  sentence: 'Quotas count every server once: the larger of its two sizes while a move of it waits.',
  check(s) {
    const counted = new Map<string, Resources[]>();
    for (const consumer of s.consumers) {
      const home = s.homes.get(consumer.serverId);
      if (home?.projectId !== consumer.projectId) continue;
      const holds = [...consumer.holds.values()].reduce(addResources, {});
      counted.set(consumer.serverId, [...(counted.get(consumer.serverId) ?? []), holds]);
    }
    const breaches: Breach[] = [];
    for (const server of idleServers(s)) {
      const sizes = [server.flavor, ...(server.oldFlavor ? [server.oldFlavor] : [])].map(resourcesOf);
      const due = usageOfServer(server.host === null ? [] : sizes);
      const counts = usageOfServer(counted.get(server.id) ?? []);
      if (counts.cores === due.cores && counts.ram === due.ram) continue;
      const text = (usage: QuotaUsage) => `${usage.cores} cores and ${usage.ram} MiB`;
      breaches.push({
        what: `server ${server.id} of project ${server.projectId} is counted ${text(counts)} and is ${text(due)}`,
        cause: 'allocations are not what they should be: see there',
        repair: 'set the allocations right; quotas are counted from them',
      });
    }
    return { breaches, unknown: silentCells(s) };
  },
};
