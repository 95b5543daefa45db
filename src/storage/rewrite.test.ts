// Volumes written anew, by a driver that takes its time: what ends what, and what is not done twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JobControl } from '../host/hypervisor.ts';
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import { finish, GIB, IMAGE, silent, value } from '../host/test-support.ts';
import { systemClock } from '../lib/clock.ts';
import { StorageAgent } from './agent.ts';
import type { RewriteVolumeRequest } from './contract.ts';
import { MemoryStorageRecords } from './records.ts';
import { SimulatedStorage } from './simulated.ts';
import { ATTACHMENT, SERVER_ID, SNAPSHOT_ID, VOLUME_ID } from './test-support.ts';

type Content = RewriteVolumeRequest['content'];

const FROM_IMAGE: Content = { kind: 'image', image: { ...IMAGE, virtualBytes: GIB } };
const FROM_SNAPSHOT: Content = { kind: 'snapshot', snapshotId: SNAPSHOT_ID };

/** Images are written only when they are let go on, also when that was cancelled in vain. */
class SlowStorage extends SimulatedStorage {
  readonly order: string[] = [];
  readonly gate = Promise.withResolvers<void>();

  override async rewrite(volumeId: string, content: Content, job?: JobControl): Promise<void> {
    this.order.push(`${content.kind} begins`);
    if (content.kind === 'image') await this.gate.promise;
    await super.rewrite(volumeId, content);
    this.order.push(`${content.kind} ends${job?.signal.aborted ? ', cancelled' : ''}`);
  }
}

async function openSlow() {
  const driver = new SlowStorage({ fabric: new SimulatedFabric(), host: 's' });
  const records = new MemoryStorageRecords();
  const agent = await StorageAgent.open({
    ...{ name: 's', clock: systemClock, driver, records, log: silent },
    patienceMs: 1,
  });
  const generation = 1;
  await finish(() => agent.create(VOLUME_ID, { generation, sizeBytes: GIB, source: { kind: 'blank' } }));
  await finish(() => agent.snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
  const rewrite = (content: Content) => agent.rewrite(VOLUME_ID, { generation, content });
  return { agent, driver, rewrite };
}

test('what a snapshot kept is written back over an image that is still being written, which ends first', async () => {
  const { agent, driver, rewrite } = await openSlow();
  const before = driver.words(VOLUME_ID)?.slice();
  assert.equal(value(await rewrite(FROM_IMAGE)).state, 'pending');
  assert.equal(value(await rewrite(FROM_SNAPSHOT)).state, 'pending');
  assert.equal(value(await rewrite(FROM_IMAGE)).state, 'pending', 'an image that comes late ends nothing');
  assert.equal(value(await rewrite(FROM_SNAPSHOT)).state, 'pending', 'joined');
  driver.gate.resolve();
  await finish(() => rewrite(FROM_SNAPSHOT));
  assert.deepEqual(driver.order, ['image begins', 'image ends, cancelled', 'snapshot begins', 'snapshot ends']);
  assert.deepEqual(driver.words(VOLUME_ID), before);
  await agent.close();
});

test('what has been written is not written again, until somebody was let in or a newer generation asks', async () => {
  const { agent, driver, rewrite } = await openSlow();
  driver.gate.resolve();
  const once = ['image begins', 'image ends'];
  for (const _ of [1, 2]) await finish(() => rewrite(FROM_IMAGE));
  assert.deepEqual(driver.order, once);
  value(await agent.grant(VOLUME_ID, ATTACHMENT, { serverId: SERVER_ID, generation: 1, mode: 'rw' }));
  value(await agent.revoke(VOLUME_ID, ATTACHMENT, { serverId: SERVER_ID, generation: 1 }));
  await finish(() => rewrite(FROM_IMAGE));
  assert.deepEqual(driver.order, [...once, ...once]);
  await finish(() => agent.rewrite(VOLUME_ID, { generation: 2, content: FROM_IMAGE }));
  assert.deepEqual(driver.order, [...once, ...once, ...once]);
  await agent.close();
});
