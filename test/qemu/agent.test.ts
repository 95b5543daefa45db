// The agent with real QEMU guests, over HTTP, as its own process, so that it can be killed.
//
// The guests' disks are empty: firmware runs and finds nothing to boot, which is all that processes, locks, copies and
// restarts need. Such a guest ignores its power button, so stops here take the whole grace.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { whyNoGuests } from '../../guest/run.ts';
import type { BaseImage, DiskExport, Host } from '../../src/host/contract.ts';
import { stopAllGuests } from '../../src/host/main.ts';
import { runRom } from '../../src/host/qemu/kvm-probe.ts';
import { isAlive, type ProcessRef } from '../../src/host/qemu/proc.ts';
import { findRunningAgent } from '../../src/host/serve-agent.ts';
import { readIso } from '../../src/model/test-iso.ts';
import { AGENT, execute, finish, GIB, Laboratory, specOf, type TestAgent, until, value } from './harness.ts';

const skip = (await whyNoGuests()) ?? false;
let lab: Laboratory;
let image: BaseImage;
let generation = 0;

// Not in a hook of the file: hooks of suites do not wait for those here (tools/test-process.ts).
if (skip === false) {
  lab = await Laboratory.open();
  image = await lab.emptyImage();
}
after(async () => {
  if (skip !== false) return;
  assert.deepEqual(await lab.cleanUp(), [], 'processes were left');
});

const define = (host: Host, id: string, disk: 'fresh' | 'incoming' = 'fresh') =>
  finish(() => host.define(id, { generation, spec: specOf(image), disk }));
const power = (host: Host, id: string, state: 'on' | 'off', graceSeconds = 0) =>
  finish(() => host.setPower(id, { generation, power: state, graceSeconds }));
const destroy = (host: Host, id: string, remains = false) => finish(() => host.destroy(id, { generation, remains }));

/** The QEMU process of this guest, from what /proc shows. */
async function guestProcess(id: string): Promise<ProcessRef> {
  const found = (await lab.processes()).filter(({ argv }) => argv.includes('-uuid') && argv.includes(id));
  const [process] = found;
  assert.ok(process && found.length === 1, `processes of guest ${id}`);
  return { pid: process.pid, startTime: process.startTime };
}

/** How the process has the file open, once for each time. */
async function flagsOf({ pid }: ProcessRef, path: string): Promise<string[]> {
  const found: string[] = [];
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    if ((await readlink(`/proc/${pid}/fd/${fd}`)) !== path) continue;
    const flags = /flags:\s+([0-7]+)/.exec(await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8'));
    found.push((Number.parseInt(flags?.[1] ?? '3', 8) & 3) === 0 ? 'read only' : 'writable');
  }
  return found;
}

/** Nothing of any guest: no process, no directory; records stay. */
async function assertEmpty(agent: TestAgent): Promise<void> {
  assert.deepEqual(await readdir(join(agent.stateDir, 'guests')), []);
  assert.deepEqual(await readdir(join(agent.stateDir, 'logs')), []);
  const left = (await lab.processes()).filter(({ argv }) => argv.some((text) => text.startsWith(agent.stateDir)));
  assert.deepEqual(left, []);
}

/** Writes random bytes into a stopped guest's disk, as the guest would have. */
async function fill(agent: TestAgent, id: string, mib: number): Promise<void> {
  const disk = join(agent.stateDir, 'guests', id, 'disk.qcow2');
  for (let at = 0; at < mib; at += 64) {
    const size = Math.min(64, mib - at);
    const random = join(lab.directory, 'random');
    await execute('dd', ['if=/dev/urandom', `of=${random}`, 'bs=1M', `count=${size}`, 'status=none']);
    await chmod(random, 0o644);
    await execute('qemu-io', ['-f', 'qcow2', '-c', `write -s ${random} ${at}M ${size}M`, disk]);
  }
}

