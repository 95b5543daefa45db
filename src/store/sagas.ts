// Sagas in SQL. The lease is a time and an owner in the row; the fence comes from the one sequence in `fences`, so it is
// greater than every fence handed out before, to whatever saga. At most one saga per key is active or stuck: a unique
// partial index says so, not the callers' care. Claimers of several processes do not wait for each other's sagas: rows
// that somebody holds are passed over.
import { type Expression, type InsertResult, type Kysely, type Selectable, sql } from 'kysely';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { overtakesItself } from '../saga/decide.ts';
import type { Direction, Entry, NewSaga, Progress, Row, SagaStore, State, Status } from '../saga/types.ts';
import { DatabaseClock } from './database-clock.ts';
import { DATABASE_NOW, forUpdate } from './dialect.ts';
import { fixed } from './fixed.ts';
import type { GlobalTables } from './global-schema.ts';

const OWNER_LENGTH = 255;
/** Written out: SQLite plans a statement anew at each execution if a parameter decides whether an index will do. */
const ACTIVE = sql.lit('active');

export type SagaRecord = Selectable<GlobalTables['sagas']>;

/** The values of a new saga's row; `saga.create` below and whoever creates it together with other rows use them. */
export function newSaga(saga: NewSaga, now: number): SagaRecord {
  return {
    id: saga.id,
    definition: saga.definition.name,
    version: saga.definition.version,
    subject: saga.definition.subject,
    key: saga.key,
    status: 'active',
    direction: 'do',
    cursor: 0,
    attempt: 0,
    back_to: null,
    retries: saga.retries ?? 0,
    wake_at: 0,
    lease_until: 0,
    owner: '',
    fence: 0,
    cancel_requested: 0,
    state_json: JSON.stringify(saga.state),
    progress_json: null,
    journal_json: '[]',
    reason: null,
    request_id: saga.requestId,
    created_at: now,
    ended_at: null,
  };
}

/** Inserts the saga unless its key is taken. Returns whether it did. */
export async function insertSaga(db: Kysely<GlobalTables>, saga: SagaRecord): Promise<boolean> {
  const { numAffectedRows } = await INSERT(db, saga);
  return numAffectedRows === 1n;
}

const INSERT = fixed<GlobalTables, SagaRecord, InsertResult>((db, saga) =>
  db
    .insertInto('sagas')
    .values({
      ...{ id: saga.id, definition: saga.definition, version: saga.version, subject: saga.subject, key: saga.key },
      ...{ status: saga.status, direction: saga.direction, cursor: saga.cursor, attempt: saga.attempt },
      ...{ back_to: saga.back_to, retries: saga.retries, wake_at: saga.wake_at, lease_until: saga.lease_until },
      ...{ owner: saga.owner, fence: saga.fence, cancel_requested: saga.cancel_requested, reason: saga.reason },
      ...{ state_json: saga.state_json, progress_json: saga.progress_json, journal_json: saga.journal_json },
      ...{ request_id: saga.request_id, created_at: saga.created_at, ended_at: saga.ended_at },
    })
    .onConflict((conflict) => conflict.doNothing()),
);

export function sagaOf(record: SagaRecord): Row {
  return {
    id: record.id,
    definition: record.definition,
    version: record.version,
    key: record.key,
    status: record.status as Status,
    direction: record.direction as Direction,
    cursor: record.cursor,
    attempt: record.attempt,
    backTo: record.back_to,
    retries: record.retries,
    wakeAt: record.wake_at,
    leaseUntil: record.lease_until,
    owner: record.owner,
    fence: record.fence,
    cancelRequested: record.cancel_requested === 1,
    state: JSON.parse(record.state_json) as State,
    progress: record.progress_json === null ? null : (JSON.parse(record.progress_json) as Progress),
    journal: JSON.parse(record.journal_json) as Entry[],
    reason: record.reason,
    requestId: record.request_id,
    createdAt: record.created_at,
    endedAt: record.ended_at,
  };
}

/** What was put into words once: a step changes little of its saga's state, and adds one entry to its journal. */
const texts = new WeakMap<object, string>();

function textOf(value: State | Entry): string {
  const text = texts.get(value) ?? JSON.stringify(value);
  texts.set(value, text);
  return text;
}

/** As JSON.stringify has it. */
const journalOf = (journal: readonly Entry[]): string => `[${journal.map(textOf).join()}]`;

/** Values of the statements below: `until` by a clock that is taken at its word, `inMs` from now by the database's own. */
interface Time {
  readonly until: number;
  readonly inMs: number;
}

type ClockKind = 'database' | 'given';

