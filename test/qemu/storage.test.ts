// The storage agent with qemu-storage-daemon, over HTTP, as its own process: the contract, and what only real daemons
// can show: that they end and come back, outlive their agent, and leave nothing behind.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { whyNoGuests } from '../../guest/run.ts';
import type { VolumeOverNbd } from '../../src/host/contract.ts';
import { isAlive, type ProcessRef } from '../../src/host/qemu/proc.ts';
import type { RewriteVolumeRequest } from '../../src/storage/contract.ts';
import { storageContract } from '../../src/storage/contract-suite.ts';
import { overNbd } from '../../src/storage/test-support.ts';
import {
  execute,
  finish,
  GIB,
  Laboratory,
  reaches,
  receiveInto,
  SECRET,
  type TestStorage,
  throughNbd,
  until,
  value,
} from './harness.ts';

const skip = (await whyNoGuests()) ?? false;
const MIB = 1024 * 1024;

async function daemonOf(lab: Laboratory, volumeId: string): Promise<ProcessRef | null> {
  const found = (await lab.processes()).filter(({ argv }) => argv.some((text) => text.includes(`${volumeId}/volume`)));
  assert.ok(found.length <= 1, `daemons of volume ${volumeId}`);
  return found[0] ?? null;
}

if (skip === false) {
  storageContract('with qemu-storage-daemon', async () => {
    const lab = await Laboratory.open();
    let agent = await lab.storage('storage');
    return {
      host: () => agent.storage,
      reach: (connection) => reaches(lab, connection),
      restart: async () => {
        await agent.kill();
        agent = await lab.storage('storage');
      },
      close: async () => {
        for (const { volumeId, grants } of value(await agent.storage.heartbeat()).volumes) {
          for (const { attachmentId, serverId } of grants)
            value(await agent.storage.revoke(volumeId, attachmentId, { serverId, generation: 1e6 }));
          await finish(() => agent.storage.delete(volumeId, { generation: 1e6 }));
        }
        await agent.close();
        assert.deepEqual(await lab.cleanUp(), [], 'processes were left');
      },
    };
  });
}

