// How a simulated process reaches a database that others use too: Kysely over the database's one real connection.
//
// Theory of operation. Who has the turn runs a transaction or one statement; the others wait. Before it gets its turn and
// after it has let go a process passes its gate, where it may never go on. A statement takes no time, so only a
// transaction is ever waited for. Kysely's own way to a connection knows nothing of that and waits a dozen times for
// what is there, which takes longer than most statements: statements go past it.
import {
  CompiledQuery,
  type ConnectionProvider,
  DefaultConnectionProvider,
  DefaultQueryExecutor,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
} from 'kysely';
import { type SqliteConnection, sqliteDialect } from '../store/database.ts';

/** Where a process may be stopped. Resolves when it may go on: never, when it is dead; null: it need not wait. */
export type Gate = () => Promise<void> | null;

/** Whose turn it is at a database: nobody's, or a transaction's. */
export class Turns {
  #taken: PromiseWithResolvers<void> | null = null;

  /** Null: nobody has to be waited for. After the wait somebody else may have been quicker: ask again. */
  wait(): Promise<void> | null {
    return this.#taken?.promise ?? null;
  }

  take(): void {
    this.#taken = Promise.withResolvers();
  }

  release(): void {
    this.#taken?.resolve();
    this.#taken = null;
  }
}

export interface Reached {
  readonly connection: SqliteConnection;
  readonly turns: Turns;
  readonly gate: Gate;
  /** @throws when the database cannot be reached now */
  readonly check: () => void;
}

/** Savepoints: what a world writes lies inside a transaction that is rolled back with it. */
const BEGIN = CompiledQuery.raw('savepoint work');
const COMMIT = CompiledQuery.raw('release work');
const ROLLBACK = CompiledQuery.raw('rollback to work');

export function connected<Tables>(reached: Reached): Kysely<Tables> {
  const { connection, turns, gate, check } = reached;
  const run = async (command: CompiledQuery): Promise<void> => void (await connection.executeQuery(command));
  const driver: Driver = {
    init: async () => undefined,
    acquireConnection: async () => {
      await gate();
      check();
      for (let wait = turns.wait(); wait !== null; wait = turns.wait()) await wait;
      turns.take();
      return connection;
    },
    releaseConnection: async () => {
      turns.release();
      await gate();
    },
    beginTransaction: () => run(BEGIN),
    commitTransaction: () => run(COMMIT),
    // Two commands: of one text with both, only the first would be prepared, and each savepoint that stays makes all
    // that follows slower.
    rollbackTransaction: async () => {
      await run(ROLLBACK);
      await run(COMMIT);
    },
    destroy: async () => undefined,
  };
  const dialect = sqliteDialect(driver);
  const executor = new SingleStatements(reached, dialect, driver);
  return new Kysely<Tables>({ config: { dialect }, dialect, driver, executor });
}

class SingleStatements extends DefaultQueryExecutor {
  readonly #reached: Reached;
  readonly #dialect: Dialect;

  constructor(reached: Reached, dialect: Dialect, driver: Driver) {
    super(dialect.createQueryCompiler(), dialect.createAdapter(), new DefaultConnectionProvider(driver));
    this.#reached = reached;
    this.#dialect = dialect;
  }

  override async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const { connection, turns, gate, check } = this.#reached;
    const before = gate();
    if (before !== null) await before;
    check();
    for (let wait = turns.wait(); wait !== null; wait = turns.wait()) await wait;
    try {
      return await connection.executeQuery<R>(query);
    } finally {
      const after = gate();
      if (after !== null) await after;
    }
  }

  override withConnectionProvider(provider: ConnectionProvider): DefaultQueryExecutor {
    return new InTransaction(this.#reached.connection, this.#dialect, provider);
  }
}

/** Whose turn it is until the transaction ends. */
class InTransaction extends DefaultQueryExecutor {
  readonly #connection: SqliteConnection;

  constructor(connection: SqliteConnection, dialect: Dialect, provider: ConnectionProvider) {
    super(dialect.createQueryCompiler(), dialect.createAdapter(), provider);
    this.#connection = connection;
  }

  override executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#connection.executeQuery<R>(query);
  }

  override withConnectionProvider(): DefaultQueryExecutor {
    return this;
  }
}
