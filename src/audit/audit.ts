// The auditor: the invariants of the whole system, held against a live one.
//
// The system is taken in slices of servers (read/slice.ts), one after the other, so memory does not grow with it. Each
// invariant is a pure function over the snapshot of a slice (snapshot.ts, read by reader.ts). What looks broken is looked
// at again a moment later: only what is still there then is a breach, the rest was on its way. What could not be looked
// at, because a cell or a host is silent, makes an invariant `unknown` with the reason, never `held`. What an open debt
// accounts for is listed as owed and breaks nothing.
// With `repair`, every breach that has a repair is given to repair.ts, which proves it anew; then the slice is looked at
// once more, and what is broken then is what the report says. Repairs are made in rounds, for one may lead to the next.
// Not looked at: the contents of disks (whether their files are there is; their digests are compared at every move), what
// a busy server may hold, and what hosts tell of one guest at a time alone: whether it is paused, and what it has plugged
// in.
import type { Platform } from '../control/platform.ts';
import type { Breach, Invariant } from './invariant.ts';
import { FILES_HAVE_OWNER, FILES_THERE } from './invariants/files.ts';
import { MEMBER_IS_SERVER } from './invariants/groups.ts';
import {
  EXPORT_HAS_OWNER,
  GUEST_AS_RECORDED,
  GUEST_HAS_OWNER,
  KEPT_FOR_REVERT,
  ONE_GUEST,
} from './invariants/guests.ts';
import { MAPPING_AS_RECORDED, ONE_HOME, ONE_RECORD, RECORD_AT_REST } from './invariants/homes.ts';
import { IMAGES_WHOLE } from './invariants/images.ts';
import { ONE_BINDING, PORT_HAS_OWNER } from './invariants/ports.ts';
import { QUOTA_COUNTS_ONCE, ROOM_AS_OWED, ROOM_HAS_OWNER, WITHIN_CAPACITY } from './invariants/room.ts';
import { ENDED_HOLDS_NOTHING, SAGA_HAS_SERVER, TASK_HAS_SAGA } from './invariants/sagas.ts';
import { ONE_SERVER, SNAPSHOTS_AT_REST, STATUS_AS_ATTACHED } from './invariants/volume-status.ts';
import { ACCESS_AS_ATTACHED, ONE_ATTACHMENT, SNAPSHOT_HAS_PLACE, VOLUME_HAS_PLACE } from './invariants/volumes.ts';
import { HOST_IN_CELL, WAY_BACK_WHOLE } from './invariants/way-back.ts';
import { nextSlice, SLICE_ROWS, type Slice } from './read/slice.ts';
import { takeSnapshot } from './reader.ts';
import { type Repaired, repair } from './repair.ts';
import type { Snapshot } from './snapshot.ts';
import {
  type AuditReport,
  addReports,
  finishReport,
  type InvariantReport,
  type Repair,
  reportOf,
  verdictOf,
} from './tally.ts';

export { renderReport } from './report.ts';
export type { AuditReport, InvariantReport, Repair, Verdict } from './tally.ts';

/** Every invariant, in the order of a report. */
export const INVARIANTS: readonly Invariant[] = [
  ONE_HOME,
  ONE_RECORD,
  MAPPING_AS_RECORDED,
  RECORD_AT_REST,
  ONE_GUEST,
  GUEST_AS_RECORDED,
  GUEST_HAS_OWNER,
  EXPORT_HAS_OWNER,
  KEPT_FOR_REVERT,
  WAY_BACK_WHOLE,
  HOST_IN_CELL,
  ROOM_AS_OWED,
  WITHIN_CAPACITY,
  ROOM_HAS_OWNER,
  QUOTA_COUNTS_ONCE,
  ONE_BINDING,
  PORT_HAS_OWNER,
  MEMBER_IS_SERVER,
  ONE_ATTACHMENT,
  ONE_SERVER,
  STATUS_AS_ATTACHED,
  SNAPSHOTS_AT_REST,
  ACCESS_AS_ATTACHED,
  VOLUME_HAS_PLACE,
  SNAPSHOT_HAS_PLACE,
  TASK_HAS_SAGA,
  SAGA_HAS_SERVER,
  ENDED_HOLDS_NOTHING,
  IMAGES_WHOLE,
  FILES_THERE,
  FILES_HAVE_OWNER,
];