describe('daemons', { skip }, () => {
  let lab: Laboratory;
  let agent: TestStorage;
  let generation = 0;
  const serverId = randomUUID();
  const attachmentId = randomUUID();
  before(async () => {
    lab = await Laboratory.open();
    agent = await lab.storage('storage');
  });
  after(async () => {
    await agent.close();
    assert.deepEqual(await lab.cleanUp(), [], 'processes were left');
  });
  async function create(sizeBytes = 64 * MIB, source: object = { kind: 'blank' }): Promise<string> {
    generation += 1;
    const volumeId = randomUUID();
    const request = { generation, sizeBytes, source: source as { kind: 'blank' } };
    await finish(() => agent.storage.create(volumeId, request));
    return volumeId;
  }
  // Access is given once at a generation: a revoke that comes again at it is taken for one that was delayed.
  const grant = async (volumeId: string): Promise<VolumeOverNbd> => {
    generation += 1;
    return overNbd(await agent.storage.grant(volumeId, attachmentId, { serverId, generation, mode: 'rw' }));
  };
  const revoke = async (volumeId: string) =>
    value(await agent.storage.revoke(volumeId, attachmentId, { serverId, generation }));
  const remove = (volumeId: string) => finish(() => agent.storage.delete(volumeId, { generation }));
  const write = (connection: VolumeOverNbd, pattern: number) =>
    throughNbd(lab, connection, `write -q -P ${pattern} 1M 64k`);
  const holds = (connection: VolumeOverNbd, pattern: number) =>
    throughNbd(lab, connection, `read -q -P ${pattern} 1M 64k`);

  test('a daemon that is killed comes back at its place, with what was written and flushed', async () => {
    const volumeId = await create();
    const connection = await grant(volumeId);
    assert.equal(await write(connection, 7), true);
    const first = await daemonOf(lab, volumeId);
    assert.ok(first);
    if (process.getuid?.() === 0) assert.notEqual((await stat(`/proc/${first.pid}`)).uid, 0, 'not as root');
    process.kill(first.pid, 'SIGKILL');
    await until(() => reaches(lab, connection), 'the daemon to come back');
    assert.notDeepEqual(await daemonOf(lab, volumeId), first);
    assert.equal(await holds(connection, 7), true);
    assert.equal(await holds(connection, 8), false, 'the look itself can fail');
    await revoke(volumeId);
    await remove(volumeId);
  });

  test('daemons outlive their agent, which finds them again', async () => {
    const volumeId = await create();
    const connection = await grant(volumeId);
    const daemon = await daemonOf(lab, volumeId);
    assert.ok(daemon);
    await agent.kill();
    assert.equal(isAlive(daemon), true);
    assert.equal(await write(connection, 9), true, 'served without the agent');
    agent = await lab.storage('storage');
    assert.deepEqual(await daemonOf(lab, volumeId), daemon, 'the same daemon');
    assert.deepEqual(await grant(volumeId), connection);
    await agent.kill();
    process.kill(daemon.pid, 'SIGKILL');
    await until(async () => !isAlive(daemon), 'the daemon to end');
    const squatter = createServer().listen(connection.port, connection.host);
    await once(squatter, 'listening');
    agent = await lab.storage('storage');
    assert.equal(await daemonOf(lab, volumeId), null, 'somebody else has its place');
    squatter.close();
    await until(() => holds(connection, 9), 'a daemon that ended meanwhile to be started as soon as it can be');
    await revoke(volumeId);
    assert.equal(await reaches(lab, connection), false);
    await remove(volumeId);
  });

  test('copies hold what their source held at that moment; so does a snapshot of a volume in use', async () => {
    const volumeId = await create();
    const connection = await grant(volumeId);
    await write(connection, 1);
    const snapshotId = randomUUID();
    await finish(() => agent.storage.snapshot(volumeId, snapshotId, { generation }));
    await write(connection, 2);
    const copy = await create(64 * MIB, { kind: 'volume', volumeId });
    const old = await create(128 * MIB, { kind: 'snapshot', volumeId, snapshotId });
    await write(connection, 3);
    await finish(() => agent.storage.extend(volumeId, { generation, sizeBytes: 128 * MIB }));
    assert.equal(await throughNbd(lab, connection, 'write -q -P 4 100M 64k'), true, 'grown while in use');
    assert.equal(await holds(connection, 3), true);
    await revoke(volumeId);
    for (const [id, pattern] of [
      [copy, 2],
      [old, 1],
    ] as const) {
      assert.equal(await holds(await grant(id), pattern), true);
      await revoke(id);
      await remove(id);
    }
    await finish(() => agent.storage.deleteSnapshot(volumeId, snapshotId, { generation }));
    await remove(volumeId);
  });

  test('written anew from an image, and back from a snapshot; what is sent is what is held', async () => {
    const volumeId = await create(2 * GIB);
    await write(await grant(volumeId), 1);
    const snapshotId = randomUUID();
    await finish(() => agent.storage.snapshot(volumeId, snapshotId, { generation }));
    await throughNbd(lab, await grant(volumeId), 'write -q -P 1 1500M 64k');
    await revoke(volumeId);
    const image = await lab.emptyImage();
    const rewrite = (content: RewriteVolumeRequest['content']) =>
      finish(() => agent.storage.rewrite(volumeId, { generation, content }));
    await rewrite({ kind: 'image', image });
    const anew = await grant(volumeId);
    assert.deepEqual([await holds(anew, 0), await throughNbd(lab, anew, 'read -q -P 0 1500M 64k')], [true, true]);
    await write(anew, 2);
    await revoke(volumeId);
    await rewrite({ kind: 'snapshot', snapshotId });
    const back = await grant(volumeId);
    assert.deepEqual([await holds(back, 1), await throughNbd(lab, back, 'read -q -P 0 1500M 64k')], [true, true]);
    const file = join(lab.directory, 'sent.qcow2');
    await using store = await receiveInto(file);
    const request = { generation, uploadId: randomUUID(), format: 'qcow2', url: store.url } as const;
    await finish(() => agent.storage.upload(volumeId, request), 60_000);
    assert.equal(store.authorization(), `Bearer ${SECRET}`);
    const read = await execute('qemu-io', ['-f', 'qcow2', '-c', 'read -P 1 1M 64k', file]);
    assert.doesNotMatch(read.stdout, /verification failed/);
    assert.deepEqual(value(await agent.storage.volume(volumeId)).snapshots, [snapshotId]);
    await revoke(volumeId);
    await remove(volumeId);
  });

  test('nothing is left: no process, no file, no key', async () => {
    const volumeId = await create(GIB);
    const connection = await grant(volumeId);
    const { argv } = (await lab.processes()).find((entry) => entry.argv.some((text) => text.includes(volumeId))) ?? {};
    assert.ok(argv && !argv.join(' ').includes(connection.key), 'no key on a command line');
    const keys = join(agent.stateDir, 'keys', volumeId, 'keys.psk');
    assert.equal(await readFile(keys, 'utf8'), `${connection.user}:${connection.key}\n`);
    assert.equal((await stat(keys)).mode & 0o037, 0, 'nobody else reads keys or writes them');
    await revoke(volumeId);
    await remove(volumeId);
    await until(async () => (await lab.processes()).length === 0, 'daemons to end');
    for (const directory of ['volumes', 'keys', 'logs'])
      assert.deepEqual(await readdir(join(agent.stateDir, directory)), [], directory);
    const log = await readFile(agent.logFile, 'utf8');
    assert.ok(!log.includes(connection.key), 'no key in the log');
  });
});
