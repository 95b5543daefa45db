// The small parts that touch files and processes: consoles, hostile files, helper programs, watchdog, /proc.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { appendFile, mkdir, mkdtemp, open, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { boundConsole, readConsole } from './console.ts';
import { sha256File } from './digest.ts';
import { probeRom } from './kvm-probe.ts';
import { openUntrusted } from './privileges.ts';
import { identify, isAlive, listProcesses, signal } from './proc.ts';
import { connectIn } from './sockets.ts';
import { run } from './tools.ts';
import { withWatchdog } from './watchdog.ts';

const job = { signal: new AbortController().signal, progress: () => undefined };

describe('files and processes', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'crosscell-files-'));
  });
  after(() => rm(directory, { recursive: true }));

  test('a console is bounded while its writer goes on appending', async () => {
    const log = join(directory, 'console.log');
    const writer = await open(log, 'a');
    await writer.write('x'.repeat(100));
    await boundConsole(directory, 200);
    assert.equal((await stat(log)).size, 100, 'small enough');
    await writer.write(`${'y'.repeat(150)}\n`);
    await boundConsole(directory, 200);
    assert.equal((await stat(log)).size, 0);
    await writer.write('after\n');
    await writer.close();
    assert.equal((await stat(log)).size, 6, 'the writer goes on at the beginning');
    assert.equal(await readConsole(directory), `${'x'.repeat(49)}${'y'.repeat(150)}\nafter\n`);
  });

  test('a link or a FIFO where a file should be is not followed', async () => {
    const victim = join(directory, 'victim');
    await writeFile(victim, 'secret');
    const guest = join(directory, 'guest');
    await mkdir(guest);
    await symlink(victim, join(guest, 'console.log'));
    await assert.rejects(readConsole(guest), { code: 'ELOOP' });
    await assert.rejects(boundConsole(guest, 1), { code: 'ELOOP' });
    assert.equal(await readFile(victim, 'utf8'), 'secret');
    await run('mkfifo', [join(guest, 'fifo')], { identity: null });
    await assert.rejects(openUntrusted(join(guest, 'fifo'), constants.O_RDONLY), /not a regular file/);
    assert.equal(await openUntrusted(join(guest, 'none'), constants.O_RDONLY), null);
  });

  test('the digest is that of the bytes, holes included, and stops when told', async () => {
    const path = join(directory, 'disk');
    await writeFile(path, 'begin');
    const file = await open(path, 'r+');
    await file.truncate(3 * 1024 * 1024);
    await file.close();
    await appendFile(path, 'end');
    const expected = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    const seen: number[] = [];
    assert.equal(await sha256File(path, { ...job, progress: (done) => seen.push(done) }), expected);
    assert.equal(seen.at(-1), 3 * 1024 * 1024 + 3);
    await assert.rejects(sha256File(path, { ...job, signal: AbortSignal.abort() }));
    await assert.rejects(sha256File(join(directory, 'none'), job), /not there/);
  });

  test('a program’s failure carries its last words; a hanging one is killed', async () => {
    assert.equal(await run('echo', ['a b', '$HOME'], { identity: null }), 'a b $HOME\n');
    await assert.rejects(run('ls', ['/nowhere/at/all'], { identity: null }), /ls failed: .*No such file/);
    await assert.rejects(run('/no/such/program', [], { identity: null }), /cannot be run/);
    await assert.rejects(run('sleep', ['60'], { identity: null, timeoutMs: 30 }), /took too long/);
    const abort = new AbortController();
    const sleeping = run('sleep', ['60'], { identity: null, signal: abort.signal });
    abort.abort();
    await assert.rejects(sleeping, /cancelled/);
    await assert.rejects(run('cat', ['/dev/zero'], { identity: null, timeoutMs: 5000 }), /printed too much/);
  });

  test('work that makes no progress is ended; work that does is not', async () => {
    const never = new AbortController().signal;
    const hang = (signal: AbortSignal) =>
      new Promise<string>((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('ended'))));
    await assert.rejects(
      withWatchdog(systemClock, 300, never, () => 'same', hang),
      /no progress/,
    );
    let count = 0;
    const slow = () => systemClock.sleep(700).then(() => 'done');
    assert.equal(await withWatchdog(systemClock, 300, never, () => String(count++), slow), 'done');
    await assert.rejects(
      withWatchdog(
        systemClock,
        300,
        AbortSignal.abort(),
        () => 'same',
        async (signal) => {
          signal.throwIfAborted();
        },
      ),
      { name: 'AbortError' },
    );
    const broken = () => Promise.reject(new Error('cannot measure'));
    await assert.rejects(withWatchdog(systemClock, 300, never, broken, hang), /cannot measure/);
  });

  test('a process is told from another with its pid, and from its own zombie', async () => {
    const child = spawn('sleep', ['60']);
    const ref = identify(child.pid ?? 0);
    assert.ok(ref);
    assert.equal(isAlive(ref), true);
    assert.equal(isAlive({ ...ref, startTime: '1' }), false);
    assert.equal(signal({ ...ref, startTime: '1' }, 'SIGKILL'), false);
    assert.ok((await listProcesses()).some(({ pid, argv }) => pid === ref.pid && argv[1] === '60'));
    assert.equal(signal(ref, 'SIGKILL'), true);
    // Not reaped in this turn of the loop: a zombie, which counts as gone.
    const limit = Date.now() + 5000;
    while (isAlive(ref)) assert.ok(Date.now() < limit);
    await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(identify(ref.pid)?.startTime === ref.startTime, false);
  });

  test('a socket is reached through a directory whose path is too long for an address', async () => {
    const deep = join(directory, 'd'.repeat(100), 'e'.repeat(100));
    await mkdir(deep, { recursive: true });
    const server = createServer((socket) => socket.end('hello'));
    const cwd = process.cwd();
    process.chdir(deep);
    await new Promise<void>((resolve) => server.listen('s.sock', resolve));
    process.chdir(cwd);
    const socket = await connectIn(deep, 's.sock');
    const text = await new Promise((resolve) => socket.once('data', (chunk) => resolve(String(chunk))));
    assert.equal(text, 'hello');
    await assert.rejects(connectIn(deep, 'none.sock'), { name: 'HypervisorError' });
    socket.destroy();
    server.close();
  });

  test('the probe’s ROM is 64 KiB with a jump at the reset vector', () => {
    const rom = probeRom();
    assert.equal(rom.length, 65536);
    assert.deepEqual([...rom.subarray(0xfff0, 0xfff5)], [0xea, 0, 0, 0, 0xf0]);
    // gdtr, at its assembled place, points at the table eight-byte aligned before it.
    assert.equal(rom.readUInt32LE(0xa2), 0xf0090);
  });
});