/** What of a row a commit writes, and whose row it must still be. */
type Commit = Time &
  Pick<Row, 'id' | 'owner' | 'fence' | 'status' | 'direction' | 'cursor' | 'attempt' | 'backTo' | 'retries'> &
  Pick<Row, 'wakeAt' | 'reason' | 'endedAt'> & {
    readonly newFence: number;
    /** 1: whoever writes knew of a wish to turn back. */
    readonly knewOfCancel: 0 | 1;
    readonly state: string;
    readonly progress: string | null;
    readonly journal: string;
  };

/** What a claim writes. */
interface Taking extends Time {
  readonly id: string;
  readonly owner: string;
  readonly fence: number;
}

/** The statements that conductors execute all the time. */
function hotStatements(kind: ClockKind) {
  const at = ({ until, inMs }: Time): Expression<number> =>
    kind === 'database' ? sql`${DATABASE_NOW} + ${inMs}` : sql`${until}`;
  const due = (from: Kysely<GlobalTables>, now: Time) =>
    from
      .selectFrom('sagas')
      .select(['id', 'lease_until'])
      .where('status', '=', ACTIVE)
      .where('wake_at', '<=', at(now))
      .where('lease_until', '<=', at(now))
      .orderBy('wake_at')
      .limit(1);
  const write = (db: Kysely<GlobalTables>, c: Commit, leaseUntil: Expression<number> | number) =>
    db
      .updateTable('sagas')
      .set({
        fence: c.newFence,
        status: c.status,
        direction: c.direction,
        cursor: c.cursor,
        attempt: c.attempt,
        back_to: c.backTo,
        retries: c.retries,
        // A wish that has come meanwhile is looked at at once.
        wake_at: sql<number>`case when cancel_requested > ${c.knewOfCancel} then 0 else cast(${c.wakeAt} as bigint) end`,
        state_json: c.state,
        progress_json: c.progress,
        journal_json: c.journal,
        reason: c.reason,
        ended_at: c.endedAt,
        lease_until: leaseUntil,
      })
      .where('id', '=', c.id)
      .where('owner', '=', c.owner)
      .where('fence', '=', c.fence)
      .where('status', '=', ACTIVE)
      .returning(['fence', 'cancel_requested']);
  return {
    take: fixed<GlobalTables, Taking, SagaRecord>((trx, taking) =>
      trx
        .updateTable('sagas')
        .set({ owner: taking.owner, fence: taking.fence, lease_until: at(taking) })
        .where('id', '=', taking.id)
        .returningAll(),
    ),
    due: fixed<GlobalTables, Time, Pick<SagaRecord, 'id' | 'lease_until'>>(due),
    lockDue: fixed<GlobalTables, Time, Pick<SagaRecord, 'id' | 'lease_until'>>((trx, now) =>
      due(trx, now).modifyEnd(forUpdate(trx, false)),
    ),
    /** Commits, and goes on holding the saga. */
    hold: fixed<GlobalTables, Commit, Written>((db, c) => write(db, c, at(c))),
    /** Commits, and lets go of it. */
    letGo: fixed<GlobalTables, Commit, Written>((db, c) => write(db, c, 0)),
  };
}

type Written = Pick<SagaRecord, 'fence' | 'cancel_requested'>;

const HOT = { database: hotStatements('database'), given: hotStatements('given') };

/**
 * `clock`: the clock of leases and wake-ups. A DatabaseClock stands for the database's own, which then is asked in the
 * very statement; any other is taken at its word: processes that share a database file share the machine's.
 */
