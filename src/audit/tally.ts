// A report, and how the reports of slices add up to one.
//
// Counts are whole; lists are cut at a limit, for a system in which everything is broken must not take all memory either.
import type { Breach, Owed } from './invariant.ts';

export type Verdict = 'held' | 'broken' | 'unknown';

export interface InvariantReport {
  readonly name: string;
  readonly sentence: string;
  readonly held: boolean;
  readonly verdict: Verdict;
  /** The first LISTED of them. */
  readonly breaches: readonly Breach[];
  readonly breachCount: number;
  /** Why it could not be looked at everywhere; each reason once. */
  readonly unknown: readonly string[];
}

/** What became of a breach that `--repair` could have a try at. */
export interface Repair {
  readonly invariant: string;
  readonly what: string;
  readonly repaired: boolean;
  /** What was done; or why nothing was. */
  readonly note: string;
}

export interface AuditReport {
  /** broken if any invariant is; else unknown if any is; else held. */
  readonly verdict: Verdict;
  /** ms since epoch. */
  readonly takenAt: number;
  readonly durationMs: number;
  readonly counts: {
    readonly cells: number;
    readonly hosts: number;
    readonly servers: number;
    readonly guests: number;
    /** Servers that a saga worked on meanwhile. */
    readonly busy: number;
  };
  readonly invariants: readonly InvariantReport[];
  /** The first LISTED of them. */
  readonly owed: readonly Owed[];
  readonly owedCount: number;
  /** Empty unless repairs were asked for. */
  readonly repairs: readonly Repair[];
}

/** Items of one list in a report. */
const LISTED = 1000;

export function reportOf(
  { name, sentence }: { readonly name: string; readonly sentence: string },
  breaches: readonly Breach[],
  unknown: readonly string[],
): InvariantReport {
  const verdict: Verdict = breaches.length > 0 ? 'broken' : unknown.length > 0 ? 'unknown' : 'held';
  return { name, sentence, held: verdict === 'held', verdict, breaches, breachCount: breaches.length, unknown };
}

export function verdictOf(invariants: readonly InvariantReport[]): Verdict {
  if (invariants.some((each) => each.verdict === 'broken')) return 'broken';
  return invariants.some((each) => each.verdict === 'unknown') ? 'unknown' : 'held';
}

/** The reports of two slices as one; cells and hosts are the same in both. */
export function addReports(a: AuditReport, b: AuditReport): AuditReport {
  const invariants = a.invariants.map((each, index) => {
    const other = b.invariants[index];
    return other === undefined ? each : addInvariant(each, other);
  });
  return {
    verdict: verdictOf(invariants),
    takenAt: a.takenAt,
    durationMs: a.durationMs + b.durationMs,
    counts: {
      cells: b.counts.cells,
      hosts: b.counts.hosts,
      servers: a.counts.servers + b.counts.servers,
      guests: a.counts.guests + b.counts.guests,
      busy: a.counts.busy + b.counts.busy,
    },
    invariants,
    owed: listed(a.owed, b.owed),
    owedCount: a.owedCount + b.owedCount,
    repairs: listed(a.repairs, b.repairs),
  };
}

function addInvariant(a: InvariantReport, b: InvariantReport): InvariantReport {
  const unknown = [...new Set([...a.unknown, ...b.unknown])];
  const verdict: Verdict =
    a.verdict === 'broken' || b.verdict === 'broken' ? 'broken' : unknown.length > 0 ? 'unknown' : 'held';
  return {
    ...{ name: a.name, sentence: a.sentence, held: verdict === 'held', verdict },
    breaches: listed(a.breaches, b.breaches),
    breachCount: a.breachCount + b.breachCount,
    unknown,
  };
}

const listed = <T>(a: readonly T[], b: readonly T[]): T[] => [...a, ...b].slice(0, LISTED);

/** As the report of the whole run from `startedAt` to `endedAt`. */
export const finishReport = (report: AuditReport, startedAt: number, endedAt: number): AuditReport => ({
  ...report,
  takenAt: startedAt,
  durationMs: endedAt - startedAt,
  owed: listed(report.owed, []),
  invariants: report.invariants.map((each) => ({ ...each, breaches: listed(each.breaches, []) })),
});
