// A guest's volumes, by the agent's rules, on simulated guests.
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { Agent } from './agent.ts';
import type { GuestVolume } from './contract.ts';
import { MemoryRecords } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, GIB, SERVER, SPEC, silent, VOLUME, value } from './test-support.ts';

const ROOT_VOLUME: typeof VOLUME = {
  ...VOLUME,
  volumeId: '00000000-0000-4000-8000-0000000000c0',
  device: '/dev/vda',
  bootIndex: 0,
  connection: { ...VOLUME.connection, exportName: 'root' },
};
const NO_DISK = { ...SPEC, root: { kind: 'volume' } } as const;

describe('volumes of a guest', () => {
  let fabric: SimulatedFabric;
  let records: MemoryRecords;
  let hypervisor: SimulatedHypervisor;
  let agent: Agent;
  let heeds: boolean;
  let words: string[];

  async function open(): Promise<void> {
    hypervisor = new SimulatedHypervisor({ clock: systemClock, fabric, host: 'h', heedsUnplug: () => heeds });
    const resources = { vcpus: 16, memoryMb: 32768, diskGb: 100 };
    agent = await Agent.open({ name: 'h', clock: systemClock, hypervisor, records, resources, log: silent });
  }
  beforeEach(async () => {
    fabric = new SimulatedFabric();
    records = new MemoryRecords();
    heeds = true;
    words = [];
    await open();
  });
  const serve = (volume: typeof VOLUME) =>
    fabric.volumes.serve(SERVER, volume.connection, { volumeId: volume.volumeId, words });
  const attach = (volume: GuestVolume, generation = 1) =>
    finish(() => agent.attachVolume(SERVER, { generation, volume }));
  const detach = (volume: GuestVolume, generation = 1) =>
    finish(() => agent.detachVolume(SERVER, { generation, volumeId: volume.volumeId }));
  const power = (state: 'on' | 'off', generation = 1) =>
    finish(() => agent.setPower(SERVER, { generation, power: state, graceSeconds: 1 }));
  const define = () => finish(() => agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
  const devices = async () => value(await agent.guest(SERVER)).volumes.map(({ device }) => device);

  test('attached while off: there from the next start; detached while off: forgotten', async () => {
    await define();
    serve(VOLUME);
    for (const _ of [1, 2]) await attach(VOLUME);
    assert.deepEqual(await devices(), ['/dev/vdb']);
    assert.deepEqual(hypervisor.writableVolumes(SERVER), []);
    await power('on');
    assert.deepEqual(hypervisor.writableVolumes(SERVER), [VOLUME.volumeId]);
    assert.deepEqual(words, [`run on h by ${VOLUME.attachmentId}`]);
    await power('off');
    for (const _ of [1, 2]) await detach(VOLUME);
    assert.deepEqual(await devices(), []);
  });

  test('attached and detached while on; the answer never holds the key', async () => {
    await define();
    await power('on');
    serve(VOLUME);
    for (const _ of [1, 2]) await attach(VOLUME);
    assert.deepEqual(words, [`plug on h by ${VOLUME.attachmentId}`]);
    assert.ok(!JSON.stringify(await agent.guest(SERVER)).includes(VOLUME.connection.key));
    heeds = false;
    await assert.rejects(detach(VOLUME), /does not let go/);
    assert.deepEqual(await devices(), ['/dev/vdb']);
    heeds = true;
    for (const _ of [1, 2]) await detach(VOLUME);
    assert.deepEqual(hypervisor.writableVolumes(SERVER), []);
    assert.deepEqual(await devices(), []);
  });

  test('a volume that has grown is seen to have, at once while on; one that cannot be reached, at the next start', async () => {
    const grow = (sizeBytes: number) =>
      agent.growVolume(SERVER, { generation: 1, volumeId: VOLUME.volumeId, sizeBytes });
    const seen = () => hypervisor.seenBytes(SERVER, VOLUME.volumeId);
    assert.equal((await grow(2 * GIB)).kind, 'absent');
    await define();
    serve(VOLUME);
    await attach(VOLUME);
    value(await grow(2 * GIB));
    await power('on');
    assert.equal(seen(), 2 * GIB);
    for (const size of [3, 3, 2]) value(await grow(size * GIB));
    assert.equal(seen(), 3 * GIB, 'never shorter');
    fabric.volumes.shut(VOLUME.connection.exportName);
    assert.equal((await grow(4 * GIB)).kind, 'refused');
    assert.equal(seen(), 3 * GIB);
    serve(VOLUME);
    await power('off');
    await power('on');
    assert.equal(seen(), 4 * GIB);
  });

  test('a volume that cannot be reached fails to be plugged in, and a detach takes back what is recorded', async () => {
    await define();
    await power('on');
    await assert.rejects(attach(VOLUME), /cannot be reached/);
    await detach(VOLUME);
    assert.deepEqual(await devices(), []);
    assert.equal(value(await agent.guest(SERVER)).power, 'on');
  });

  test('who loses access loses it while running, and gets it back by another connection only while off', async () => {
    await define();
    serve(VOLUME);
    await attach(VOLUME);
    await power('on');
    fabric.volumes.shut(VOLUME.connection.exportName);
    assert.deepEqual(hypervisor.writableVolumes(SERVER), []);
    const other = { ...VOLUME, connection: { ...VOLUME.connection, key: '77'.repeat(32) } };
    serve(other);
    assert.deepEqual(hypervisor.writableVolumes(SERVER), [], 'the old key opens nothing');
    assert.equal((await agent.attachVolume(SERVER, { generation: 1, volume: other })).kind, 'refused');
    await power('off');
    await attach(other);
    await power('on');
    assert.deepEqual(hypervisor.writableVolumes(SERVER), [VOLUME.volumeId]);
  });

  test('a guest without a disk of its own starts from its root volume, keeps it while on, and has nothing to copy', async () => {
    const define = { generation: 1, spec: NO_DISK, disk: 'none' } as const;
    for (const disk of ['fresh', 'incoming'] as const)
      assert.equal((await agent.define(SERVER, { ...define, disk })).kind, 'refused');
    assert.equal((await agent.define(SERVER, { ...define, spec: SPEC })).kind, 'refused');
    for (const _ of [1, 2]) await finish(() => agent.define(SERVER, define));
    assert.equal(value(await agent.guest(SERVER)).disk, true);
    const start = { generation: 1, power: 'on', graceSeconds: 0 } as const;
    assert.equal((await agent.setPower(SERVER, start)).kind, 'refused', 'no root volume yet');
    serve(ROOT_VOLUME);
    await attach(ROOT_VOLUME);
    await power('on');
    const request = { generation: 1, volumeId: ROOT_VOLUME.volumeId };
    assert.equal((await agent.detachVolume(SERVER, request)).kind, 'refused');
    await power('off');
    assert.equal((await agent.openExport(SERVER, { generation: 1 })).kind, 'refused');
    assert.equal((await agent.digest(SERVER, { generation: 1 })).kind, 'refused');
    assert.equal((await agent.growDisk(SERVER, { generation: 1, rootBytes: 1 })).kind, 'refused');
    await detach(ROOT_VOLUME);
    await finish(() => agent.destroy(SERVER, { generation: 1 }));
  });

  test('one device and one boot index for one volume', async () => {
    await define();
    await attach(VOLUME);
    const other = { ...VOLUME, volumeId: ROOT_VOLUME.volumeId };
    const same = await agent.attachVolume(SERVER, { generation: 1, volume: other });
    assert.deepEqual(same, { kind: 'refused', reason: 'the guest has another volume as /dev/vdb' });
    const boot = await agent.attachVolume(SERVER, { generation: 1, volume: { ...ROOT_VOLUME, device: '/dev/vdc' } });
    assert.deepEqual(boot, { kind: 'refused', reason: 'the guest boots from its own disk' });
    assert.deepEqual(await devices(), ['/dev/vdb']);
  });

  test('a restarted agent knows the volumes, also of a guest that runs', async () => {
    await define();
    serve(VOLUME);
    await attach(VOLUME);
    await power('on');
    await open();
    assert.deepEqual(hypervisor.writableVolumes(SERVER), [VOLUME.volumeId]);
    await detach(VOLUME);
    assert.deepEqual(await devices(), []);
  });
});
