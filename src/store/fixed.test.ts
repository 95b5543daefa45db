import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSqlite } from './database.ts';
import { fixed } from './fixed.ts';
import type { GlobalTables } from './global-schema.ts';
import { GLOBAL_MIGRATIONS } from './migrations.ts';

interface Sum {
  readonly by: number;
  readonly name: string;
}

test('a fixed statement is built once, and executed with the values of each call, also in a transaction', async () => {
  const { db, close } = await openSqlite<GlobalTables>(':memory:', GLOBAL_MIGRATIONS);
  let built = 0;
  const grow = fixed<GlobalTables, Sum, { value: number }>((on, slots) => {
    built += 1;
    return on
      .updateTable('fences')
      .set((eb) => ({ value: eb('value', '+', slots.by) }))
      .where('name', '=', slots.name)
      .returning('value');
  });
  try {
    const values = async (by: number): Promise<number[]> =>
      (await grow(db, { by, name: 'saga' })).rows.map((row) => row.value);
    const [before = 0] = await values(0);
    assert.deepEqual(await values(2), [before + 2]);
    await db.transaction().execute(async (trx) => {
      assert.equal((await grow(trx, { by: 5, name: 'saga' })).rows[0]?.value, before + 7);
    });
    assert.deepEqual((await grow(db, { by: 1, name: 'nothing' })).rows, []);
    assert.equal(built, 1);
  } finally {
    await close();
  }
});

test('a value that is missing is a defect, not a null', async () => {
  const { db, close } = await openSqlite<GlobalTables>(':memory:', GLOBAL_MIGRATIONS);
  const wrong = fixed<GlobalTables, Record<string, string>, unknown>((on, slots) =>
    on
      .selectFrom('fences')
      .select('value')
      .where('name', '=', slots['missing'] ?? ''),
  );
  try {
    assert.throws(() => wrong(db, {}), /without its missing/);
  } finally {
    await close();
  }
});
