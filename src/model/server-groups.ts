// Server groups: which hosts a policy leaves to a member, and the rules of making and joining a group.
//
// Theory of operation. What counts is where the other members hold room, over all cells, read from placement: a member
// whose resize waits holds room on both of its hosts, so that an anti-affinity that holds now holds after its confirm and
// after its revert alike. For affinity it counts where it is now. The member that is placed does not count itself (Nova
// counts it, and so cannot move the only member of an affinity group). Filters give advice; whoever claims the room asks
// `groupRefusal` once more, alone among the group. Sources: nova/scheduler/filters/affinity_filter.py,
// nova/api/openstack/compute/server_groups.py.
import type { QuotaLimits } from './quota.ts';
import { badRequest, forbidden, notFound, type Refusal } from './refusal.ts';

export type GroupPolicy = 'affinity' | 'anti-affinity' | 'soft-affinity' | 'soft-anti-affinity';
export const GROUP_POLICIES: readonly GroupPolicy[] = [
  'affinity',
  'anti-affinity',
  'soft-affinity',
  'soft-anti-affinity',
];

/** A group as the scheduler looks at it for one of its members. */
export interface GroupView {
  readonly policy: GroupPolicy;
  /** Of anti-affinity: members that one host may have. */
  readonly maxServerPerHost: number;
  /** How many other members hold room on a host, by the host's id; hosts without one are absent. */
  readonly members: ReadonlyMap<string, number>;
}

/** Why a member may not go to this host; null: it may. Soft policies refuse nothing. */
export function groupRefusal(group: GroupView, hostId: string): string | null {
  const there = group.members.get(hostId) ?? 0;
  switch (group.policy) {
    case 'affinity':
      return group.members.size === 0 || there > 0 ? null : 'other members of its group are elsewhere';
    case 'anti-affinity':
      return there < group.maxServerPerHost ? null : 'has as many members of its group as it may';
    case 'soft-affinity':
    case 'soft-anti-affinity':
      return null;
  }
}

/** Where members hold room, as read from placement. */
export interface Holding {
  readonly serverId: string;
  readonly consumer: 'server' | 'migration';
  readonly hostId: string;
}

/** Counts the members per host, as the policy counts them; see the theory above. */
export function membersByHost(policy: GroupPolicy, holdings: readonly Holding[]): ReadonlyMap<string, number> {
  const together = policy === 'affinity' || policy === 'soft-affinity';
  const settled = new Set(holdings.filter((each) => each.consumer === 'server').map((each) => each.serverId));
  const seen = new Set<string>();
  const counts = new Map<string, number>();
  for (const { serverId, consumer, hostId } of holdings) {
    if (together && consumer === 'migration' && settled.has(serverId)) continue;
    if (seen.has(`${serverId} ${hostId}`)) continue;
    seen.add(`${serverId} ${hostId}`);
    counts.set(hostId, (counts.get(hostId) ?? 0) + 1);
  }
  return counts;
}

export const groupNotFound = (id: string): Refusal => notFound(`Instance group ${id} could not be found.`);
/** The same as the answer to a create that names it. */
export const groupHintNotFound = (id: string): Refusal => badRequest(`Instance group ${id} could not be found.`);

/** `max_server_per_host` is a rule of anti-affinity alone. */
export const checkGroupRules = (policy: GroupPolicy, maxServerPerHost: number | null): Refusal | null =>
  maxServerPerHost !== null && policy !== 'anti-affinity'
    ? badRequest('Only anti-affinity policy supports rules.')
    : null;

export const checkGroupQuota = (limits: QuotaLimits, existing: number): Refusal | null =>
  limits.server_groups >= 0 && existing + 1 > limits.server_groups
    ? forbidden('Quota exceeded, too many server groups.')
    : null;

export const checkMemberQuota = (limits: QuotaLimits, existing: number): Refusal | null =>
  limits.server_group_members >= 0 && existing + 1 > limits.server_group_members
    ? forbidden('Quota exceeded, too many servers in group')
    : null;
