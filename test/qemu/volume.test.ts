// One real Linux guest that boots from a volume: its storage's daemon and agent are killed under it, a disk is plugged in
// and out, its host loses access while it runs, and it goes on elsewhere with its journal, read from outside, unbroken.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isContinuation, type Journal, verifyChain } from '../../guest/journal.ts';
import { readJournal } from '../../guest/journal-reader.ts';
import { whyNoGuests } from '../../guest/run.ts';
import type { BaseImage, GuestVolume, VolumeConnection, VolumeOnShare } from '../../src/host/contract.ts';
import { overNbd } from '../../src/storage/test-support.ts';
import { execute, finish, GIB, Laboratory, specOf, type TestAgent, type TestStorage, until, value } from './harness.ts';

const IMAGE_FILE = join(import.meta.dirname, '..', '..', 'var', 'cache', 'guest', 'crosscell-guest.qcow2');
const SHARE = '10.0.0.5:/volumes';
const skip = (await whyNoGuests()) ?? (existsSync(IMAGE_FILE) ? false : 'the guest image has not been built');

describe('a guest that boots from a volume', { skip }, () => {
  let lab: Laboratory;
  let image: BaseImage;
  let source: TestAgent;
  let target: TestAgent;
  let storage: TestStorage;
  let share: string;
  const id = randomUUID();
  const rootId = randomUUID();
  const dataId = randomUUID();
  before(async () => {
    lab = await Laboratory.open();
    const info = JSON.parse((await execute('qemu-img', ['info', '--output=json', IMAGE_FILE])).stdout);
    image = await lab.image(IMAGE_FILE, info['virtual-size']);
    share = join(lab.directory, 'share');
    await mkdir(share);
    [source, target, storage] = await Promise.all([
      lab.agent('source', { shares: { [SHARE]: share } }),
      ...[lab.agent('target'), lab.storage('storage')],
    ] as const);
  });
  after(async () => {
    assert.deepEqual(await lab.cleanUp(), []);
  });

  /** What the volume says now, checked link by link. */
  async function journal(): Promise<Journal> {
    const disk = join(storage.stateDir, 'volumes', rootId, 'volume.qcow2');
    const reading = await readJournal(disk, 'qcow2', lab.directory);
    assert.ok(reading.ok, JSON.stringify(reading));
    const verdict = verifyChain(reading.journal);
    assert.ok(verdict.ok, JSON.stringify(verdict));
    return reading.journal;
  }
  const lines = async (agent: TestAgent) =>
    value(await agent.host.console(id)).output.match(/^JOURNAL /gm)?.length ?? 0;
  const goesOn = async (agent: TestAgent, what: string) => {
    const from = await lines(agent);
    await until(async () => (await lines(agent)) > from + 2, `the guest to go on ${what}`, 60_000);
  };
  const power = (agent: TestAgent, generation: number, state: 'on' | 'off', graceSeconds = 60) =>
    finish(() => agent.host.setPower(id, { generation, power: state, graceSeconds }), 90_000);
  const grant = async (volumeId: string, attachmentId: string, generation: number) =>
    overNbd(await storage.storage.grant(volumeId, attachmentId, { serverId: id, generation, mode: 'rw' }));
  const asRoot = (attachmentId: string, connection: VolumeConnection): GuestVolume => ({
    ...{ volumeId: rootId, attachmentId, device: '/dev/vda', bootIndex: 0, connection },
  });
  const attach = (agent: TestAgent, generation: number, volume: GuestVolume) =>
    finish(() => agent.host.attachVolume(id, { generation, volume }));
  const daemon = async (volumeId: string) =>
    (await lab.processes()).find(({ argv }) => argv.some((text) => text.includes(`${volumeId}/volume`)));

  /** A volume that is a file on a share, as a Cinder's may be. */
  async function onShare(plug: typeof attach): Promise<void> {
    const path = join(share, 'volume-1');
    await execute('qemu-img', ['create', '-q', '-f', 'raw', path, '16M']);
    await chmod(path, 0o666);
    const connection: VolumeOnShare = {
      ...{ kind: 'share', share: SHARE, file: 'volume-1', format: 'raw', mode: 'rw', sizeBytes: 16 * 1024 ** 2 },
    };
    const volume = { volumeId: randomUUID(), attachmentId: randomUUID(), device: '/dev/vdc', bootIndex: null };
    const detach = () =>
      finish(() => source.host.detachVolume(id, { generation: 1, volumeId: volume.volumeId }), 40_000);
    const write = () => execute('qemu-io', ['-f', 'raw', '-c', 'write -q 0 512', path]);
    await plug(source, 1, { ...volume, connection });
    await assert.rejects(write(), /lock/, 'nobody writes to it beside the guest');
    await detach();
    await write();
    const nowhere = { ...volume, connection: { ...connection, share: 'elsewhere:/' } };
    await assert.rejects(plug(source, 1, nowhere), /share elsewhere:\/ is not one that this host has/);
    await detach();
    const missing = { ...volume, connection: { ...connection, file: 'volume-2' } };
    await assert.rejects(plug(source, 1, missing), /not on share 10.0.0.5:\/volumes/);
    await detach();
  }

  test('goes through everything with its journal', async (t) => {
    const spec = specOf(image, { memoryMb: 128, root: { kind: 'volume' } });
    const create = { generation: 1, sizeBytes: GIB, source: { kind: 'image', image } } as const;
    await finish(() => storage.storage.create(rootId, create), 60_000);
    const blank = { generation: 1, sizeBytes: GIB, source: { kind: 'blank' } } as const;
    await finish(() => storage.storage.create(dataId, blank));
    for (const agent of [source, target])
      await finish(() => agent.host.define(id, { generation: 1, spec, disk: 'none' }));
    const [first, second, extra] = [randomUUID(), randomUUID(), randomUUID()];
    const here = await grant(rootId, first, 1);
    await attach(source, 1, asRoot(first, here));
    await power(source, 1, 'on');
    await goesOn(source, 'after its start');

    const data = { volumeId: dataId, attachmentId: extra, device: '/dev/vdb', bootIndex: null };
    await attach(source, 1, { ...data, connection: await grant(dataId, extra, 1) });
    // Only a guest that has seen the disk gives it back.
    await finish(() => source.host.detachVolume(id, { generation: 1, volumeId: dataId }), 40_000);
    await attach(source, 1, { ...data, connection: await grant(dataId, extra, 1) });
    const grow = (gib: number) => source.host.growVolume(id, { generation: 1, volumeId: dataId, sizeBytes: gib * GIB });
    await finish(() => storage.storage.extend(dataId, { generation: 1, sizeBytes: 2 * GIB }));
    for (const _ of [1, 2]) value(await grow(2));
    assert.match(JSON.stringify(await grow(3)), /refused.*Cannot grow/, 'it is as long as its storage host says');
    await finish(() => source.host.detachVolume(id, { generation: 1, volumeId: dataId }), 40_000);
    value(await storage.storage.revoke(dataId, extra, { serverId: id, generation: 1 }));
    await goesOn(source, 'with a disk plugged in and out');
    await onShare(attach);
    await goesOn(source, 'with a file of a share plugged in and out');

    const port = {
      ...{ id: randomUUID(), mac: '52:54:00:00:00:77' },
      ...{ ip: '10.0.0.77', cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
    };
    for (const _ of [1, 2]) {
      await finish(() => source.host.attachPort(id, { generation: 1, port }), 40_000);
      // As with a disk: a guest that knows nothing of the card does not let go of it.
      await finish(() => source.host.detachPort(id, { generation: 1, portId: port.id }), 40_000);
    }
    const own = spec.ports[0]?.id ?? '';
    await finish(() => source.host.detachPort(id, { generation: 1, portId: own }), 40_000);
    assert.deepEqual(value(await source.host.guest(id)).spec.ports, []);
    await goesOn(source, 'with network cards plugged in and out');

    const before = await daemon(rootId);
    assert.ok(before);
    process.kill(before.pid, 'SIGKILL');
    await goesOn(source, 'on a new daemon');
    await storage.kill();
    await goesOn(source, 'without a storage agent');
    storage = await lab.storage('storage');
    await goesOn(source, 'with a storage agent again');
    for (const { argv } of await lab.processes())
      assert.ok(!argv.join(' ').includes(here.key), 'no key on a command line');

    const asked = performance.now();
    value(await storage.storage.revoke(rootId, first, { serverId: id, generation: 2 }));
    t.diagnostic(`revoked in ${(performance.now() - asked).toFixed(1)} ms`);
    assert.equal(value(await source.host.guest(id)).power, 'on', 'it still runs');
    const fenced = await journal();
    assert.ok(fenced.entries.length > 0);

    const there = await grant(rootId, second, 2);
    await attach(target, 2, asRoot(second, there));
    await power(target, 2, 'on');
    await goesOn(target, 'on the other host');
    const [frozen, later] = [await lines(source), await lines(target)];
    await until(async () => (await lines(target)) > later + 5, 'the guest to go on', 60_000);
    assert.equal(await lines(source), frozen, 'the fenced guest writes nothing more');
    await power(source, 2, 'off', 0);
    await power(target, 2, 'off');
    value(await storage.storage.revoke(rootId, second, { serverId: id, generation: 2 }));
    const done = await journal();
    assert.ok(isContinuation(fenced, done));
    assert.ok(done.entries.length > fenced.entries.length, 'it went on writing');

    for (const agent of [source, target]) {
      await finish(() => agent.host.destroy(id, { generation: 3 }));
      for (const directory of ['guests', 'keys', 'logs'])
        assert.deepEqual(await readdir(join(agent.stateDir, directory)), [], directory);
    }
    for (const volumeId of [rootId, dataId]) await finish(() => storage.storage.delete(volumeId, { generation: 3 }));
    for (const directory of ['volumes', 'keys', 'logs'])
      assert.deepEqual(await readdir(join(storage.stateDir, directory)), [], directory);
  });
});
