// Files that fail under an open database: what counts as lost, what does not, and how it comes back.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { sql } from 'kysely';
import { DatabaseDown, type OpenDatabase, openSqlite } from './database.ts';
import type { SchemaMigration } from './migrations.ts';
import { damage, lastGood, mend, setWritable } from './test-damage.ts';

interface Tables {
  things: { id: number; name: string };
}
const THINGS: SchemaMigration = {
  number: 1,
  title: 'things',
  statements: ['create table things (id {{serial}}, name text not null unique)'],
};
const BUSY_MS = 20;

const onFile = (name: string, body: (opened: OpenDatabase<Tables>, path: string) => Promise<void>) =>
  test(name, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'crosscell-lost-'));
    const path = join(directory, 'db.sqlite');
    const opened = await openSqlite<Tables>(path, [THINGS], { busyTimeoutMs: BUSY_MS });
    try {
      await opened.db.insertInto('things').values({ id: 1, name: 'one' }).execute();
      await body(opened, path);
    } finally {
      await opened.close();
      rmSync(directory, { recursive: true });
    }
  });

const names = async ({ db }: OpenDatabase<Tables>) =>
  (await db.selectFrom('things').select('name').orderBy('id').execute()).map((row) => row.name);
const insert = ({ db }: OpenDatabase<Tables>, id: number) =>
  db
    .insertInto('things')
    .values({ id, name: `number ${id}` })
    .execute();

onFile('a statement that is wrong is no loss', async (opened) => {
  await assert.rejects(insert(opened, 1), /UNIQUE constraint failed/);
  await assert.rejects(sql`select nonsense`.execute(opened.db), /no such column/);
  await assert.rejects(sql`insert into things (id, name) values ('word', 'x')`.execute(opened.db), /mismatch/);
  assert.equal(opened.wasLost(), false);
});

onFile(
  'a file that is locked for longer than the wait is lost, and back when it is not locked',
  async (opened, path) => {
    const other = new DatabaseSync(path);
    other.exec('begin immediate');
    await assert.rejects(insert(opened, 2), DatabaseDown);
    assert.equal(opened.wasLost(), true);
    await assert.rejects(opened.prove(), DatabaseDown);
    other.exec('rollback');
    other.close();
    await opened.prove();
    assert.equal(opened.wasLost(), false);
    await insert(opened, 2);
    assert.deepEqual(await names(opened), ['one', 'number 2']);
  },
);

onFile('a file that has no room is lost, and of the transaction that met that nothing happens', async (opened) => {
  await sql`pragma max_page_count = 1`.execute(opened.db);
  const work = opened.db.transaction().execute(async (trx) => {
    await trx.insertInto('things').values({ id: 2, name: 'two' }).execute();
    await trx
      .insertInto('things')
      .values({ id: 3, name: 'x'.repeat(100_000) })
      .execute();
  });
  await assert.rejects(work, (error) => error instanceof DatabaseDown && /full/.test(error.message));
  // The limit was the connection's.
  assert.deepEqual(await names(opened), ['one']);
  assert.equal(opened.wasLost(), false);
});

onFile('a file that may not be written is lost until it may be', async (opened, path) => {
  await setWritable(opened.db, path, false);
  await assert.rejects(insert(opened, 2), (error) => error instanceof DatabaseDown && /readonly/.test(error.message));
  await assert.rejects(names(opened), DatabaseDown);
  await setWritable(opened.db, path, true);
  await insert(opened, 2);
  assert.deepEqual(await names(opened), ['one', 'number 2']);
});

onFile('a damaged file stays lost until another is put in its place', async (opened, path) => {
  await lastGood(opened.db, path);
  await damage(opened.db, path);
  await assert.rejects(names(opened), (error) => error instanceof DatabaseDown && /malformed/.test(error.message));
  await assert.rejects(opened.prove(), /is damaged|malformed/);
  // The file is as it was: nobody looks through it again.
  await assert.rejects(opened.prove(), /still damaged/);
  assert.deepEqual([existsSync(`${path}-wal`), existsSync(`${path}-shm`)], [false, false], 'somebody has it open');
  mend(path);
  assert.deepEqual(await names(opened), ['one']);
  await insert(opened, 2);
});

onFile('a file that was emptied or taken away is not made anew', async (opened, path) => {
  await lastGood(opened.db, path);
  truncateSync(path, 0);
  await assert.rejects(names(opened), DatabaseDown);
  await assert.rejects(opened.prove(), /the file is empty/);
  assert.equal(statSync(path).size, 0);
  rmSync(path);
  await assert.rejects(opened.prove(), /no such file/);
  assert.equal(existsSync(path), false);
  const other = new DatabaseSync(path);
  other.exec('create table others (id integer)');
  other.close();
  await assert.rejects(opened.prove(), /schema_migrations/);
  copyFileSync(`${path}.good`, path);
  assert.deepEqual(await names(opened), ['one']);
});
