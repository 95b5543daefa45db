import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildGuest, GUEST_DEFAULTS } from '../../guest/build.ts';
import { isContinuation, type Journal, longestGapMs, verifyChain } from '../../guest/journal.ts';
import { findPartition2, type ImageFormat, readJournal } from '../../guest/journal-reader.ts';
import { findTool, whyNoGuests } from '../../guest/run.ts';
import { configDriveImage } from '../../src/model/config-drive.ts';

// The guest image on real QEMU, by emulation (which every machine has). Each wait has a limit of its own.

const BOOT_LIMIT_MS = 60_000;
const CACHE = join(import.meta.dirname, '../../var/cache/guest');
const MIB = 1024 * 1024;

/** The image is made of Debian packages. */
const whyNoPackages = (): Promise<string | false> =>
  findTool('apt-get', 'apt').then(
    () => false as const,
    (error: Error) => error.message,
  );

const skip = (await whyNoGuests()) ?? (await whyNoPackages());
const running = new Set<ChildProcess>();
let directory = '';
let image = '';

before(async () => {
  if (skip !== false) return;
  await mkdir(CACHE, { recursive: true });
  image = await buildGuest({ ...GUEST_DEFAULTS, cache: CACHE }, () => {});
  directory = await mkdtemp(join(tmpdir(), 'crosscell-guest-test-'));
});
after(async () => {
  for (const child of running) child.kill('SIGKILL');
  if (directory !== '') await rm(directory, { recursive: true, force: true });
});

/** The config drive that a guest has, and the port of this machine at which its SSH server is reached. */
interface Login {
  readonly drive: string;
  readonly port: number;
}

const driveArguments = (drive: string): string[] => [
  ...['-device', 'virtio-scsi-pci,id=bus', '-drive', `if=none,id=drive,file=${drive},format=raw,readonly=on`],
  ...['-device', 'scsi-cd,drive=drive,bus=bus.0'],
];

/** A QEMU with the guest in it, and all that its serial console said. */
class Machine {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #socket: string;
  readonly #exited: Promise<unknown[]>;

  constructor(disk: string, format: ImageFormat, cpus: number, mib: number, login?: Login) {
    this.#socket = join(directory, 'qmp');
    const drive = `file=${disk},if=virtio,format=${format}`;
    const child = spawn(
      'qemu-system-x86_64',
      ['-machine', 'q35', '-accel', 'tcg', '-smp', String(cpus), '-m', String(mib), '-nodefaults', '-no-user-config']
        .concat(['-display', 'none', '-drive', drive, '-serial', 'stdio', '-no-reboot'])
        .concat(login ? driveArguments(login.drive) : [])
        .concat(['-netdev', `user,id=n0,restrict=on${login ? `,hostfwd=tcp:127.0.0.1:${login.port}-:22` : ''}`])
        .concat(['-device', 'virtio-net-pci,netdev=n0,romfile='])
        .concat(['-qmp', `unix:${this.#socket},server=on,wait=off`]),
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    running.add(child);
    this.#child = child;
    this.#exited = once(child, 'exit').finally(() => running.delete(child));
    let rest = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const parts = (rest + chunk.toString('latin1')).split(/\r?\n/);
      rest = parts.pop() ?? '';
      this.lines.push(...parts);
      child.emit('console');
    });
  }

  /** Waits until the console has said `count` lines that begin with the text; gives the last of them. */
  async said(start: string, count = 1): Promise<string> {
    const limit = AbortSignal.timeout(BOOT_LIMIT_MS);
    for (;;) {
      const found = this.lines.filter((line) => line.startsWith(start));
      const last = found[count - 1];
      if (last !== undefined) return last;
      await once(this.#child, 'console', { signal: limit }).catch(() => {
        assert.fail(`the guest has not said ${count} times "${start}", but:\n${this.lines.slice(-20).join('\n')}`);
      });
    }
  }

  async cutPower(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Presses the power button and waits for QEMU's end; gives its exit status and the time it took. */
  async pressPowerButton(): Promise<{ status: unknown; ms: number }> {
    const socket = connect(this.#socket);
    socket.write('{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}');
    socket.on('error', () => {
      // QEMU closes its end when it ends, which is the purpose.
    });
    const startedAt = performance.now();
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), BOOT_LIMIT_MS);
    const [status] = await this.#exited;
    clearTimeout(limit);
    socket.destroy();
    return { status, ms: performance.now() - startedAt };
  }

  journalLines(): string[] {
    return this.lines.filter((line) => line.startsWith('JOURNAL ')).map((line) => line.slice('JOURNAL '.length));
  }
}

