// One real Linux guest crosses from one agent to another: stopped by its power button, copied, grown, started with
// more processors, and its journal, read from outside, goes on without a gap.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isContinuation, type Journal, verifyChain } from '../../guest/journal.ts';
import { readJournal } from '../../guest/journal-reader.ts';
import { whyNoGuests } from '../../guest/run.ts';
import { connectTcp } from '../../src/host/console-client.ts';
import type { BaseImage, GuestSpec } from '../../src/host/contract.ts';
import {
  execute,
  finish,
  GIB,
  Laboratory,
  receiveInto,
  SECRET,
  specOf,
  type TestAgent,
  until,
  value,
} from './harness.ts';

const IMAGE_FILE = join(import.meta.dirname, '..', '..', 'var', 'cache', 'guest', 'crosscell-guest.qcow2');
const KEY = 'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAAA a test';
const skip = (await whyNoGuests()) ?? (existsSync(IMAGE_FILE) ? false : 'the guest image has not been built');

describe('a Linux guest', { skip }, () => {
  let lab: Laboratory;
  let image: BaseImage;
  let source: TestAgent;
  let target: TestAgent;
  let id: string;
  before(async () => {
    lab = await Laboratory.open();
    const info = JSON.parse((await execute('qemu-img', ['info', '--output=json', IMAGE_FILE])).stdout);
    image = await lab.image(IMAGE_FILE, info['virtual-size']);
    [source, target] = await Promise.all([lab.agent('source'), lab.agent('target')]);
  });
  beforeEach(() => {
    id = randomUUID();
  });
  after(async () => {
    assert.deepEqual(await lab.cleanUp(), []);
  });

  /** What the stopped guest's disk says, checked link by link. */
  async function journalOf(agent: TestAgent): Promise<Journal> {
    const disk = join(agent.stateDir, 'guests', id, 'disk.qcow2');
    const reading = await readJournal(disk, 'qcow2', lab.directory);
    assert.ok(reading.ok, JSON.stringify(reading));
    const verdict = verifyChain(reading.journal);
    assert.ok(verdict.ok, JSON.stringify(verdict));
    assert.ok(verdict.count > 0, 'the guest has written');
    return reading.journal;
  }
  const bootsUp = (agent: TestAgent) =>
    until(
      async () => /GUEST UP [^\n]*\n/.test(value(await agent.host.console(id)).output),
      'the guest to come up',
      60_000,
    );
  const power = (agent: TestAgent, generation: number, state: 'on' | 'off') =>
    finish(() => agent.host.setPower(id, { generation, power: state, graceSeconds: 60 }), 70_000);

  /** What the guest says first to whoever connects; '' when it does not take the connection. */
  async function firstWords(agent: TestAgent, portId: string, tcpPort: number): Promise<string> {
    const stream = value(await connectTcp(agent.address, id, { portId, tcpPort }));
    try {
      for await (const chunk of stream) return String(chunk);
    } catch (error) {
      // Reset by the guest.
      if (!(error instanceof Error)) throw error;
    } finally {
      stream.destroy();
    }
    return '';
  }

  test('stands still while it is paused or suspended, and goes on, with whoever may log in', async () => {
    const metaData = { uuid: id, public_keys: { mine: KEY }, hostname: 'sleeper' };
    const content = Buffer.from(JSON.stringify(metaData)).toString('base64');
    const configDrive = [{ path: 'openstack/latest/meta_data.json', content }];
    const root = { kind: 'image', image, bytes: GIB } as const;
    const spec = specOf(image, { vcpus: 1, memoryMb: 128, root, configDrive });
    const disk = join(source.stateDir, 'guests', id, 'disk.qcow2');
    const written = async (): Promise<number> => {
      const reading = await readJournal(disk, 'qcow2', lab.directory);
      return reading.ok ? reading.journal.entries.length : 0;
    };
    const pause = async (paused: boolean) => value(await source.host.setPaused(id, { generation: 1, paused }));
    await finish(() => source.host.define(id, { generation: 1, spec, disk: 'fresh' }));
    await power(source, 1, 'on');
    await bootsUp(source);
    await until(async () => (await written()) > 0, 'the guest to write', 60_000);
    await pause(true);
    const still = await written();
    // It writes five times a second when it runs.
    await delay(3000);
    assert.equal(await written(), still);
    assert.equal(value(await source.host.guest(id)).power, 'on', 'its process is there');
    const used = value(await source.host.diagnostics(id));
    assert.deepEqual([used.paused, used.cpus.length, used.memoryMb.maximum], [true, 1, 128]);
    assert.ok((used.cpus[0]?.timeNs ?? 0) > 0 && used.memoryMb.used > 0 && used.uptimeSeconds > 0);
    const disk0 = used.disks.find(({ name }) => name === 'root');
    assert.ok(disk0 && disk0.readBytes > 0 && disk0.writeRequests > 0 && disk0.errors === 0, JSON.stringify(used));
    await pause(false);
    await until(async () => (await written()) > still, 'the guest to go on', 60_000);
    value(await source.host.injectNmi(id, { generation: 1 }));
    await until(
      async () => /NMI/.test(value(await source.host.console(id)).output),
      'the kernel to speak of the interrupt',
      30_000,
    );

    await finish(() => source.host.setPower(id, { generation: 1, power: 'suspended', graceSeconds: 0 }), 60_000);
    const kept = await journalOf(source);
    await source.kill();
    source = await lab.agent('source');
    const { power: now, suspended } = value(await source.host.guest(id));
    assert.deepEqual([now, suspended], ['off', true]);
    await power(source, 1, 'on');
    await until(async () => (await written()) > kept.entries.length, 'the guest to go on from its memory', 60_000);
    await until(
      async () => /GUEST LOGIN name=sleeper keys=1/.test(value(await source.host.console(id)).output),
      'the guest to read its config drive',
      60_000,
    );
    const portId = spec.ports[0]?.id ?? '';
    await until(
      async () => /^SSH-2\.0-dropbear/.test(await firstWords(source, portId, 22)),
      'the guest to let people in',
      60_000,
    );
    assert.equal(await firstWords(source, portId, 23), '', 'nobody listens there');
    assert.equal((await connectTcp(source.address, id, { portId: randomUUID(), tcpPort: 22 })).kind, 'refused');
    await snapshotHolds(source, await written());
    await power(source, 1, 'off');
    await snapshotHolds(source, await written());
    await isRescued(source, spec);
    const after = await journalOf(source);
    assert.equal(after.entries[kept.entries.length - 1]?.line, kept.entries.at(-1)?.line, 'nothing was lost');
    const ups = value(await source.host.console(id)).output.match(/GUEST UP/g)?.length;
    assert.equal(ups, 2, 'it has booted once, and once from the rescue disk');
    assert.ok(!existsSync(join(source.stateDir, 'memory', `${id}.ram`)), 'memory that was loaded is not kept');
    await finish(() => source.host.destroy(id, { generation: 1 }));
  });

  /** The guest, which is off, is made to boot from another disk, and to use its own again. */
  async function isRescued(agent: TestAgent, spec: GuestSpec): Promise<void> {
    const spareId = randomUUID();
    const request = { generation: 1, spareId };
    await finish(() => agent.host.makeSpare(id, { ...request, purpose: 'rescue', spec }), 60_000);
    value(await agent.host.useSpare(id, { ...request, used: true }));
    await power(agent, 1, 'on');
    await until(
      async () => /(GUEST UP [^\n]*\n[\s\S]*){2}/.test(value(await agent.host.console(id)).output),
      'the rescue disk to boot',
      60_000,
    );
    const used = value(await agent.host.diagnostics(id)).disks;
    assert.deepEqual(
      used.map(({ name }) => name).filter((name) => name !== 'config'),
      ['rescue', 'root'],
    );
    assert.equal((await agent.host.useSpare(id, { ...request, used: false })).kind, 'refused');
    await finish(() => agent.host.setPower(id, { generation: 1, power: 'off', graceSeconds: 0 }));
    value(await agent.host.useSpare(id, { ...request, used: false }));
    await finish(() => agent.host.dropSpare(id, request));
    assert.ok(!existsSync(join(agent.stateDir, 'guests', id, 'disk.spare.qcow2')));
  }

  /** A snapshot that is taken now stands alone, and has all that the guest had written by now; then it is dropped. */
  async function snapshotHolds(agent: TestAgent, written: number): Promise<void> {
    const snapshotId = randomUUID();
    const file = join(lab.directory, `${snapshotId}.qcow2`);
    await using store = await receiveInto(file);
    const request = { generation: 1, snapshotId };
    await finish(() => agent.host.takeSnapshot(id, request), 60_000);
    const again = await finish(() => agent.host.takeSnapshot(id, request));
    assert.equal(again.state, 'done');
    await finish(() => agent.host.uploadSnapshot(id, { ...request, url: store.url }), 60_000);
    assert.equal(store.authorization(), `Bearer ${SECRET}`);
    const info = JSON.parse((await execute('qemu-img', ['info', '--output=json', file])).stdout);
    assert.deepEqual([info.format, info['virtual-size'], info['backing-filename']], ['qcow2', GIB, undefined]);
    const reading = await readJournal(file, 'qcow2', lab.directory);
    assert.ok(reading.ok, JSON.stringify(reading));
    const verdict = verifyChain(reading.journal);
    assert.ok(verdict.ok && reading.journal.entries.length >= written, `${JSON.stringify(verdict)}, not ${written}`);
    value(await agent.host.dropSnapshot(id, { generation: 1 }));
    const left = await readdir(join(agent.stateDir, 'guests', id));
    assert.deepEqual(
      left.filter((name) => name.startsWith('snapshot')),
      [],
    );
    const gone = await agent.host.uploadSnapshot(id, { ...request, url: store.url });
    assert.ok(gone.kind === 'ok' && gone.value.state === 'failed', JSON.stringify(gone));
  }

  test('crosses with its journal', async () => {
    const small = specOf(image, { vcpus: 1, memoryMb: 128, root: { kind: 'image', image, bytes: GIB } });
    const big = specOf(image, { vcpus: 2, memoryMb: 192, root: { kind: 'image', image, bytes: 2 * GIB } });
    await finish(() => source.host.define(id, { generation: 1, spec: small, disk: 'fresh' }));
    await power(source, 1, 'on');
    await bootsUp(source);
    const stopping = Date.now();
    await power(source, 1, 'off');
    assert.ok(Date.now() - stopping < 50_000, 'it stopped because it was asked, before its grace was over');
    const before = await journalOf(source);

    const exported = value(await source.host.openExport(id, { generation: 2 }));
    await finish(() => target.host.define(id, { generation: 2, spec: big, disk: 'incoming' }));
    await finish(() => target.host.importDisk(id, { generation: 2, source: exported }), 60_000);
    const here = await finish(() => source.host.digest(id, { generation: 2 }));
    const there = await finish(() => target.host.digest(id, { generation: 2 }));
    assert.equal(there.sha256, here.sha256);
    await finish(() => target.host.growDisk(id, { generation: 2, rootBytes: 2 * GIB }));
    await power(target, 2, 'on');
    await bootsUp(target);
    const output = value(await target.host.console(id)).output;
    assert.match(output, /GUEST UP .*cpus=2/);
    assert.match(output, new RegExp(`disk_bytes=${2 * GIB}`));
    await until(
      async () => {
        await power(target, 2, 'off');
        return true;
      },
      'the guest to stop',
      90_000,
    );
    const after = await journalOf(target);
    assert.ok(isContinuation(before, after));
    assert.ok(after.entries.length > before.entries.length, 'it went on writing');
    assert.equal(after.entries.at(-1)?.cpus, 2);
    for (const agent of [source, target]) await finish(() => agent.host.destroy(id, { generation: 3 }));
  });
});
