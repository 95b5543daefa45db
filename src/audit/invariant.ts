// What an invariant is: a sentence about the whole system, and a pure function that finds where it does not hold.
import type { Server } from '../model/types.ts';
import type { ServerRecord, Snapshot } from './snapshot.ts';

export interface Breach {
  /** What is wrong, with ids. The same breach has the same text at every look. */
  readonly what: string;
  /** What most likely led to it. */
  readonly cause: string;
  /** What to do about it. */
  readonly repair: string;
  /** What `--repair` may try: it looks again whether it can be proven. Absent: a person has to decide. */
  readonly fix?: Fix;
}

/** A repair that can be proven right or wrong by looking once more, under the right lock: see repair.ts. */
export type Fix =
  /** A consumer whose server or move is gone, or that holds nothing. */
  | { readonly kind: 'release room'; readonly consumerId: string; readonly serverId: string }
  | { readonly kind: 'drop provider'; readonly providerId: string }
  /** A binding of a port that is attached to nothing, or one that is neither active nor kept for a way back. */
  | { readonly kind: 'unbind port'; readonly portId: string; readonly serverId: string; readonly host: string }
  | { readonly kind: 'delete ports'; readonly serverId: string }
  /** A record, or what belongs to one, in a cell that is not the server's home. */
  | { readonly kind: 'drop records'; readonly cellId: string; readonly serverId: string }
  /** Task, saga and freeze on a record that nothing works on. */
  | { readonly kind: 'let go'; readonly serverId: string }
  /** A migration that nobody will close any more. */
  | { readonly kind: 'close migration'; readonly migrationId: string; readonly serverId: string }
  | { readonly kind: 'destroy guest'; readonly host: string; readonly serverId: string }
  | { readonly kind: 'close export'; readonly host: string; readonly serverId: string }
  /** A member of a server group that is no server. */
  | { readonly kind: 'leave group'; readonly serverId: string }
  /** A volume whose status is not what its attachments say. */
  | { readonly kind: 'settle status'; readonly volumeId: string }
  /** All attachments of a volume to a server that is gone. */
  | {
      readonly kind: 'release volume';
      readonly volumeId: string;
      readonly serverId: string;
      readonly storageHost: string;
    }
  /** An access to a volume that no active attachment says. */
  | {
      readonly kind: 'revoke access';
      readonly volumeId: string;
      readonly serverId: string;
      readonly storageHost: string;
      readonly attachmentId: string;
    };

/** What would be a breach if an open debt did not account for it. */
export interface Owed {
  readonly what: string;
  readonly reason: string;
  /** ms since epoch. */
  readonly since: number;
}

export interface Finding {
  readonly breaches: readonly Breach[];
  /** Why this could not be looked at everywhere; empty: it was. */
  readonly unknown: readonly string[];
  readonly owed?: readonly Owed[];
}

export interface Invariant {
  readonly name: string;
  readonly sentence: string;
  check(snapshot: Snapshot): Finding;
}

/** One sentence for each cell that could not be read. */
export const silentCells = (s: Snapshot): string[] =>
  s.cells.flatMap((cell) => (cell.unreachable === null ? [] : [`cell ${cell.name}: ${cell.unreachable}`]));

/** One sentence for each host that did not answer. */
export const silentHosts = (s: Snapshot): string[] =>
  s.hosts.flatMap((host) => (host.unreachable === null ? [] : [`host ${host.name}: ${host.unreachable}`]));

/** The records that count: each server's in its home, as far as that could be read. */
export function homeRecords(s: Snapshot): Map<string, ServerRecord> {
  const records = new Map<string, ServerRecord>();
  for (const cell of s.cells) {
    for (const record of cell.records) {
      if (s.homes.get(record.server.id)?.cellId === cell.id) records.set(record.server.id, record);
    }
  }
  return records;
}

/** Servers that no saga works on, with their records. */
export const idleServers = (s: Snapshot): Server[] =>
  [...homeRecords(s).values()].map((record) => record.server).filter((server) => !s.busy.has(server.id));

/** The finished move that an idle server waits to have confirmed. */
export function waitingMoves(s: Snapshot): Map<string, Snapshot['migrations'][number]> {
  return new Map(
    s.migrations.filter((each) => each.status === 'finished').map((migration) => [migration.serverId, migration]),
  );
}