/** A port that nobody listens at now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const KEY = 'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAAA a test';

/** A config drive for the key. */
async function writeDrive(publicKey: string): Promise<string> {
  const metaData = {
    ...{
      uuid: '5ca1ab1e-0000-4000-8000-000000000000',
      public_keys: { 'ssh-key': publicKey },
      meta: { hostname: 'no' },
    },
    ...{ hostname: 'first-guest', name: 'First' },
  };
  const content = Buffer.from(JSON.stringify(metaData)).toString('base64');
  const drive = join(directory, 'drive.iso');
  await writeFile(drive, configDriveImage([{ path: 'openstack/latest/meta_data.json', content }]));
  return drive;
}

/** What the guest at this port says first to whoever connects. */
async function greeting(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const [chunk] = await once(socket, 'data', { signal: AbortSignal.timeout(BOOT_LIMIT_MS) });
  socket.destroy();
  return String(chunk);
}

/** Logs in and stays, in a process that holds the root disk open. Resolves with the name that the guest has. */
async function logIn(port: number, key: string): Promise<string> {
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes', 'LogLevel=ERROR'];
  const args = [...options.flatMap((option) => ['-o', option]), '-F', '/dev/null', '-i', key, '-p', String(port)];
  const ssh = spawn('ssh', [...args, 'root@127.0.0.1', 'hostname; exec sleep 600 >/disk/held'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(ssh);
  ssh.once('exit', () => running.delete(ssh));
  const [said] = await once(ssh.stdout, 'data', { signal: AbortSignal.timeout(BOOT_LIMIT_MS) });
  return String(said).trim();
}

async function journalOf(disk: string, format: ImageFormat): Promise<{ journal: Journal; clean: boolean }> {
  const reading = await readJournal(disk, format, directory);
  assert.ok(reading.ok, reading.ok ? '' : reading.reason);
  assert.deepEqual(verifyChain(reading.journal).ok, true);
  return { journal: reading.journal, clean: reading.fileSystemClean };
}

function qemuImg(...args: string[]): void {
  execFileSync('qemu-img', args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: 60_000 });
}

test('the journal goes on over a power cut, a resize, a login and a clean stop', { skip }, async (t) => {
  const disk = join(directory, 'overlay.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', image, '-F', 'qcow2', disk, '1G');

  const first = new Machine(disk, 'qcow2', 1, 128);
  const up = await first.said('GUEST UP ');
  assert.match(up, /^GUEST UP boot=[0-9a-f-]{36} cpus=1 mem_kb=\d+ disk_bytes=1073741824 uptime=\d+\.\d+$/);
  t.diagnostic(up);
  await first.said('JOURNAL ', 8);
  await first.cutPower();

  const cut = await journalOf(disk, 'qcow2');
  const told = first.journalLines();
  assert.ok(told.length >= 8);
  for (const line of told) {
    assert.ok(
      cut.journal.entries.some((entry) => entry.line === line),
      `told and lost: ${line}`,
    );
  }

  qemuImg('resize', '-q', disk, '2G');
  const key = join(directory, 'key');
  const haveSsh = await findTool('ssh', 'openssh-client').then(
    () => true,
    () => false,
  );
  if (haveSsh) execFileSync('ssh-keygen', ['-q', '-t', 'ecdsa', '-N', '', '-f', key], { timeout: 10_000 });
  const port = await freePort();
  const drive = await writeDrive(haveSsh ? await readFile(`${key}.pub`, 'utf8') : KEY);
  const second = new Machine(disk, 'qcow2', 2, 256, { drive, port });
  assert.match(await second.said('GUEST UP '), / cpus=2 mem_kb=2\d{5} disk_bytes=2147483648 /);
  await second.said('JOURNAL ', 5);
  await second.said('GUEST BALLAST done');

  const live = await journalOf(disk, 'qcow2');
  assert.ok(isContinuation(cut.journal, live.journal));

  assert.equal(await second.said('GUEST LOGIN '), 'GUEST LOGIN name=first-guest keys=1');
  assert.match(await greeting(port), /^SSH-2\.0-dropbear/);
  if (haveSsh) assert.equal(await logIn(port, key), 'first-guest');
  else t.diagnostic('there is no ssh, so nobody logged in');

  // Also with somebody logged in, who holds the disk.
  const off = await second.pressPowerButton();
  assert.equal(off.status, 0);
  assert.ok(second.lines.includes('GUEST OFF'));
  t.diagnostic(`clean stop: ${off.ms.toFixed(0)} ms`);

  const end = await journalOf(disk, 'qcow2');
  assert.ok(end.clean, 'the file system is clean after a clean stop');
  assert.equal(end.journal.torn, undefined);
  assert.ok(isContinuation(live.journal, end.journal));
  const last = end.journal.entries.at(-1);
  assert.equal(last?.cpus, 2);
  assert.ok((last?.memKb ?? 0) > (cut.journal.entries.at(-1)?.memKb ?? 0));
  assert.equal(longestGapMs(end.journal.entries)?.afterN, cut.journal.entries.length);
});

test('half a line at the end is cut off at boot, and the journal goes on', { skip }, async () => {
  const disk = join(directory, 'torn.raw');
  qemuImg('convert', '-O', 'raw', image, disk);
  const whole = new Machine(disk, 'raw', 1, 128);
  await whole.said('JOURNAL ', 3);
  await whole.pressPowerButton();
  const before = await readJournal(disk, 'raw', directory);
  assert.ok(before.ok);

  // What a power cut in the middle of an append leaves, put there from outside.
  const journal = join(directory, 'torn-journal');
  await writeFile(journal, `${before.text}${before.journal.entries.length + 1} 17900000`);
  const record = Buffer.alloc(512);
  const handle = await open(disk);
  await handle.read(record, 0, 512, 0);
  const size = (await handle.stat()).size;
  await handle.close();
  const partition = findPartition2(record, size);
  assert.ok(partition.ok);
  const commands = join(directory, 'commands');
  await writeFile(commands, `rm /journal\nwrite ${journal} journal\n`);
  const debugfs = await findTool('debugfs', 'e2fsprogs');
  execFileSync(debugfs, ['-w', '-f', commands, `${disk}?offset=${partition.offset}`], { stdio: 'ignore' });
  const torn = await readJournal(disk, 'raw', directory);
  assert.ok(torn.ok && torn.journal.torn !== undefined, 'the torn line is there');

  const mended = new Machine(disk, 'raw', 1, 128);
  await mended.said('GUEST JOURNAL-MENDED cut=');
  await mended.said('JOURNAL ', 3);
  await mended.cutPower();
  const end = await journalOf(disk, 'raw');
  assert.ok(isContinuation(before.journal, end.journal));
  assert.ok(end.journal.entries.length >= before.journal.entries.length + 3);
});

test('an image that is no disk of the guest gives a reason and leaves nothing behind', { skip }, async () => {
  const noise = join(directory, 'noise.raw');
  await writeFile(noise, Buffer.alloc(MIB, 7));
  const reading = await readJournal(noise, 'raw', directory);
  assert.deepEqual(reading, { ok: false, reason: 'the disk has no boot record' });
  const absent = await readJournal(join(directory, 'absent.qcow2'), 'qcow2', directory);
  assert.ok(!absent.ok);
  assert.match(absent.reason, /No such file/);
});

test('an unchanged build does nothing, and the description tells what the image is made of', { skip }, async () => {
  const said: string[] = [];
  assert.equal(await buildGuest({ ...GUEST_DEFAULTS, cache: CACHE }, (line) => said.push(line)), image);
  assert.deepEqual(said, []);
  const description = JSON.parse(await readFile(join(CACHE, 'crosscell-guest.json'), 'utf8'));
  assert.match(description.packages.join(' '), /linux-image-.*busybox|busybox.*linux-image-/);
  assert.ok(description.bytes < 24 * MIB);
});
