import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lockDirectory } from './lock.ts';
import type { writeFileAtomically } from './record-files.ts';
import { RecordReserve } from './record-reserve.ts';
import { DurableRecords, type GuestRecord, MemoryRecords } from './records.ts';
import { SERVER } from './test-support.ts';

const record: GuestRecord = {
  version: 1,
  serverId: SERVER,
  generation: 3,
  destroyedGeneration: 2,
  closedTo: [],
  guest: null,
};

describe('records', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'crosscell-records-'));
  });
  after(() => rm(directory, { recursive: true }));

  test('are read back as they were written, by both stores', async () => {
    for (const store of [new MemoryRecords(), new DurableRecords(join(directory, 'a'))]) {
      assert.deepEqual(await store.load(), []);
      await store.save(record);
      await store.save({ ...record, generation: 4 });
      assert.deepEqual(await store.load(), [{ ...record, generation: 4 }]);
    }
    assert.deepEqual((await readdir(join(directory, 'a'))).toSorted(), [`${SERVER}.json`, 'reserve']);
    assert.equal((await stat(join(directory, 'a', `${SERVER}.json`))).mode & 0o777, 0o600);
  });

  test('a save cut short leaves the record before it', async () => {
    const store = new DurableRecords(join(directory, 'b'));
    await store.load();
    await store.save(record);
    await writeFile(join(directory, 'b', `${SERVER}.json.new`), '{"version":1,');
    assert.deepEqual(await store.load(), [record]);
    assert.deepEqual((await readdir(join(directory, 'b'))).toSorted(), [`${SERVER}.json`, 'reserve']);
  });

  test('where there is no room, records get it from a reserve', async () => {
    const full: typeof writeFileAtomically = async () => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    const store = new DurableRecords(join(directory, 'd'), full);
    await store.load();
    await Promise.all([1, 2].map((generation) => store.save({ ...record, generation })));
    await store.save(record);
    assert.deepEqual(await store.load(), [record]);
  });

  test('a reserve has room for eight records, and for eight more when it is filled again', async () => {
    const path = join(directory, 'record');
    const reserve = new RecordReserve(join(directory, 'e'));
    for (const round of ['first', 'second']) {
      await reserve.fill();
      for (let count = 1; count <= 8; count += 1) {
        assert.equal(await reserve.replace(path, `${round} ${count}`), true);
        assert.equal(await readFile(path, 'utf8'), `${round} ${count}`);
      }
      assert.equal(await reserve.replace(path, 'one too many'), false);
    }
    assert.equal(await readFile(path, 'utf8'), 'second 8');
  });

  test('a reserve is as long as the longest record, which finds room in it too', async () => {
    const reserve = join(directory, 'f', 'reserve');
    const lengths = async () =>
      Promise.all((await readdir(reserve)).map(async (name) => (await stat(join(reserve, name))).size));
    const long = { ...record, closedTo: ['x'.repeat(100_000)] };
    const store = new DurableRecords(join(directory, 'f'));
    await store.load();
    await store.save(record);
    assert.ok(Math.max(...(await lengths())) < 100_000);
    await store.save(long);
    assert.ok(Math.min(...(await lengths())) > 100_000);
    await rm(reserve, { recursive: true });
    assert.deepEqual(await new DurableRecords(join(directory, 'f')).load(), [long]);
    assert.equal((await lengths()).length, 8);
    assert.ok(Math.min(...(await lengths())) > 100_000);
  });

  test('a record that is longer than the files takes none of them', async () => {
    const [path, files] = [join(directory, 'long'), join(directory, 'g')];
    const reserve = new RecordReserve(files);
    await reserve.fill();
    assert.equal(await reserve.replace(path, 'x'.repeat(100_000)), false);
    assert.equal(await reserve.replace(path, 'short'), true);
    assert.equal((await readdir(files)).length, 7);
    // Also after a restart.
    const next = new RecordReserve(files);
    await next.fill(100_000);
    for (let count = 1; count <= 8; count += 1) assert.equal(await next.replace(path, 'x'.repeat(100_000)), true);
  });

  const damaged = {
    'cut short': '{"version":1,',
    'another server’s': JSON.stringify({ ...record, serverId: '00000000-0000-4000-8000-000000000009' }),
    'without its generation': JSON.stringify({ ...record, generation: undefined }),
    'of a later version': JSON.stringify({ ...record, version: 2 }),
  };
  for (const [what, text] of Object.entries(damaged)) {
    test(`a record that is ${what} stops the load and is named`, async () => {
      const store = new DurableRecords(join(directory, 'c'));
      await store.load();
      await writeFile(join(directory, 'c', `${SERVER}.json`), text);
      await assert.rejects(store.load(), new RegExp(`${SERVER}.json is damaged`));
      await rm(join(directory, 'c'), { recursive: true });
    });
  }

  test('a directory has one lock, which can be given back', async () => {
    const lock = await lockDirectory(directory);
    assert.ok(lock);
    assert.equal(await lockDirectory(directory), null);
    await lock.release();
    const again = await lockDirectory(directory);
    assert.ok(again);
    await again.release();
  });
});
