// Moves as operators see them: the migration, its saga's steps with times, and how far a copy has come.
import type { Platform } from '../control/platform.ts';
import type { Entry, Progress, Row } from '../saga/types.ts';
import { sagaOf } from '../store/sagas.ts';
import { findDefinition } from './registry.ts';

export interface StepView {
  readonly step: string;
  readonly direction: 'do' | 'undo';
  readonly outcome: Entry['outcome'] | 'running';
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly durationMs: number;
  readonly attempts: number;
  readonly note: string | null;
  /** Of an operator's order: who gave it. */
  readonly by: string | null;
}

export interface MoveView {
  /** The saga's id. */
  readonly id: string;
  readonly move: string;
  readonly serverId: string;
  readonly requestId: string;
  readonly status: string;
  readonly direction: string;
  readonly step: string | null;
  readonly reason: string | null;
  readonly migrationId: string | null;
  readonly source: { readonly host: string; readonly cellId: string } | null;
  readonly target: { readonly host: string; readonly cellId: string } | null;
  readonly progress: Progress | null;
  readonly copiedBytes: number | null;
  readonly sha256: string | null;
  readonly steps: readonly StepView[];
  readonly createdAt: number;
  readonly endedAt: number | null;
}

export interface MoveFilter {
  readonly serverId?: string;
  readonly status?: string;
  readonly limit: number;
  /** Id of the last move of the page before. */
  readonly marker?: string;
}

/** Sagas, newest first. */
export async function listMoves(p: Platform, filter: MoveFilter): Promise<MoveView[]> {
  let query = p.stores.global
    .selectFrom('sagas')
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(filter.limit);
  if (filter.serverId !== undefined) query = query.where('key', '=', filter.serverId);
  if (filter.status !== undefined) query = query.where('status', '=', filter.status);
  if (filter.marker !== undefined) {
    const last = await p.stores.global
      .selectFrom('sagas')
      .select(['created_at', 'id'])
      .where('id', '=', filter.marker)
      .executeTakeFirst();
    if (last) {
      query = query.where((eb) =>
        eb.or([
          eb('created_at', '<', last.created_at),
          eb.and([eb('created_at', '=', last.created_at), eb('id', '>', last.id)]),
        ]),
      );
    }
  }
  return (await query.execute()).map((record) => viewOf(sagaOf(record)));
}

/** One saga, by its own id or by that of the migration it works on (then the latest). */
export async function showMove(p: Platform, id: string): Promise<MoveView | null> {
  const row = await findSaga(p, id);
  return row ? viewOf(row) : null;
}

/** The same, as the saga core knows it. */
export async function findSaga(p: Platform, id: string): Promise<Row | null> {
  const saga = await p.stores.global.selectFrom('sagas').selectAll().where('id', '=', id).executeTakeFirst();
  if (saga) return sagaOf(saga);
  const byMigration = await p.stores.global
    .selectFrom('migrations')
    .innerJoin('sagas', 'sagas.id', 'migrations.saga_id')
    .selectAll('sagas')
    .where('migrations.uuid', '=', id)
    .executeTakeFirst();
  return byMigration ? sagaOf(byMigration) : null;
}

function viewOf(row: Row): MoveView {
  const state = row.state as Partial<{
    migrationId: string;
    source: Partial<{ host: string; cellId: string }>;
    target: Partial<{ host: string; cellId: string }>;
    tried: readonly { host: string; cellId: string }[];
    copiedBytes: number;
    sha256: string;
  }>;
  const running =
    row.status === 'active' ? (findDefinition(row.definition, row.version)?.steps[row.cursor]?.name ?? null) : null;
  return {
    id: row.id,
    move: row.definition,
    serverId: row.key,
    requestId: row.requestId,
    status: row.status,
    direction: row.direction,
    step: running,
    reason: row.reason,
    migrationId: state.migrationId ?? null,
    source: placeIn(state.source),
    // One that turned back without a target shows the last that it tried.
    target: placeIn(state.target ?? state.tried?.at(-1)),
    progress: row.progress,
    copiedBytes: state.copiedBytes ?? null,
    sha256: state.sha256 ?? null,
    steps: [...stepsOf(row.createdAt, row.journal), ...runningStep(row, running)],
    createdAt: row.createdAt,
    endedAt: row.endedAt,
  };
}

/** Null: none, or (the source of a volume's content) no place. */
function placeIn(place: Partial<{ host: string; cellId: string }> | undefined): MoveView['source'] {
  const { host, cellId } = place ?? {};
  return host === undefined || cellId === undefined ? null : { host, cellId };
}

/** A step starts when the one before has ended. */
function stepsOf(createdAt: number, journal: readonly Entry[]): StepView[] {
  let before = createdAt;
  return journal.map((entry) => {
    const view: StepView = {
      step: entry.step,
      direction: entry.direction,
      outcome: entry.outcome,
      startedAt: before,
      endedAt: entry.at,
      durationMs: entry.at - before,
      attempts: entry.attempts,
      note: entry.note ?? null,
      by: entry.by ?? null,
    };
    before = entry.at;
    return view;
  });
}

function runningStep(row: Row, step: string | null): StepView[] {
  if (step === null) return [];
  const startedAt = row.journal.at(-1)?.at ?? row.createdAt;
  return [
    {
      step,
      direction: row.direction,
      outcome: 'running',
      startedAt,
      endedAt: null,
      durationMs: 0,
      attempts: row.attempt + 1,
      note: null,
      by: null,
    },
  ];
}
