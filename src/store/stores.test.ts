// The databases of a deployment: a cell's may be out of reach on its own.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { CellDown, openStores, storesExist } from './stores.ts';
import { TRAVEL } from './travel.ts';

test('a cell that cannot be opened is down, hurts no other, and is tried again', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-stores-'));
  try {
    assert.equal(storesExist(directory), false);
    const stores = await openStores(directory);
    assert.equal(storesExist(directory), true);
    const file = join(directory, 'cells', 'c1.sqlite');
    await writeFile(file, 'this is no database, and long enough that nobody could take it for an empty one');
    await assert.rejects(stores.cell('c1'), (error) => error instanceof CellDown && error.cellId === 'c1');
    assert.ok(await stores.cell('c2'));
    assert.equal((await stores.global.selectFrom('cells').selectAll().execute()).length, 0);
    await rm(file);
    const cell = await stores.cell('c1');
    assert.equal(await stores.cell('c1'), cell);
    assert.ok(stores.statements() > 0);
    await stores.close();
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('every column of every table of a cell has its fate when a server moves', async () => {
  const stores = await openStores(':memory:');
  const cell = (await stores.cell('c')) as unknown as Kysely<unknown>;
  const { rows: tables } = await sql<{ name: string }>`
    select name from sqlite_master where type = 'table' and name not in ('schema_migrations', 'sqlite_sequence')`.execute(
    cell,
  );
  const columns: Record<string, string[]> = {};
  for (const { name } of tables) {
    const { rows } = await sql<{ name: string }>`select name from pragma_table_info(${name})`.execute(cell);
    columns[name] = rows.map((row) => row.name).sort();
  }
  const declared = Object.fromEntries(
    Object.entries(TRAVEL).map(([table, fates]) => [table, Object.keys(fates).sort()]),
  );
  assert.deepEqual(declared, columns);
  await stores.close();
});
