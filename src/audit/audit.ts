// The auditor: the invariants of the whole system, held against a live one.
//
// Each invariant is a pure function over a snapshot (snapshot.ts, read by reader.ts). What looks broken is looked at
// again a moment later: only what is still there then is a breach, the rest was on its way. What could not be looked at,
// because a cell or a host is silent, makes an invariant `unknown` with the reason, never `held`. What an open debt
// accounts for is listed as owed and breaks nothing.
// Not looked at: the contents of disks (their digests are compared at every move), and what a busy server may hold.
import type { Platform } from '../control/platform.ts';
import type { Breach, Finding, Invariant, Owed } from './invariant.ts';
import { GUEST_AS_RECORDED, GUEST_HAS_OWNER, KEPT_FOR_REVERT, ONE_GUEST } from './invariants/guests.ts';
import { ONE_HOME, ONE_RECORD, RECORD_AT_REST } from './invariants/homes.ts';
import { IMAGES_WHOLE } from './invariants/images.ts';
import { ONE_BINDING, PORT_HAS_OWNER } from './invariants/ports.ts';
import { QUOTA_COUNTS_ONCE, ROOM_AS_OWED, ROOM_HAS_OWNER, WITHIN_CAPACITY } from './invariants/room.ts';
import { ENDED_HOLDS_NOTHING, SAGA_HAS_SERVER, TASK_HAS_SAGA } from './invariants/sagas.ts';
import { takeSnapshot } from './reader.ts';
import type { Snapshot } from './snapshot.ts';

export { renderReport } from './report.ts';

/** Every invariant, in the order of a report. */
export const INVARIANTS: readonly Invariant[] = [
  ONE_HOME,
  ONE_RECORD,
  RECORD_AT_REST,
  ONE_GUEST,
  GUEST_AS_RECORDED,
  GUEST_HAS_OWNER,
  KEPT_FOR_REVERT,
  ROOM_AS_OWED,
  WITHIN_CAPACITY,
  ROOM_HAS_OWNER,
  QUOTA_COUNTS_ONCE,
  ONE_BINDING,
  PORT_HAS_OWNER,
  TASK_HAS_SAGA,
  SAGA_HAS_SERVER,
  ENDED_HOLDS_NOTHING,
  IMAGES_WHOLE,
];

export type Verdict = 'held' | 'broken' | 'unknown';

export interface InvariantReport {
  readonly name: string;
  readonly sentence: string;
  readonly held: boolean;
  readonly verdict: Verdict;
  readonly breaches: readonly Breach[];
  /** Why it could not be looked at everywhere. */
  readonly unknown: readonly string[];
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
  readonly owed: readonly Owed[];
}

export interface AuditOptions {
  /** How long to wait before the second look, ms. */
  readonly secondLookMs?: number;
}

const SECOND_LOOK_MS = 1500;

/** Looks at everything, twice where needed. @throws when the global database cannot be read */
export async function audit(p: Platform, options: AuditOptions = {}): Promise<AuditReport> {
  const startedAt = p.clock.now();
  const first = judge(await takeSnapshot(p));
  if (first.verdict !== 'broken') return { ...first, takenAt: startedAt, durationMs: p.clock.now() - startedAt };
  await p.clock.sleep(options.secondLookMs ?? SECOND_LOOK_MS);
  const second = judge(await takeSnapshot(p));
  const still = second.invariants.map((each, index) => {
    const before = new Set(first.invariants[index]?.breaches.map((breach) => breach.what));
    return reportOf(each, { ...each, breaches: each.breaches.filter((breach) => before.has(breach.what)) });
  });
  return {
    ...second,
    verdict: verdictOf(still),
    invariants: still,
    takenAt: startedAt,
    durationMs: p.clock.now() - startedAt,
  };
}

/** The verdict over one snapshot, taken for what it is. */
export function judge(snapshot: Snapshot): AuditReport {
  const findings = INVARIANTS.map((invariant) => ({ invariant, finding: invariant.check(snapshot) }));
  const invariants = findings.map(({ invariant, finding }) => reportOf(invariant, finding));
  return {
    verdict: verdictOf(invariants),
    takenAt: snapshot.startedAt,
    durationMs: snapshot.endedAt - snapshot.startedAt,
    counts: {
      cells: snapshot.cells.length,
      hosts: snapshot.hosts.length,
      servers: snapshot.homes.size,
      guests: snapshot.hosts.reduce((sum, host) => sum + host.guests.length, 0),
      busy: snapshot.busy.size,
    },
    invariants,
    owed: findings.flatMap(({ finding }) => finding.owed ?? []),
  };
}

function reportOf(
  { name, sentence }: { readonly name: string; readonly sentence: string },
  { breaches, unknown }: Finding,
): InvariantReport {
  const verdict: Verdict = breaches.length > 0 ? 'broken' : unknown.length > 0 ? 'unknown' : 'held';
  return { name, sentence, held: verdict === 'held', verdict, breaches, unknown };
}

function verdictOf(invariants: readonly InvariantReport[]): Verdict {
  if (invariants.some((each) => each.verdict === 'broken')) return 'broken';
  return invariants.some((each) => each.verdict === 'unknown') ? 'unknown' : 'held';
}
