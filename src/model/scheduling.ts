// Choosing a host: filter, weigh, order. Pure and deterministic.
//
// Theory of operation. Hosts that pass every filter are ordered by weight, then by name; the first is chosen, the others
// are the alternates, tried in turn when the chosen one cannot take the server after all. The outcome depends on the set
// of hosts, not on their order. It is advice: only the claim on the provider, made under its generation, decides whether
// there was room. When no host passes, the counts per filter say why, in a sentence for the instance action.
// Not handled: instance counts and I/O load as weights.
import type { FilterName, HostFilter } from './filters.ts';
import { compileFilters } from './filters.ts';
import type { HostState, ScheduleRequest } from './hosts.ts';
import type { WeightMultipliers } from './weighers.ts';
import { DEFAULT_MULTIPLIERS, weigh } from './weighers.ts';

/** How many hosts one filter eliminated, and the commonest reasons it gave. */
export interface Elimination {
  readonly filter: FilterName;
  readonly hosts: number;
  /** Reason → hosts; at most MAX_REASONS of them, the commonest first. */
  readonly reasons: readonly { readonly reason: string; readonly hosts: number }[];
}

export interface WeighedHost {
  readonly host: HostState;
  readonly weight: number;
}

export type ScheduleResult =
  | {
      readonly kind: 'selected';
      readonly chosen: WeighedHost;
      /** All that passed, best first: the chosen host, then its alternates. */
      readonly hosts: readonly WeighedHost[];
      readonly eliminated: readonly Elimination[];
    }
  | {
      readonly kind: 'none';
      readonly eliminated: readonly Elimination[];
      /** One sentence: Nova's, and the counts. */
      readonly reason: string;
    };

/** Reasons listed per filter. */
const MAX_REASONS = 5;

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function summarise(filter: FilterName, counts: ReadonlyMap<string, number>): Elimination {
  const reasons = [...counts]
    .map(([reason, hosts]) => ({ reason, hosts }))
    .sort((a, b) => b.hosts - a.hosts || byText(a.reason, b.reason));
  return { filter, hosts: reasons.reduce((sum, { hosts }) => sum + hosts, 0), reasons: reasons.slice(0, MAX_REASONS) };
}

function explain(hosts: number, eliminated: readonly Elimination[]): string {
  const details = eliminated.map(
    ({ filter, hosts: count, reasons }) =>
      `${filter} ${count} (${reasons.map((r) => `${r.reason}: ${r.hosts}`).join('; ')})`,
  );
  const asked = `Of ${hosts} host${hosts === 1 ? '' : 's'}`;
  return (
    'No valid host was found. There are not enough hosts available. ' +
    (hosts === 0 ? 'There is no host at all.' : `${asked}, eliminated by: ${details.join(', ')}.`)
  );
}

/** Chooses among `hosts` for `request`; see the theory above. Costs O(n log n) in the number of hosts. */
export function schedule(
  request: ScheduleRequest,
  hosts: readonly HostState[],
  multipliers: WeightMultipliers = DEFAULT_MULTIPLIERS,
): ScheduleResult {
  const filters = compileFilters(request);
  const tallies = new Map<HostFilter, Map<string, number>>();
  const passed = hosts.filter((host) => {
    for (const filter of filters) {
      const reason = filter.refuse(host);
      if (reason === null) continue;
      const tally = tallies.get(filter) ?? new Map<string, number>();
      tallies.set(filter, tally.set(reason, (tally.get(reason) ?? 0) + 1));
      return false;
    }
    return true;
  });
  const eliminated = filters.flatMap((filter) => {
    const tally = tallies.get(filter);
    return tally === undefined ? [] : [summarise(filter.name, tally)];
  });
  const weights = weigh(passed, request, multipliers);
  const ordered = passed.map((host, index): WeighedHost => ({ host, weight: weights[index] ?? 0 }));
  ordered.sort(
    (a, b) => b.weight - a.weight || byText(a.host.hostName, b.host.hostName) || byText(a.host.hostId, b.host.hostId),
  );
  const [chosen] = ordered;
  if (chosen === undefined) return { kind: 'none', eliminated, reason: explain(hosts.length, eliminated) };
  return { kind: 'selected', chosen, hosts: ordered, eliminated };
}