export interface AuditOptions {
  /** How long to wait before another look, ms. */
  readonly secondLookMs?: number;
  /** Repair what can be proven. */
  readonly repair?: boolean;
  /** Rows of the largest table in one slice. */
  readonly sliceRows?: number;
}

const SECOND_LOOK_MS = 1500;
/** A repair may bring to light what another can go on with; more than this in a row do not depend on each other. */
const REPAIR_ROUNDS = 3;

/** Looks at everything, twice where needed. @throws when the global database cannot be read */
export async function audit(p: Platform, options: AuditOptions = {}): Promise<AuditReport> {
  const startedAt = p.clock.now();
  let total: AuditReport | null = null;
  for (let after = ''; ; ) {
    const slice = await nextSlice(p.stores.global, after, options.sliceRows ?? SLICE_ROWS);
    const report = await auditSlice(p, slice, options);
    total = total === null ? report : addReports(total, report);
    if (slice.upTo === null) return finishReport(total, startedAt, p.clock.now());
    after = slice.upTo;
  }
}

async function auditSlice(p: Platform, slice: Slice, options: AuditOptions): Promise<AuditReport> {
  const repairs: Repair[] = [];
  let report = await lookTwice(p, slice, options);
  if (!options.repair) return report;
  for (let round = 1; round <= REPAIR_ROUNDS && report.verdict === 'broken'; round += 1) {
    const made = await repairAll(p, report);
    repairs.push(...made);
    if (made.length > 0) report = await lookTwice(p, slice, options);
    if (!made.some((each) => each.repaired)) break;
  }
  return { ...report, repairs: lastOfEach(repairs) };
}

async function lookTwice(p: Platform, slice: Slice, options: AuditOptions): Promise<AuditReport> {
  const first = judge(await takeSnapshot(p, slice));
  if (first.verdict !== 'broken') return first;
  await p.clock.sleep(options.secondLookMs ?? SECOND_LOOK_MS);
  const second = judge(await takeSnapshot(p, slice));
  const still = second.invariants.map((each, index) => {
    const before = new Set(first.invariants[index]?.breaches.map((breach) => breach.what));
    return reportOf(
      each,
      each.breaches.filter((breach) => before.has(breach.what)),
      each.unknown,
    );
  });
  return { ...second, verdict: verdictOf(still), invariants: still };
}

async function repairAll(p: Platform, report: AuditReport): Promise<Repair[]> {
  const made: Repair[] = [];
  for (const { name, breaches } of report.invariants) {
    for (const breach of breaches) {
      if (breach.fix === undefined) continue;
      const came = await repair(p, breach.fix);
      p.log.info({ invariant: name, breach: breach.what, ...came }, 'repair of the audit');
      made.push(repairOf(name, breach, came));
    }
  }
  return made;
}

const repairOf = (invariant: string, { what }: Breach, came: Repaired): Repair => ({
  invariant,
  what,
  repaired: came.kind === 'repaired',
  note: came.kind === 'repaired' ? came.did : came.why,
});

/** What was left in one round and repaired in the next counts as repaired. */
const lastOfEach = (repairs: readonly Repair[]): Repair[] => [
  ...new Map(repairs.map((each) => [`${each.invariant}: ${each.what}`, each])).values(),
];

/** The verdict over one snapshot, taken for what it is. */
export function judge(snapshot: Snapshot): AuditReport {
  const findings = INVARIANTS.map((invariant) => ({ invariant, finding: invariant.check(snapshot) }));
  const invariants = findings.map(
    ({ invariant, finding }): InvariantReport => reportOf(invariant, finding.breaches, finding.unknown),
  );
  const owed = findings.flatMap(({ finding }) => finding.owed ?? []);
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
    owed,
    owedCount: owed.length,
    repairs: [],
  };
}