export function sqlSagaStore(db: Kysely<GlobalTables>, clock: Clock): SagaStore {
  const kind: ClockKind = clock instanceof DatabaseClock ? 'database' : 'given';
  const hot = HOT[kind];
  const after = (ms: number): Time => ({ until: clock.now() + ms, inMs: ms });
  return {
    create: async (saga) => insertSaga(db, newSaga(saga, clock.now())),

    async claim(owner, leaseMs) {
      // Looked at first: most calls find nothing, and need no lock for that.
      if ((await hot.due(db, { ...after(0) })).rows.length === 0) return null;
      return db.transaction().execute(async (trx) => {
        // The sequence first: whoever holds it waits for nobody, so that claims and starts never wait in a circle.
        const fence = await nextFence(trx);
        const [found] = (await hot.lockDue(trx, { ...after(0) })).rows;
        if (!found) return null;
        const [record] = (await hot.take(trx, { id: found.id, owner, fence, ...after(leaseMs) })).rows;
        invariant(record, 'a saga that was due is there');
        return { row: sagaOf(record), takenOver: found.lease_until > 0 };
      });
    },

    async commit(row, patch, leaseMs) {
      const write = async (on: Kysely<GlobalTables>, newFence: number) => {
        const { status, direction, cursor, attempt, backTo, retries, wakeAt, reason, endedAt } = patch;
        const commit = {
          ...{ id: row.id, owner: row.owner, fence: row.fence, newFence, ...after(leaseMs) },
          knewOfCancel: row.cancelRequested ? (1 as const) : (0 as const),
          ...{ status, direction, cursor, attempt, backTo, retries, wakeAt, reason, endedAt },
          state: textOf(patch.state),
          progress: patch.progress === null ? null : JSON.stringify(patch.progress),
          journal: journalOf(patch.journal),
        };
        const { rows } = await (leaseMs === 0 ? hot.letGo : hot.hold)(on, commit);
        return rows[0];
      };
      const record = overtakesItself(row, patch)
        ? await db.transaction().execute(async (trx) => write(trx, await nextFence(trx)))
        : await write(db, row.fence);
      return record ? { ...row, ...patch, fence: record.fence, cancelRequested: record.cancel_requested === 1 } : null;
    },

    async requestCancel(key) {
      const updated = await db
        .updateTable('sagas')
        // One that waits for its next try is due at once: it need not be tried again.
        .set({ cancel_requested: 1, wake_at: 0 })
        .where('key', '=', key)
        .where('status', '=', ACTIVE)
        .executeTakeFirst();
      return updated.numUpdatedRows > 0n;
    },

    async order(row, patch, by) {
      return db.transaction().execute(async (trx) => {
        // A number that nobody gets in the end is harmless: the sequence only has to grow.
        const fence = await nextFence(trx);
        const updated = await trx
          .updateTable('sagas')
          .set((eb) => ({
            status: patch.status,
            direction: patch.direction,
            cursor: patch.cursor,
            attempt: patch.attempt,
            back_to: patch.backTo,
            wake_at: patch.wakeAt,
            progress_json: patch.progress === null ? null : JSON.stringify(patch.progress),
            journal_json: JSON.stringify(patch.journal),
            reason: patch.reason,
            owner: `order/${by}`.slice(0, OWNER_LENGTH),
            fence,
            // A lease that somebody holds has run out now; one that was let go of stays so.
            lease_until: eb.case().when('lease_until', '>', 0).then(1).else(0).end(),
          }))
          .where('id', '=', row.id)
          .where('fence', '=', row.fence)
          .where('status', '=', row.status)
          .where('direction', '=', row.direction)
          .where('cursor', '=', row.cursor)
          .where('attempt', '=', row.attempt)
          // Whatever a step comes to is in the journal: as long as that is the same, nothing has been decided since.
          .where('journal_json', '=', JSON.stringify(row.journal))
          .executeTakeFirst();
        return updated.numUpdatedRows === 1n;
      });
    },

    async nextDue() {
      const next = await db
        .selectFrom('sagas')
        .select((eb) => eb.fn.min<number | null>('wake_at').as('wake_at'))
        .where('status', '=', ACTIVE)
        .executeTakeFirst();
      return next?.wake_at ?? null;
    },
  };
}

/** Of a saga that is not over: nobody begins another with its key. */
export const OPEN_STATUSES = ['active', 'stuck'] as const satisfies readonly Status[];

/** The saga that works on what the key names (a server, a volume), or is stuck there. */
export const openSaga = (db: Kysely<GlobalTables>, key: string): Promise<OpenSaga | undefined> =>
  db
    .selectFrom('sagas')
    .select(['id', 'definition', 'status'])
    .where('key', '=', key)
    .where('status', 'in', OPEN_STATUSES)
    .executeTakeFirst();
export type OpenSaga = Pick<SagaRecord, 'id' | 'definition' | 'status'>;

const NEXT_FENCE = fixed<GlobalTables, Record<string, never>, { value: number }>((db) =>
  db
    .updateTable('fences')
    .set((eb) => ({ value: eb('value', '+', 1) }))
    .where('name', '=', 'saga')
    .returning('value'),
);

/** The next number of the one sequence of generations. */
export async function nextFence(db: Kysely<GlobalTables>): Promise<number> {
  const [next] = (await NEXT_FENCE(db, {})).rows;
  invariant(next, 'the sequence of fences is missing');
  return next.value;
}

/** Voids the leases of a process that is known to be dead, so that its sagas are taken over at once. */
export async function voidLeases(db: Kysely<GlobalTables>): Promise<void> {
  await db
    .updateTable('sagas')
    .set({ lease_until: 1 })
    .where('status', '=', ACTIVE)
    .where('lease_until', '>', 1)
    .execute();
}
