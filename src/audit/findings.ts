// A report as one flat list, for pages, and back again.
import type { AuditReport, InvariantReport } from './tally.ts';

/** Everything in a report that is not a count, one by one. Fields that a kind does not have are null. */
export interface FindingView {
  readonly kind: 'breach' | 'unknown' | 'owed' | 'repaired' | 'left';
  readonly invariant: string | null;
  /** What is wrong, owed or was repaired; of `unknown` why it could not be looked at. */
  readonly what: string;
  readonly cause: string | null;
  /** What to do (breach), why it is owed, what was done (repaired), why nothing was (left). */
  readonly note: string | null;
  /** ms since epoch (owed). */
  readonly since: number | null;
}

export interface Summary extends Pick<AuditReport, 'verdict' | 'takenAt' | 'durationMs' | 'counts' | 'owedCount'> {
  readonly invariants: readonly Pick<InvariantReport, 'name' | 'sentence' | 'verdict' | 'breachCount'>[];
}

export const summaryOf = (report: AuditReport): Summary => ({
  verdict: report.verdict,
  takenAt: report.takenAt,
  durationMs: report.durationMs,
  counts: report.counts,
  owedCount: report.owedCount,
  invariants: report.invariants.map(({ name, sentence, verdict, breachCount }) => ({
    ...{ name, sentence, verdict, breachCount },
  })),
});

const NONE = { invariant: null, cause: null, note: null, since: null };

export function findingsOf(report: AuditReport): FindingView[] {
  return [
    ...report.invariants.flatMap(({ name: invariant, breaches, unknown }): FindingView[] => [
      ...breaches.map(({ what, cause, repair }) => ({
        ...NONE,
        ...({ kind: 'breach', invariant, what, cause, note: repair } as const),
      })),
      ...unknown.map((what) => ({ ...NONE, kind: 'unknown', invariant, what }) as const),
    ]),
    ...report.owed.map(({ what, reason, since }) => ({ ...NONE, kind: 'owed', what, note: reason, since }) as const),
    ...report.repairs.map(
      ({ invariant, what, repaired, note }) =>
        ({ ...NONE, kind: repaired ? 'repaired' : 'left', invariant, what, note }) as const,
    ),
  ];
}

/** The report that a summary and all of its findings stand for. */
export function reportFrom(summary: Summary, findings: readonly FindingView[]): AuditReport {
  const of = (kind: FindingView['kind'], invariant?: string): FindingView[] =>
    findings.filter((each) => each.kind === kind && (invariant === undefined || each.invariant === invariant));
  return {
    ...summary,
    invariants: summary.invariants.map((each) => ({
      ...each,
      held: each.verdict === 'held',
      breaches: of('breach', each.name).map(({ what, cause, note }) => ({
        ...{ what, cause: cause ?? '', repair: note ?? '' },
      })),
      unknown: of('unknown', each.name).map(({ what }) => what),
    })),
    owed: of('owed').map(({ what, note, since }) => ({ what, reason: note ?? '', since: since ?? 0 })),
    repairs: findings
      .filter(({ kind }) => kind === 'repaired' || kind === 'left')
      .map(({ kind, invariant, what, note }) => ({
        ...{ invariant: invariant ?? '', what, repaired: kind === 'repaired', note: note ?? '' },
      })),
  };
}
