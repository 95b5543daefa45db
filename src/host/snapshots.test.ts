// What ends the sending of a snapshot that takes its time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../lib/clock.ts';
import { Agent } from './agent.ts';
import type { JobControl } from './hypervisor.ts';
import { MemoryRecords } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, SERVER, SPARE, SPEC, silent, value } from './test-support.ts';

/** It sends until it is told to stop, and then goes on until it is let go. */
class SlowSender extends SimulatedHypervisor {
  readonly gate = Promise.withResolvers<void>();
  readonly order: string[] = [];

  override async uploadSnapshot(_server: string, _snapshot: string, _url: string, job: JobControl): Promise<void> {
    await new Promise((resolve) => job.signal.addEventListener('abort', resolve));
    this.order.push('cancelled');
    await this.gate.promise;
    this.order.push('sent no more');
    job.signal.throwIfAborted();
  }

  override async dropSnapshot(serverId: string): Promise<void> {
    this.order.push('dropped');
    await super.dropSnapshot(serverId);
  }
}

test('a stop ends the sending of a snapshot, which is dropped when that is over', async () => {
  const hypervisor = new SlowSender({ clock: systemClock, fabric: new SimulatedFabric(), host: 'h' });
  const resources = { vcpus: 16, memoryMb: 32_768, diskGb: 100 };
  const agent = await Agent.open({
    ...{ name: 'h', clock: systemClock, hypervisor, records: new MemoryRecords(), resources, log: silent },
    patienceMs: 1,
  });
  const generation = 1;
  await finish(() => agent.define(SERVER, { generation, spec: SPEC, disk: 'fresh' }));
  await finish(() => agent.setPower(SERVER, { generation, power: 'on', graceSeconds: 0 }));
  await finish(() => agent.takeSnapshot(SERVER, { generation, snapshotId: SPARE }));
  const url = 'http://127.0.0.1:1/image';
  assert.equal(value(await agent.uploadSnapshot(SERVER, { generation, snapshotId: SPARE, url })).state, 'pending');
  const off = () => agent.setPower(SERVER, { generation: 2, power: 'off', graceSeconds: 0 });
  assert.equal(value(await off()).state, 'pending');
  await setImmediate();
  assert.deepEqual(hypervisor.order, ['cancelled']);
  const dropped = agent.dropSnapshot(SERVER, { generation: 2 });
  await setImmediate();
  assert.deepEqual(hypervisor.order, ['cancelled']);
  hypervisor.gate.resolve();
  value(await dropped);
  assert.deepEqual(hypervisor.order, ['cancelled', 'sent no more', 'dropped']);
  await finish(off);
  assert.equal(hypervisor.running(SERVER), false);
  await agent.close();
});