describe('one host', { skip }, () => {
  let agent: TestAgent;
  before(async () => {
    agent = await lab.agent('one');
  });
  after(() => agent.close());

  test('the probe’s ROM comes to its end, which is how a working accelerator shows', async () => {
    const romPath = join(lab.directory, 'probe.bin');
    assert.equal(await runRom({ qemuBinary: 'qemu-system-x86_64', identity: null, romPath }, 'tcg'), null);
  });

  test('tells what it is', async () => {
    const description = value(await agent.host.describe());
    assert.equal(description.hypervisorType, 'QEMU');
    assert.ok(description.hypervisorVersion >= 5_000_000, String(description.hypervisorVersion));
    assert.deepEqual([description.accelerator, description.architecture], ['tcg', 'x86_64']);
  });

  test('a guest is defined, started, stopped and destroyed', async () => {
    generation += 1;
    const id = randomUUID();
    await define(agent.host, id);
    await define(agent.host, id);
    await power(agent.host, id, 'on');
    const qemu = await guestProcess(id);
    await power(agent.host, id, 'on');
    assert.deepEqual(await guestProcess(id), qemu, 'not started twice');
    if (process.getuid?.() === 0) assert.notEqual((await stat(`/proc/${qemu.pid}`)).uid, 0, 'not as root');
    const guest = value(await agent.host.guest(id));
    assert.equal(guest.power, 'on');
    assert.ok(Math.abs((guest.startedAt ?? 0) - Date.now()) < 60_000);
    const first = value(await agent.host.setPower(id, { generation, power: 'off', graceSeconds: 2 }));
    assert.equal(first.state, 'pending', 'an empty guest does not heed its button');
    await power(agent.host, id, 'off', 2);
    assert.equal(isAlive(qemu), false);
    assert.equal(value(await agent.host.guest(id)).power, 'off');
    await power(agent.host, id, 'on');
    await destroy(agent.host, id);
    await destroy(agent.host, id);
    assert.equal((await agent.host.guest(id)).kind, 'absent');
    await assertEmpty(agent);
  });

  test('a rebuilt guest runs from its new disk, and turned back from its old one', async () => {
    generation += 1;
    const id = randomUUID();
    await define(agent.host, id);
    const disk = join(agent.stateDir, 'guests', id, 'disk.qcow2');
    // qemu-io fails when it reads something else.
    const marked = () =>
      execute('qemu-io', ['-f', 'qcow2', '-c', 'read -P 7 1M 4k', disk]).then(
        () => true,
        () => false,
      );
    await execute('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 1M 4k', disk]);
    for (const kept of [false, true]) {
      const request = { generation, spareId: randomUUID() };
      const spec = specOf(image, { memoryMb: kept ? 192 : 128 });
      await finish(() => agent.host.makeSpare(id, { ...request, purpose: 'rebuild', spec }));
      value(await agent.host.useSpare(id, { ...request, used: true }));
      await power(agent.host, id, 'on');
      assert.deepEqual(await flagsOf(await guestProcess(id), disk), [], 'its own disk is not open');
      if (!kept) {
        await power(agent.host, id, 'off');
        value(await agent.host.useSpare(id, { ...request, used: false }));
      }
      await finish(() => agent.host.dropSpare(id, request));
      await power(agent.host, id, 'off');
      assert.equal(await marked(), !kept, kept ? 'the new disk' : 'the old disk');
    }
    await power(agent.host, id, 'on');
    await destroy(agent.host, id);
    await assertEmpty(agent);
  });

  test('a config drive is a CD of the files that were given, open to be read only', async () => {
    generation += 1;
    const id = randomUUID();
    const content = Buffer.from(JSON.stringify({ uuid: id })).toString('base64');
    const spec = specOf(image, { configDrive: [{ path: 'openstack/latest/meta_data.json', content }] });
    await finish(() => agent.host.define(id, { generation, spec, disk: 'fresh' }));
    await power(agent.host, id, 'on');
    const path = join(agent.stateDir, 'guests', id, 'config-drive.iso');
    const { label, files } = readIso(await readFile(path), 'joliet');
    assert.equal(label, 'config-2');
    assert.deepEqual(JSON.parse(String(files.get('openstack/latest/meta_data.json'))), { uuid: id });
    assert.deepEqual(await flagsOf(await guestProcess(id), path), ['read only']);
    await destroy(agent.host, id);
    await assertEmpty(agent);
  });

  test('a guest outlives its agent, is found again and can be stopped; so is one that ended meanwhile', async () => {
    generation += 1;
    const [kept, lost] = [randomUUID(), randomUUID()];
    for (const id of [kept, lost]) {
      await define(agent.host, id);
      await power(agent.host, id, 'on');
    }
    const qemu = await guestProcess(kept);
    const startedAt = value(await agent.host.guest(kept)).startedAt;
    const beat = value(await agent.host.heartbeat());
    await agent.kill();
    assert.equal(isAlive(qemu), true, 'the guest lives on');
    process.kill((await guestProcess(lost)).pid, 'SIGKILL');
    agent = await lab.agent('one');
    const after = value(await agent.host.heartbeat());
    assert.notEqual(after.agentId, beat.agentId);
    const guest = value(await agent.host.guest(kept));
    assert.deepEqual([guest.power, guest.startedAt], ['on', startedAt]);
    assert.deepEqual(await guestProcess(kept), qemu);
    assert.equal(value(await agent.host.guest(lost)).power, 'off', 'reported, not restarted');
    const old = await agent.host.setPower(kept, { generation: generation - 1, power: 'off', graceSeconds: 0 });
    assert.equal(old.kind, 'fenced', 'the generation survived');
    await power(agent.host, kept, 'off', 1);
    assert.equal(isAlive(qemu), false);
    for (const id of [kept, lost]) await destroy(agent.host, id);
    await assertEmpty(agent);
  });

  test('a guest that ends by itself is noticed', async () => {
    generation += 1;
    const id = randomUUID();
    await define(agent.host, id);
    await power(agent.host, id, 'on');
    process.kill((await guestProcess(id)).pid, 'SIGKILL');
    await until(async () => value(await agent.host.guest(id)).power === 'off', 'the end to be noticed', 3000);
    await power(agent.host, id, 'on');
    await destroy(agent.host, id);
  });

  test('a second agent on the same directory is refused', async () => {
    await assert.rejects(lab.agent('one'), /ended at its start/);
    assert.equal((await agent.host.heartbeat()).kind, 'ok');
    assert.equal((await findRunningAgent(agent.stateDir))?.name, 'one');
  });

  test('a process that no record knows is ended at a start, and files that none knows go when that is asked for', async () => {
    generation += 1;
    const id = randomUUID();
    await define(agent.host, id);
    await power(agent.host, id, 'on');
    const qemu = await guestProcess(id);
    await agent.kill();
    const record = join(agent.stateDir, 'records', `${id}.json`);
    const text = JSON.parse(await readFile(record, 'utf8'));
    await writeFile(record, JSON.stringify({ ...text, guest: null }));
    const stray = randomUUID();
    await mkdir(join(agent.stateDir, 'guests', stray));
    agent = await lab.agent('one');
    assert.equal(isAlive(qemu), false);
    const told = value(await agent.host.heartbeat()).remains;
    assert.deepEqual(told.map(({ serverId }) => serverId).toSorted(), [id, stray].toSorted());
    assert.ok((await stat(join(agent.stateDir, 'guests', id, 'disk.qcow2'))).size > 0);
    for (const each of [id, stray]) await destroy(agent.host, each, true);
    await assertEmpty(agent);
  });
});

