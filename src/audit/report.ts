// The auditor's report as text.
import type { AuditReport, InvariantReport } from './tally.ts';

const MARK = { held: 'held', broken: 'BROKEN', unknown: 'unknown' } as const;
/** Breaches of one invariant that are written out. */
const SHOWN = 20;
/** Silent hosts and cells that are written out under each invariant they concern. */
const SILENT_SHOWN = 5;

/** One line per invariant, each breach with cause and repair below it; ends with the verdict and a newline. */
export function renderReport(report: AuditReport): string {
  const { counts, invariants, owed, owedCount, repairs } = report;
  const done = repairs.filter((each) => each.repaired);
  const left = repairs.filter((each) => !each.repaired);
  const width = Math.max(...invariants.map((each) => each.name.length));
  const broken = invariants.filter((each) => each.verdict === 'broken').length;
  const unknown = invariants.filter((each) => each.verdict === 'unknown').length;
  const lines = [
    `servers: ${counts.servers} (busy: ${counts.busy}), guests: ${counts.guests}, hosts: ${counts.hosts}, cells: ${counts.cells}`,
    '',
    ...invariants.flatMap((each) => linesOf(each, width)),
    ...(owed.length > 0 ? ['', 'owed, until it can be done:'] : []),
    ...owed.map((debt) => `  ${debt.what}: ${debt.reason}, since ${new Date(debt.since).toISOString()}`),
    ...(owedCount > owed.length ? [`  and ${owedCount - owed.length} more`] : []),
    ...(done.length > 0 ? ['', 'repaired:'] : []),
    ...done.map((each) => `  ${each.what}: ${each.note}`),
    ...(left.length > 0 ? ['', 'left as it was, because it could not be proven:'] : []),
    ...left.map((each) => `  ${each.what}: ${each.note}`),
    '',
    `audit: ${MARK[report.verdict]} (${invariants.length - broken - unknown} of ${invariants.length} invariants held, ${broken} broken, ${unknown} unknown)`,
  ];
  return `${lines.join('\n')}\n`;
}

function linesOf(
  { name, sentence, verdict, breaches, breachCount, unknown }: InvariantReport,
  width: number,
): string[] {
  return [
    `${MARK[verdict].padEnd(8)} ${name.padEnd(width)}  ${sentence}`,
    ...breaches
      .slice(0, SHOWN)
      .flatMap(({ what, cause, repair }) => [
        `         - ${what}`,
        `           likely cause: ${cause}`,
        `           repair: ${repair}`,
      ]),
    ...(breachCount > SHOWN ? [`         - and ${breachCount - SHOWN} more`] : []),
    ...unknown.slice(0, SILENT_SHOWN).map((reason) => `         ? not looked at: ${reason}`),
    ...(unknown.length > SILENT_SHOWN ? [`         ? and ${unknown.length - SILENT_SHOWN} more`] : []),
  ];
}
