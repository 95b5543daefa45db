// The stores on PostgreSQL keep the contract that those on SQLite keep; and what only a server can do to them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { type Clock, systemClock } from '../lib/clock.ts';
import { definition, patchOf, testSagaStore } from '../saga/test-support.ts';
import { DatabaseDown } from './database.ts';
import { DatabaseClock } from './database-clock.ts';
import { atomically, exclusively } from './dialect.ts';
import type { GlobalTables } from './global-schema.ts';
import { GLOBAL_MIGRATIONS } from './migrations.ts';
import { openPostgres } from './postgres.ts';
import { insertSaga, newSaga, nextFence, sqlSagaStore } from './sagas.ts';
import { CellDown, openStores, type Stores, type StoresAt } from './stores.ts';
import { startPostgres, type TestPostgres } from './test-postgres.ts';
import { claimAll } from './test-support.ts';
import { TRAVEL } from './travel.ts';

const server = await startPostgres();
if (server.kind === 'unavailable') test('PostgreSQL', { skip: server.reason }, () => undefined);
else {
  after(() => server.stop());
  testsOn(server);
}

const D = definition(['a'], 0);
const START = { definition: D, state: {}, requestId: 'r' };

function testsOn(server: TestPostgres): void {
  testSagaStore('postgres', async (clock) => {
    const stores = await openStores(await server.stores([]));
    return { store: sqlSagaStore(stores.global, clock), close: stores.close };
  });

  const opening = (name: string, body: (open: () => Promise<Stores>, at: Postgres) => Promise<void>) =>
    test(name, async () => {
      const at = await server.stores(['c1']);
      assert(at.kind === 'postgres');
      const opened: Stores[] = [];
      try {
        await body(async () => {
          const stores = await openStores(at);
          opened.push(stores);
          return stores;
        }, at);
      } finally {
        for (const stores of opened) await stores.close();
      }
    });

  opening('several processes that open a new database at once make its tables once', async (open) => {
    const all = await Promise.all([open(), open(), open()]);
    for (const { global } of all) assert.deepEqual(await global.selectFrom('sagas').selectAll().execute(), []);
  });

  opening(
    'a server that does not answer any more is down, within the limit, also inside a transaction',
    async (_, at) => {
      const { port, hostname } = new URL(at.global);
      let frozen = false;
      const proxy = createServer((client) => {
        const behind = connect(Number(port), hostname);
        for (const socket of [client, behind]) socket.on('error', () => undefined);
        client.on('data', (data) => frozen || behind.write(data));
        behind.on('data', (data) => frozen || client.write(data));
        client.on('close', () => behind.destroy());
      });
      await once(proxy.listen(0, '127.0.0.1'), 'listening');
      const url = new URL(at.global);
      url.port = String((proxy.address() as AddressInfo).port);
      const database = await openPostgres<GlobalTables>(url.href, GLOBAL_MIGRATIONS, {
        ...{ connections: 1, answerTimeoutMs: 300 },
      });
      const { db } = database;
      const ask = (on: Kysely<GlobalTables>) => on.selectFrom('sagas').selectAll().execute();
      const inTransaction = db.transaction().execute(async (trx) => {
        await ask(trx);
        frozen = true;
        return ask(trx);
      });
      await assert.rejects(inTransaction, DatabaseDown);
      frozen = false;
      assert.deepEqual(await ask(db), [], 'on a connection of its own');
      await database.close();
      proxy.close();
    },
  );

  opening('a database of a newer program is refused', async (open, at) => {
    await open();
    await assert.rejects(
      openPostgres(at.global, GLOBAL_MIGRATIONS.slice(0, -1), { connections: 1 }),
      /this program knows \d+: use a newer crosscell/,
    );
  });

  opening('both databases have the same tables and columns', async (open) => {
    const files = await openStores(':memory:');
    const servers = await open();
    const columns = async ({ global }: Stores, query: string) => {
      const { rows } = await sql.raw<{ name: string }>(query).execute(global);
      return rows.map((row) => row.name).sort();
    };
    const onServers = await columns(
      servers,
      `select table_name || '.' || column_name as name from information_schema.columns where table_schema = 'public'`,
    );
    const onFiles = await columns(
      files,
      `select m.name || '.' || c.name as name from sqlite_master m, pragma_table_info(m.name) c
       where m.type = 'table' and m.name <> 'sqlite_sequence'`,
    );
    assert.deepEqual(onServers, onFiles);
    await files.close();
    const cell = await servers.cell('c1');
    const { rows } = await sql<{ name: string }>`select distinct table_name as name from information_schema.columns
      where table_schema = 'public' and table_name <> 'schema_migrations'`.execute(cell);
    assert.deepEqual(rows.map((row) => row.name).sort(), Object.keys(TRAVEL).sort());
  });

  opening('nothing is in an empty list, and everything is outside of it, as on SQLite', async (open) => {
    const files = await openStores(':memory:');
    for (const { global } of [await open(), files]) {
      await insertSaga(global, newSaga({ ...START, id: 's', key: 'k' }, 1));
      const ids = global.selectFrom('sagas').select('id');
      assert.deepEqual(await ids.where('id', 'in', []).execute(), []);
      const all = await ids.where('id', 'not in', []).execute();
      assert.deepEqual(
        all.map(({ id }) => id),
        ['s'],
      );
    }
    await files.close();
  });

  opening('numbers come back as numbers, sums and counts too', async (open) => {
    const { global } = await open();
    await insertSaga(global, newSaga({ ...START, id: 's', key: 'k' }, 1_800_000_000_001));
    const row = await global.selectFrom('sagas').select(['created_at', 'cursor']).executeTakeFirstOrThrow();
    assert.deepEqual(row, { created_at: 1_800_000_000_001, cursor: 0 });
    const sums = await global
      .selectFrom('sagas')
      .select((eb) => [eb.fn.sum('created_at').as('sum'), eb.fn.countAll().as('n')])
      .executeTakeFirstOrThrow();
    assert.deepEqual(sums, { sum: 1_800_000_000_001, n: 1 });
  });

  opening('of several threads that claim, each saga goes to one', async (open, at) => {
    const stores = await open();
    const store = sqlSagaStore(stores.global, systemClock);
    for (let n = 0; n < 60; n += 1) await store.create({ ...START, id: `s${n}`, key: `k${n}` });
    const claims = await Promise.all(['a', 'b', 'c'].map((owner) => claimAll(at.global, owner)));
    const all = claims.flat();
    assert.equal(all.length, 60);
    assert.equal(new Set(all).size, 60);
    const fences = await stores.global.selectFrom('sagas').select('fence').execute();
    assert.equal(new Set(fences.map((row) => row.fence)).size, 60);
  });

  opening('a row that somebody holds is passed over, not waited for', async (open) => {
    const [holder, claimer] = [await open(), await open()];
    const store = sqlSagaStore(claimer.global, systemClock);
    for (const id of ['held', 'free']) await store.create({ ...START, id, key: id });
    await holder.global.transaction().execute(async (trx) => {
      await trx.updateTable('sagas').set({ reason: 'held' }).where('id', '=', 'held').execute();
      assert.equal((await store.claim('x', 60_000))?.row.id, 'free');
      assert.equal(await store.claim('x', 60_000), null);
    });
    assert.equal((await store.claim('x', 60_000))?.row.id, 'held');
  });

  opening('fences are one growing sequence for everybody, in the order of the commits', async (open) => {
    const [one, two] = [await open(), await open()];
    const order: number[] = [];
    const take = ({ global }: Stores) =>
      global.transaction().execute(async (trx) => {
        const fence = await nextFence(trx);
        order.push(fence);
        return fence;
      });
    const fences = await Promise.all(Array.from({ length: 20 }, (_, n) => take(n % 2 === 0 ? one : two)));
    assert.equal(new Set(fences).size, 20);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
  });

  opening('leases go by the clock of the database, whatever the machine says', async (open) => {
    const [one, two] = [await open(), await open()];
    const wrong = (ms: number): Clock => ({ ...systemClock, now: () => Date.now() + ms });
    const early = await DatabaseClock.of(one.global, wrong(-3_600_000));
    const late = await DatabaseClock.of(two.global, wrong(3_600_000));
    assert.ok(Math.abs(early.now() - late.now()) < 1000, `${early.now() - late.now()} ms apart`);
    const [a, b] = [sqlSagaStore(one.global, early), sqlSagaStore(two.global, late)];
    await a.create({ ...START, id: 's', key: 'k' });
    const held = await a.claim('a', 60_000);
    assert(held);
    assert.equal(await b.claim('b', 60_000), null);
    assert(await a.commit(held.row, { ...patchOf(held.row), wakeAt: early.now() + 60_000 }, 0));
    assert.equal(await b.claim('b', 60_000), null);
  });

  opening('one lease runs out in real time', async (open) => {
    const stores = await open();
    const store = sqlSagaStore(stores.global, await DatabaseClock.of(stores.global, systemClock));
    await store.create({ ...START, id: 's', key: 'k' });
    assert(await store.claim('a', 300));
    assert.equal(await store.claim('b', 300), null);
    const giveUp = performance.now() + 5_000;
    let taken = await store.claim('b', 300);
    while (taken === null && performance.now() < giveUp) taken = await store.claim('b', 300);
    assert.equal(taken?.takenOver, true);
  });

  opening('who asks for the same name waits, others do not', async (open) => {
    const stores = await open();
    const order: string[] = [];
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
    const first = atomically(stores.global, async (trx) => {
      await exclusively(trx, 'a');
      begin();
      await mayEnd;
      order.push('first');
    });
    await begun;
    const second = atomically(stores.global, async (trx) => {
      await exclusively(trx, 'a');
      order.push('second');
    });
    await atomically(stores.global, async (trx) => {
      await exclusively(trx, 'b');
      order.push('other');
    });
    end();
    await Promise.all([first, second]);
    assert.deepEqual(order, ['other', 'first', 'second']);
  });

  opening('who stalls inside a transaction loses it, and its locks', async (open) => {
    const [stalled, other] = [await open(), await open()];
    const { promise: holds, resolve: hold } = Promise.withResolvers<void>();
    const { promise: done, resolve: wake } = Promise.withResolvers<void>();
    const stalling = stalled.global.transaction().execute(async (trx) => {
      await nextFence(trx);
      hold();
      await done;
      await nextFence(trx);
    });
    await holds;
    assert.equal(await nextFence(other.global), 1);
    wake();
    await assert.rejects(stalling, DatabaseDown);
  });

  opening('of two that wait for each other one goes on, and the other is told to try again', async (open) => {
    const stores = await open();
    const [first, second] = ['first', 'second'];
    const held = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const crossing = (mine: string, theirs: string, index: number) =>
      stores.global.transaction().execute(async (trx) => {
        await exclusively(trx, mine);
        held[index]?.resolve();
        await held[1 - index]?.promise;
        await exclusively(trx, theirs);
      });
    const ends = await Promise.allSettled([crossing(first, second, 0), crossing(second, first, 1)]);
    assert.deepEqual(ends.map((end) => end.status).sort(), ['fulfilled', 'rejected']);
    const refused = ends.find((end) => end.status === 'rejected');
    assert.ok(refused?.reason instanceof DatabaseDown, String(refused?.reason));
    await crossing(first, second, 0);
  });

  test('a cell whose database is lost is down, hurts no other, and is tried again', async () => {
    const other = await startPostgres(true);
    assert(other.kind === 'running');
    const [at, lost] = [await server.stores(['c2']), await other.stores(['c1'])];
    assert(at.kind === 'postgres' && lost.kind === 'postgres');
    const stores = await openStores({ ...at, cell: (name) => (name === 'c1' ? lost : at).cell(name) });
    const isDown = (error: unknown) => error instanceof CellDown && error.cellId === 'c1';
    try {
      const cell = await stores.cell('c1');
      assert.deepEqual(await cell.selectFrom('servers').selectAll().execute(), []);
      await other.kill();
      await assert.rejects(cell.selectFrom('servers').selectAll().execute(), isDown);
      await assert.rejects(stores.cell('c1'), isDown);
      const second = await stores.cell('c2');
      assert.deepEqual(await second.selectFrom('servers').selectAll().execute(), []);
      await other.restart();
      assert.equal(await stores.cell('c1'), cell);
      assert.deepEqual(await cell.selectFrom('servers').selectAll().execute(), []);
    } finally {
      await stores.close();
      await other.stop();
    }
  });

  opening('a cell that can only be read is down until it can be written', async (open) => {
    const stores = await open();
    const cell = await stores.cell('c1');
    const isDown = (error: unknown) => error instanceof CellDown && /read-only/.test(error.message);
    const setReadOnly = async (value: 'on' | 'off') => {
      const { rows } = await sql<{ name: string }>`select current_database() as name`.execute(cell);
      await sql`begin read write; alter database ${sql.id(rows[0]?.name ?? '')}
        set default_transaction_read_only = ${sql.raw(value)}; commit`.execute(cell);
    };
    const write = () => sql`insert into server_fences (server_id, generation) values ('s', 1)`.execute(cell);
    await setReadOnly('on');
    // As when another server takes over: whoever is connected is so no more.
    const ended = sql`select pg_terminate_backend(pg_backend_pid())`.execute(cell);
    await assert.rejects(ended, CellDown);
    await assert.rejects(write(), isDown);
    await assert.rejects(stores.cell('c1'), isDown);
    // Reading is not enough.
    assert.deepEqual(await cell.selectFrom('server_fences').selectAll().execute(), []);
    await assert.rejects(stores.cell('c1'), isDown);
    await setReadOnly('off');
    await assert.rejects(stores.cell('c1'), isDown);
    assert.equal(await stores.cell('c1'), cell);
    await write();
    // A statement that is wrong is no such thing.
    await assert.rejects(write(), (error) => !(error instanceof CellDown));
  });

  test('a lost global database says so, and is found again', async () => {
    const other = await startPostgres(true);
    assert(other.kind === 'running');
    const stores = await openStores(await other.stores([]));
    try {
      await other.kill();
      await assert.rejects(stores.global.selectFrom('cells').selectAll().execute(), DatabaseDown);
      await other.restart();
      assert.deepEqual(await stores.global.selectFrom('cells').selectAll().execute(), []);
    } finally {
      await stores.close();
      await other.stop();
    }
  });
}

type Postgres = Extract<StoresAt, { kind: 'postgres' }>;
