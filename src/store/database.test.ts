// Opening, migrating and sharing a database file.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type OpenDatabase, openSqlite } from './database.ts';
import type { SchemaMigration } from './migrations.ts';

interface Tables {
  things: { id: number; name: string };
}
const ONE: SchemaMigration = {
  number: 1,
  title: 'things',
  statements: ['create table things (id {{serial}}, name text not null unique)'],
};
const TWO: SchemaMigration = {
  number: 2,
  title: 'more',
  statements: ["insert into things (name) values ('made by 2')"],
};
const WRONG: SchemaMigration = { number: 2, title: 'wrong', statements: [...TWO.statements, 'create nonsense'] };

async function inDirectory(body: (path: string, open: typeof openThings) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-database-'));
  const opened: OpenDatabase<Tables>[] = [];
  try {
    await body(join(directory, 'db.sqlite'), async (path, migrations) => {
      const database = await openThings(path, migrations);
      opened.push(database);
      return database;
    });
  } finally {
    for (const database of opened) await database.close();
    await rm(directory, { recursive: true });
  }
}
const openThings = (path: string, migrations: readonly SchemaMigration[]) => openSqlite<Tables>(path, migrations);
const names = async ({ db }: OpenDatabase<Tables>) =>
  (await db.selectFrom('things').select('name').orderBy('id').execute()).map((row) => row.name);

test('migrations are made once, in order, on an old file too', () =>
  inDirectory(async (path, open) => {
    const first = await open(path, [ONE]);
    await first.db.insertInto('things').values({ id: 1, name: 'one' }).execute();
    const second = await open(path, [ONE, TWO]);
    const third = await open(path, [ONE, TWO]);
    assert.deepEqual(await names(second), ['one', 'made by 2']);
    assert.deepEqual(await names(third), ['one', 'made by 2']);
  }));

test('a migration that fails leaves the file as it was', () =>
  inDirectory(async (path, open) => {
    const first = await open(path, [ONE]);
    await assert.rejects(open(path, [ONE, WRONG]));
    assert.deepEqual(await names(first), []);
    assert.deepEqual(await names(await open(path, [ONE, TWO])), ['made by 2']);
  }));

test('a file of a newer program is refused', () =>
  inDirectory(async (path, open) => {
    await open(path, [ONE, TWO]);
    await assert.rejects(open(path, [ONE]), /schema 2, this program knows 1: use a newer crosscell/);
  }));

test('a transaction excludes every other statement of the process, and is undone when it throws', () =>
  inDirectory(async (path, open) => {
    const { db } = await open(path, [ONE]);
    const order: string[] = [];
    const transaction = db.transaction().execute(async (trx) => {
      await trx.insertInto('things').values({ id: 1, name: 'inside' }).execute();
      await new Promise((resolve) => setImmediate(resolve));
      order.push('inside');
      throw new Error('undo');
    });
    const outside = db
      .selectFrom('things')
      .selectAll()
      .execute()
      .then((rows) => order.push(`outside ${rows.length}`));
    await assert.rejects(transaction, /undo/);
    await outside;
    assert.deepEqual(order, ['inside', 'outside 0']);
  }));

test('every statement is counted, and foreign keys are kept', () =>
  inDirectory(async (path, open) => {
    const database = await open(path, [
      ONE,
      { number: 2, title: 'parts', statements: ['create table parts (thing integer not null references things(id))'] },
    ]);
    const before = database.statements();
    await database.db.transaction().execute((trx) => trx.selectFrom('things').selectAll().execute());
    assert.equal(database.statements() - before, 3);
    const db = database.db.withTables<{ parts: { thing: number } }>();
    await assert.rejects(db.insertInto('parts').values({ thing: 7 }).execute(), /FOREIGN KEY/);
  }));

test('a limit is no parameter: SQLite would plan the statement anew at each execution', async () => {
  await inDirectory(async (path, open) => {
    const { db } = await open(path, [ONE, TWO]);
    const query = db.selectFrom('things').select('name').where('id', '>', 0).orderBy('name').limit(3);
    assert.deepEqual(
      [query.compile().sql.split(' ').slice(-2).join(' '), query.compile().parameters],
      ['limit 3', [0]],
    );
    assert.deepEqual(
      (await query.execute()).map((row) => row.name),
      ['made by 2'],
    );
  });
});
