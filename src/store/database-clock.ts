// The time of processes that share a PostgreSQL database: the database's. Every process keeps the difference between
// that clock and its own, measured again now and then, so that telling the time costs no statement. Leases do not go by
// it but by the database itself (sagas.ts): a process that stalled has an old idea of the difference.
import { type Kysely, sql } from 'kysely';
import { type Clock, JumpWatch, passed } from '../lib/clock.ts';
import { DATABASE_NOW } from './dialect.ts';
import type { GlobalTables } from './global-schema.ts';

export class DatabaseClock implements Clock {
  readonly #db: Kysely<GlobalTables>;
  readonly #own: Clock;
  #ahead = 0;
  readonly #jumps = new JumpWatch();

  private constructor(db: Kysely<GlobalTables>, own: Clock) {
    this.#db = db;
    this.#own = own;
  }

  /** @param own the machine's clock */
  static async of(db: Kysely<GlobalTables>, own: Clock): Promise<DatabaseClock> {
    const clock = new DatabaseClock(db, own);
    await clock.measure();
    return clock;
  }

  /** Asks the database for its time; the answer is taken to be from the middle of the wait for it. */
  async measure(): Promise<void> {
    const asked = this.#own.now();
    const { rows } = await sql<{ now: number }>`select ${DATABASE_NOW} as now`.execute(this.#db);
    const answered = this.#own.now();
    const [row] = rows;
    if (!row) return;
    this.#ahead = Math.round(row.now - (asked + answered) / 2);
    this.#jumps.tell(this.#ahead, this.now());
  }

  /** Neither the database's clock nor the machine's has jumped since. */
  steadySince(): number {
    const own = this.#own.steadySince?.() ?? 0;
    return Math.max(this.#jumps.steadySince, own === 0 ? 0 : own + this.#ahead);
  }

  now(): number {
    return this.#own.now() + this.#ahead;
  }

  passed(): number {
    return passed(this.#own);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#own.sleep(ms, signal);
  }
}
