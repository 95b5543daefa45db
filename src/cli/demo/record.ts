// Turning what was seen of a move into its object in the report.
import { downtimeMs, type JournalState } from './disks.ts';
import type { Followed } from './follow.ts';
import { cellOf } from './plan.ts';
import { type MoveReport, stepsOf } from './report.ts';
import type { DemoServer } from './servers.ts';
import type { World } from './world.ts';

/** Adds the move to the report; what is found out later is written into the returned object. */
export function recordMove(
  w: World,
  server: DemoServer,
  { move, statuses, askedAt }: Followed,
  operation: 'resize' | 'revert',
): MoveReport {
  // A revert goes from the target of the resize back to its source.
  const [from, to] = operation === 'revert' ? [move.target, move.source] : [move.source, move.target];
  const place = (host: string) => ({ cell: cellOf(host), host });
  const report: MoveReport = {
    scene: w.scene,
    server: server.name,
    serverId: server.id,
    operation,
    mode: 'cold',
    from: place(from?.host ?? '?'),
    to: to === null ? null : place(to.host),
    outcome: move.status === 'stuck' ? 'stuck' : move.status === 'unwound' ? 'put back' : 'finished',
    reason: move.reason,
    moveId: move.id,
    migrationId: move.migrationId,
    requestId: move.requestId,
    statuses,
    durationMs: (move.endedAt ?? move.createdAt) - move.createdAt,
    steps: stepsOf(move.steps),
    confirmSteps: [],
    bytesCopied: move.copiedBytes ?? 0,
    offMs: offMs(w, server, askedAt),
    downtimeMs: null,
    // The hosts compare their digests; the move goes on only when they are equal.
    digest: { before: move.sha256, after: move.sha256 },
    journal: { before: null, after: null, continues: null },
  };
  w.report.moves.push(report);
  return report;
}

/** From the last sight of the run that was there when the move was asked for, to the first of the next one. */
function offMs(w: World, server: DemoServer, askedAt: number): number | null {
  const runs = w.watch.runsOf(server.id);
  const index = runs.findLastIndex((run) => run.firstSeen <= askedAt);
  const [before, after] = [runs[index], runs[index + 1]];
  if (!before || !after || before.lastSeen < askedAt - 1000) return null;
  return after.firstSeen - before.lastSeen;
}

export function recordJournal(report: MoveReport, before: JournalState, after: JournalState, continues: boolean): void {
  report.journal.before = { entries: before.entries, head: before.head };
  report.journal.after = { entries: after.entries, head: after.head };
  report.journal.continues = continues;
  report.downtimeMs = downtimeMs(after, before.entries);
}