describe('the end of an installation', { skip }, () => {
  test('an agent that closes leaves its guests running; stopAllGuests stops them and keeps their records', async () => {
    generation += 1;
    const agent = await lab.agent('ending');
    const ids = [randomUUID(), randomUUID()];
    for (const id of ids) {
      await define(agent.host, id);
      await power(agent.host, id, 'on');
    }
    const guests = await Promise.all(ids.map(guestProcess));
    const config = { ...AGENT, name: 'ending', stateDir: agent.stateDir, log: pino({ level: 'silent' }) };
    await assert.rejects(stopAllGuests(config, 0), /another agent serves/);
    await agent.close();
    assert.equal(await findRunningAgent(agent.stateDir), null);
    assert.deepEqual(guests.map(isAlive), [true, true]);
    const began = Date.now();
    assert.equal(await stopAllGuests(config, 1), 2);
    assert.ok(Date.now() - began < 8000, 'both at once');
    assert.deepEqual(guests.map(isAlive), [false, false]);
    const again = await lab.agent('ending');
    for (const id of ids) {
      assert.equal(value(await again.host.guest(id)).power, 'off');
      await destroy(again.host, id);
    }
    await assertEmpty(again);
    await again.close();
  });
});

describe('a broken hypervisor', { skip }, () => {
  test('fails a start with its last words and leaves nothing; a mended one starts', async () => {
    generation += 1;
    const broken = join(lab.directory, 'broken-qemu');
    const mend = (script: string) => writeFile(broken, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    await mend('echo "first line" >&2; echo "cannot set up guest memory" >&2; exit 1');
    const agent = await lab.agent('broken', { qemuBinary: broken });
    const id = randomUUID();
    await define(agent.host, id);
    const failed = value(await agent.host.setPower(id, { generation, power: 'on', graceSeconds: 0 }));
    assert.equal(failed.state, 'failed');
    assert.match(failed.reason ?? '', /first line; cannot set up guest memory/);
    assert.equal(value(await agent.host.guest(id)).startedAt, null);
    await chmod(broken, 0o644);
    await assert.rejects(power(agent.host, id, 'on'), /cannot be run/);
    await chmod(broken, 0o755);
    await mend('exec sleep 600');
    const silent = value(await agent.host.setPower(id, { generation, power: 'on', graceSeconds: 0 }));
    assert.equal(silent.state, 'pending', 'nobody knows yet');
    await power(agent.host, id, 'off', 0);
    await mend('exec qemu-system-x86_64 "$@"');
    await power(agent.host, id, 'on');
    await destroy(agent.host, id);
    await assertEmpty(agent);
    await agent.close();
  });
});

describe('images', { skip }, () => {
  let agent: TestAgent;
  before(async () => {
    agent = await lab.agent('images', { unusedImageBytes: 0 });
  });
  after(() => agent.close());
  const cached = () => readdir(join(agent.stateDir, 'images'));

  test('many guests share one download; the last one’s end drops the image', async () => {
    generation += 1;
    let downloads = 0;
    const path = join(lab.directory, 'shared.qcow2');
    await execute('qemu-img', ['create', '-q', '-f', 'qcow2', path, '64M']);
    const shared = await lab.image(path, 64 * 1024 * 1024, (bytes) => {
      downloads += 1;
      return bytes;
    });
    const ids = [randomUUID(), randomUUID(), randomUUID()];
    const spec = specOf(shared);
    await Promise.all(ids.map((id) => finish(() => agent.host.define(id, { generation, spec, disk: 'fresh' }))));
    assert.equal(downloads, 1);
    assert.deepEqual(await cached(), [`${shared.sha256}.qcow2`]);
    for (const id of ids) await destroy(agent.host, id);
    assert.deepEqual(await cached(), []);
    await assertEmpty(agent);
  });

  const hostile: ReadonlyArray<readonly [string, readonly string[], RegExp]> = [
    ['a backing file', ['-b', '/etc/passwd', '-F', 'raw'], /backing file/],
    ['a data file', ['-o', 'data_file=DIR/data.raw'], /another file/],
    ['encryption', ['--object', 'secret,id=s,data=x', '-o', 'encrypt.format=aes,encrypt.key-secret=s'], /encrypted/],
  ];
  for (const [what, options, reason] of hostile) {
    test(`an image with ${what} is refused and not kept`, async () => {
      generation += 1;
      const path = join(lab.directory, 'hostile.qcow2');
      const args = options.map((option) => option.replace('DIR', lab.directory));
      await execute('qemu-img', ['create', '-q', '-f', 'qcow2', ...args, path, '64M']);
      const bad = await lab.image(path, 64 * 1024 * 1024);
      const id = randomUUID();
      const call = () => agent.host.define(id, { generation, spec: specOf(bad), disk: 'fresh' });
      await assert.rejects(finish(call), reason);
      assert.deepEqual(await cached(), []);
      await destroy(agent.host, id);
      await assertEmpty(agent);
    });
  }

  const damaged: ReadonlyArray<readonly [string, (bytes: Buffer) => Buffer, RegExp]> = [
    ['truncated', (bytes) => bytes.subarray(0, 1000), /1000 bytes instead of/],
    ['too long', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), /longer than/],
    ['changed', (bytes) => Buffer.from(bytes).fill(1, 5000, 5001), /digest/],
  ];
  for (const [what, change, reason] of damaged) {
    test(`a download that is ${what} fails and leaves nothing`, async () => {
      generation += 1;
      const path = join(lab.directory, 'good.qcow2');
      await execute('qemu-img', ['create', '-q', '-f', 'qcow2', path, '64M']);
      const bad = await lab.image(path, 64 * 1024 * 1024, change);
      const id = randomUUID();
      const call = () => agent.host.define(id, { generation, spec: specOf(bad), disk: 'fresh' });
      await assert.rejects(finish(call), reason);
      assert.deepEqual(await cached(), []);
      await destroy(agent.host, id);
    });
  }
});

