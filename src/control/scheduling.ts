// Scheduling: reads the hosts that come into question, lets model/scheduling.ts choose, and claims the choice in placement.
//
// Reading and claiming are two things: between them another request may take the room, so the claim checks again and the
// next best host is tried when it fails, a few times. So does the policy of the server's group: two members that are placed
// at once see each other in the claim, and the later one chooses anew. With a Placement only hosts that it offers come into
// question, and the room is taken there before it is claimed here; what is not claimed after all is given back.
import type { Transaction } from 'kysely';
import type { HostState, ScheduleRequest } from '../model/hosts.ts';
import { resourcesOf } from '../model/resources.ts';
import { type ScheduleResult, schedule } from '../model/scheduling.ts';
import { groupRefusal } from '../model/server-groups.ts';
import type { Flavor, Resources } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { candidatePages } from './candidates.ts';
import { hostStates } from './host-states.ts';
import { placementService } from './placement/service.ts';
import { type Consumer, claim } from './placement.ts';
import type { Platform } from './platform.ts';
import { groupView, groupViewAlone } from './server-groups.ts';

export interface Choice {
  readonly flavor: Flavor;
  readonly imageProperties: Readonly<Record<string, string>>;
  readonly requestedZone: string | null;
  readonly requestedHost: string | null;
  /** Absent: any host. */
  readonly onlyHosts?: readonly string[];
  readonly ignoredHosts: readonly string[];
  /** Where a disk of the server lies that is not the server's any more (quarantine.ts); absent: a new server. */
  readonly hostsWithRemains?: readonly string[];
  /** The cell the server is in; null for a new server. */
  readonly homeCellId: string | null;
  /** Whether it may leave that cell. */
  readonly crossCellAllowed: boolean;
  /** The server's group; its policy is looked at once more where the room is claimed. */
  readonly groupId: string | null;
}

export type Chosen =
  | { readonly kind: 'chosen'; readonly cellId: string; readonly host: string; readonly zone: string }
  | { readonly kind: 'none'; readonly reason: string };

/** How many hosts are tried when claims fail. */
const CLAIMS = 5;
/** How often it chooses anew when other members of the server's group were placed meanwhile. */
const ROUNDS = 5;
const FULL = 'No valid host was found. Others took the room of every host that was tried.';
const GROUP_CHANGED = "No valid host was found. Other members of the server's group were placed at the same time.";

/**
 * Chooses a host and claims its resources for the consumer.
 * @param inTransaction runs the claim; lets the caller put a fence, further writes or a last refusal into the same transaction
 */
export async function chooseHost(
  p: Platform,
  choice: Choice,
  consumer: Consumer,
  inTransaction: (work: (trx: Transaction<GlobalTables>) => Promise<Chosen>) => Promise<Chosen>,
): Promise<Chosen> {
  for (let round = 1; ; round += 1) {
    const chosen = await chooseOnce(p, choice, consumer, inTransaction);
    if (chosen.kind === 'chosen' || chosen.reason !== GROUP_CHANGED || round === ROUNDS) return chosen;
  }
}

async function chooseOnce(
  p: Platform,
  choice: Choice,
  consumer: Consumer,
  inTransaction: (work: (trx: Transaction<GlobalTables>) => Promise<Chosen>) => Promise<Chosen>,
): Promise<Chosen> {
  const { groupId } = choice;
  const resources = resourcesOf(choice.flavor);
  const placement = placementService(p);
  const { imageProperties, requestedHost } = choice;
  const { extraSpecs } = choice.flavor;
  const offer = await placement.offer(p, { resources, extraSpecs, imageProperties, requestedHost });
  if (offer.kind === 'none') return offer;
  const request: ScheduleRequest = {
    ...{ resources, extraSpecs, imageProperties, requestedHost },
    zone: choice.requestedZone,
    ...(offer.ids === null ? {} : { offeredIds: offer.ids }),
    ...(choice.onlyHosts === undefined ? {} : { onlyHosts: choice.onlyHosts }),
    ignoreHosts: choice.ignoredHosts,
    ...(choice.hostsWithRemains === undefined ? {} : { hostsWithRemains: choice.hostsWithRemains }),
    homeCellId: choice.homeCellId,
    crossCellAllowed: choice.crossCellAllowed,
    group: groupId === null ? null : await groupView(p.stores.global, groupId, consumer.serverId),
  };
  const result = await chooseAmongAll(p, request, consumer.serverId);
  if (result.kind === 'none') return { kind: 'none', reason: result.reason };
  const hosts = result.hosts.slice(0, CLAIMS);
  let isClaimed = false;
  try {
    const chosen = await claimFirst(p, hosts, { groupId, resources }, consumer, inTransaction);
    isClaimed = chosen.kind === 'chosen';
    return chosen;
  } finally {
    // Also when the caller refuses in its transaction.
    if (!isClaimed) await placement.giveBack(p, consumer.serverId);
  }
}

/** The first of the hosts that has the room, at Placement's and here. */
async function claimFirst(
  p: Platform,
  hosts: readonly { readonly host: HostState }[],
  { groupId, resources }: { readonly groupId: string | null; readonly resources: Resources },
  consumer: Consumer,
  inTransaction: (work: (trx: Transaction<GlobalTables>) => Promise<Chosen>) => Promise<Chosen>,
): Promise<Chosen> {
  for (const { host } of hosts) {
    if (!(await placementService(p).take(p, consumer, host.hostId, resources))) continue;
    const chosen = await inTransaction(async (trx): Promise<Chosen> => {
      const group = groupId === null ? null : await groupViewAlone(trx, groupId, consumer.serverId);
      if (group && groupRefusal(group, host.hostId) !== null) return { kind: 'none', reason: GROUP_CHANGED };
      const claimed = await claim(trx, consumer, host.hostId, resources);
      if (!claimed) return { kind: 'none', reason: FULL };
      return { kind: 'chosen', cellId: host.cellId, host: host.hostName, zone: host.zone };
    });
    if (chosen.kind === 'chosen' || chosen.reason !== FULL) return chosen;
  }
  return { kind: 'none', reason: FULL };
}

/** The hosts that pass, of the first page of candidates that has any. Only a refusal, which counts them, reads all hosts. */
export async function chooseAmongAll(p: Platform, request: ScheduleRequest, startAt: string): Promise<ScheduleResult> {
  for await (const hosts of candidatePages(p, request, startAt)) {
    const result = schedule(request, hosts, p.settings.weights);
    if (result.kind === 'selected') return result;
  }
  return schedule(request, await hostStates(p), p.settings.weights);
}
