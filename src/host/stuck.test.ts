// Guests that an error of a disk has stopped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent } from './agent.ts';
import { MemoryRecords } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, ManualClock, SERVER, SPEC, silent, value } from './test-support.ts';

/** The guest stands still for a full disk, and stands still again when it goes on while that is full. */
class FullDisk extends SimulatedHypervisor {
  full = true;
  stuck = true;
  tries = 0;

  override async isStuck(): Promise<boolean> {
    return this.stuck;
  }

  override async setPaused(serverId: string, paused: boolean): Promise<void> {
    await super.setPaused(serverId, paused);
    if (paused) return;
    this.tries += 1;
    this.stuck = this.full;
  }
}

async function openAgent() {
  const clock = new ManualClock();
  const hypervisor = new FullDisk({ clock, fabric: new SimulatedFabric(), host: 'h' });
  const resources = { vcpus: 16, memoryMb: 32_768, diskGb: 100 };
  const agent = await Agent.open({
    ...{ name: 'h', clock, hypervisor, records: new MemoryRecords(), resources, log: silent },
  });
  await finish(() => agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
  await finish(() => agent.setPower(SERVER, { generation: 1, power: 'on', graceSeconds: 0 }));
  hypervisor.tries = 0;
  agent.watch();
  return { agent, hypervisor, clock };
}

test('a guest that a full disk has stopped goes on when there is room', async () => {
  const { agent, hypervisor, clock } = await openAgent();
  await clock.advance(65_000);
  assert.deepEqual([hypervisor.tries, hypervisor.stuck], [2, true]);
  hypervisor.full = false;
  await clock.advance(300_000);
  assert.deepEqual([hypervisor.tries, hypervisor.stuck], [3, false]);
  await agent.close();
});

test('one that was paused stays so, until it is to go on', async () => {
  const { agent, hypervisor, clock } = await openAgent();
  value(await agent.setPaused(SERVER, { generation: 1, paused: true }));
  await clock.advance(300_000);
  assert.equal(hypervisor.tries, 0);
  value(await agent.setPaused(SERVER, { generation: 1, paused: false }));
  await clock.advance(35_000);
  assert.equal(hypervisor.tries, 2);
  await agent.close();
});