describe('two hosts', { skip }, () => {
  let source: TestAgent;
  let target: TestAgent;
  const id = randomUUID();
  let exported: DiskExport;
  before(async () => {
    image = await lab.emptyImage();
    // A copy of 96 MiB takes a few seconds, so that tests can act in the middle of it.
    source = await lab.agent('source');
    target = await lab.agent('target', { copyBytesPerSecond: 24 * 1024 * 1024 });
    generation += 1;
    await define(source.host, id);
    await power(source.host, id, 'on');
    await power(source.host, id, 'off');
    await fill(source, id, 96);
    exported = value(await source.host.openExport(id, { generation }));
    generation += 1;
    await define(target.host, id, 'incoming');
  });
  after(async () => {
    await source.close();
    await target.close();
  });
  const copy = () => target.host.importDisk(id, { generation, source: exported });
  const copiers = async () => (await lab.processes()).filter(({ argv }) => argv.includes('convert'));
  const underWay = () => until(async () => value(await copy()).doneBytes > 0, 'the copy to move bytes');

  test('the export does not tell its name', async () => {
    const { host, port } = exported;
    const list = execute('qemu-nbd', ['-L', '-b', host, '-p', String(port)], { timeout: 5000 });
    await assert.rejects(list, (error: Error & { stdout?: string }) => !error.stdout?.includes(exported.name));
    const other = `nbd://${host}:${port}/${'0'.repeat(32)}`;
    await assert.rejects(execute('qemu-img', ['info', '-f', 'raw', other], { timeout: 5000 }));
  });

  test('a destroy in the middle of a copy leaves nothing', async () => {
    await underWay();
    assert.equal((await copiers()).length, 1);
    generation += 1;
    await destroy(target.host, id);
    assert.deepEqual(await copiers(), []);
    await assertEmpty(target);
    generation += 1;
    await define(target.host, id, 'incoming');
  });

  test('a copy whose agent is killed starts over, without its old process', async () => {
    await underWay();
    const [copier] = await copiers();
    assert.ok(copier);
    await target.kill();
    assert.equal(isAlive(copier), true, 'a kill of the agent alone does not end it');
    target = await lab.agent('target', { copyBytesPerSecond: 24 * 1024 * 1024 });
    assert.equal(isAlive(copier), false);
    assert.equal(value(await target.host.guest(id)).disk, false);
  });

  test('a copy goes on while the source’s agent is killed and started again; bytes and digests are equal', async () => {
    await underWay();
    await source.kill();
    source = await lab.agent('source');
    const again = value(await source.host.openExport(id, { generation }));
    assert.deepEqual(again, exported, 'the same export');
    const done = await finish(copy);
    assert.equal(done.doneBytes, exported.allocatedBytes);
    const here = await finish(() => source.host.digest(id, { generation }));
    const there = await finish(() => target.host.digest(id, { generation }));
    assert.match(there.sha256 ?? '', /^[0-9a-f]{64}$/);
    assert.equal(there.sha256, here.sha256);
    const disks = [source, target].map((agent) => join(agent.stateDir, 'guests', id, 'disk.qcow2'));
    await execute('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', ...disks]);
  });

  test('a disk whose length is not a whole number of sectors crosses as it is', async () => {
    const other = randomUUID();
    await define(source.host, other);
    const odd = value(await source.host.openExport(other, { generation }));
    assert.notEqual(odd.sizeBytes % 512, 0, 'this image format has odd lengths when empty');
    await define(target.host, other, 'incoming');
    await finish(() => target.host.importDisk(other, { generation, source: odd }));
    const here = await finish(() => source.host.digest(other, { generation }));
    const there = await finish(() => target.host.digest(other, { generation }));
    assert.equal(there.sha256, here.sha256);
    await destroy(source.host, other);
    await destroy(target.host, other);
  });

  test('the copy is grown and started on its own host’s base', async () => {
    await finish(() => target.host.growDisk(id, { generation, rootBytes: 3 * GIB }));
    const disk = join(target.stateDir, 'guests', id, 'disk.qcow2');
    const info = JSON.parse((await execute('qemu-img', ['info', '--output=json', disk])).stdout);
    assert.equal(info['virtual-size'], 3 * GIB);
    assert.ok(
      info['full-backing-filename'].startsWith(`${target.stateDir}/`) || info['backing-filename'].startsWith('..'),
    );
    await power(target.host, id, 'on');
    await guestProcess(id);
    assert.equal((await target.host.openExport(id, { generation })).kind, 'refused');
  });

  test('a start of the source closes its export', async () => {
    // Both run now, at generations of their own: fencing between hosts is the control plane's.
    await power(source.host, id, 'on');
    const again = execute('qemu-img', [
      'info',
      '-f',
      'raw',
      `nbd://${exported.host}:${exported.port}/${exported.name}`,
    ]);
    await assert.rejects(again);
    const servers = (await lab.processes()).filter(({ argv }) => argv[0]?.endsWith('qemu-nbd'));
    assert.deepEqual(servers, []);
  });

  test('an import whose source is gone fails and says so', async () => {
    const other = randomUUID();
    await define(target.host, other, 'incoming');
    const gone = { ...exported, port: 1 };
    const call = () => target.host.importDisk(other, { generation, source: gone });
    await assert.rejects(finish(call, 20_000), /qemu-img failed: .*refused/);
    await destroy(target.host, other);
  });

  test('what is destroyed leaves nothing', async () => {
    await destroy(source.host, id);
    await destroy(target.host, id);
    await assertEmpty(source);
    await assertEmpty(target);
  });
});
