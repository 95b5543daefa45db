// The demo's report: what was claimed, what held, and one object per move. Pure.
import type { StepView } from './cloud.ts';

export interface Place {
  readonly cell: string;
  readonly host: string;
}

export interface JournalHead {
  readonly entries: number;
  readonly head: string;
}

export interface MoveReport {
  readonly scene: number;
  readonly server: string;
  readonly serverId: string;
  readonly operation: 'resize' | 'revert';
  readonly mode: 'cold';
  readonly from: Place;
  /** Null when no target was ever chosen. */
  readonly to: Place | null;
  /** `put back`: the move failed and the server is as it was. */
  outcome: 'finished' | 'confirmed' | 'reverted' | 'put back' | 'stuck';
  readonly reason: string | null;
  readonly moveId: string;
  readonly migrationId: string | null;
  readonly requestId: string;
  /** Status of the server as the API showed it, in order. */
  readonly statuses: readonly string[];
  readonly durationMs: number;
  readonly steps: readonly StepReport[];
  /** Steps of the confirmation, when there was one. */
  confirmSteps: readonly StepReport[];
  readonly bytesCopied: number;
  /** How long no process of the guest was seen, from outside; null when it did not run before or after. */
  offMs: number | null;
  /** Longest gap in the guest's own journal across the move; null when it was stopped or has no journal. */
  downtimeMs: number | null;
  /**
   * SHA-256 of the overlay as source and target computed it; equal, or the move would not have gone on. For a revert:
   * of the disk that stayed behind, before its guest went on with it.
   */
  digest: { readonly before: string | null; readonly after: string | null };
  readonly journal: { before: JournalHead | null; after: JournalHead | null; continues: boolean | null };
}

export interface StepReport {
  readonly step: string;
  readonly direction: 'do' | 'undo';
  readonly outcome: string;
  readonly durationMs: number;
  readonly attempts: number;
  readonly note: string | null;
}

export interface ClaimReport {
  readonly scene: number;
  readonly claim: string;
  readonly held: boolean;
  readonly detail: string | null;
}

export interface SceneReport {
  readonly number: number;
  readonly title: string;
  readonly held: boolean;
  readonly durationMs: number;
  readonly error: string | null;
}

/** Boots: of new servers. Guests: of servers that moved. Moves: sagas. Journals: reading them out of disks. */
export type Waited = 'boots' | 'guests' | 'moves' | 'journals';

export interface Report {
  verdict: 'ok' | 'failed';
  lastLine: string;
  hypervisor: 'qemu' | 'simulated';
  startedAt: string;
  durationMs: number;
  /** Where the time went, ms of waiting by what was waited for; the rest is looking, setting up and deleting. */
  readonly waited: Record<Waited, number>;
  scenes: SceneReport[];
  claims: ClaimReport[];
  moves: MoveReport[];
  /** The witness beside the system: see watch.ts. */
  watch: { looks: number; longestPauseMs: number; runs: number; breaches: readonly string[] };
  audit: unknown;
  /** Names of servers whose journal broke or that vanished. */
  lost: string[];
  /** What was left behind, and what the auditor found broken. */
  leaked: string[];
  logs: string;
}

export const SCENES = 6;

export const stepsOf = (steps: readonly StepView[]): StepReport[] =>
  steps.map(({ step, direction, outcome, durationMs, attempts, note }) => ({
    ...{ step, direction, outcome, durationMs, attempts, note },
  }));

/** The demo's last line. `trouble`: why it failed outside of any scene; null otherwise. */
export function lastLine(report: Report, trouble: string | null): { readonly ok: boolean; readonly line: string } {
  const held = report.scenes.filter((scene) => scene.held).length;
  const { lost, leaked, moves } = report;
  const counts = `${moves.length} moves, ${lost.length} lost, ${leaked.length} leaked`;
  const ok = held === SCENES && lost.length === 0 && leaked.length === 0 && trouble === null;
  if (ok) return { ok, line: `demo: ok (${held} of ${SCENES} scenes, ${counts})` };
  const why = trouble === null ? '' : `; ${trouble}`;
  return { ok, line: `demo: FAILED (${held} of ${SCENES} scenes, ${counts}${why})` };
}
