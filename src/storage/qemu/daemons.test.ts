import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { HypervisorError } from '../../host/hypervisor.ts';
import { identify } from '../../host/qemu/proc.ts';
import { ManualClock, silent } from '../../host/test-support.ts';
import type { Grant } from '../records.ts';
import { ATTACHMENT, SERVER_ID, VOLUME_ID } from '../test-support.ts';
import { Daemons } from './daemons.ts';
import { StorageLayout } from './layout.ts';

const GRANT: Grant = {
  ...{ attachmentId: ATTACHMENT, serverId: SERVER_ID, generation: 1, mode: 'rw' },
  ...{ exportName: 'vol-1', user: 'guest-1', key: 'ab'.repeat(32) },
};
/** Where guests know the volume. */
const PORT = 45_671;

interface Export {
  readonly id: string;
  readonly writethrough: boolean;
}

/** What a daemon says on its socket, where it has these exports and fails at none of its commands. */
async function playDaemon(directory: string, exports: Map<string, Export>): Promise<Server> {
  const answers: Readonly<Record<string, (args: Export) => unknown>> = {
    'query-block-exports': () => [...exports.keys()].map((id) => ({ id })),
    'block-export-add': (added) => exports.set(added.id, added) && {},
  };
  const server = createServer((socket) => {
    socket.write('{"QMP":{"version":{},"capabilities":[]}}\n');
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('line', (line) => {
      const { id, execute, arguments: args } = JSON.parse(line);
      socket.write(`${JSON.stringify({ return: answers[execute]?.(args) ?? {}, id })}\n`);
    });
  });
  server.listen(join(directory, 'qmp.sock'));
  await once(server, 'listening');
  return server;
}

async function withDaemons(
  work: (daemons: Daemons, clock: ManualClock, calls: string, layout: StorageLayout) => Promise<void>,
) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'crosscell-daemons-')));
  const layout = new StorageLayout(directory);
  const [binary, calls] = [join(directory, 'daemon'), join(directory, 'calls')];
  await writeFile(binary, `#!/bin/sh\necho started >> ${calls}\nexit 1\n`);
  await chmod(binary, 0o755);
  for (const made of [layout.volumeDir(VOLUME_ID), layout.logsDir]) await mkdir(made, { recursive: true });
  const clock = new ManualClock();
  const options = { daemonBinary: binary, dataAddress: '127.0.0.1', layout, identity: null, clock, log: silent };
  const daemons = new Daemons(options);
  try {
    await work(daemons, clock, calls, layout);
  } finally {
    await daemons.close();
    await rm(directory, { recursive: true });
  }
}

test('a daemon that does not come up is started again and again, until nobody has a grant', () =>
  withDaemons(async (daemons, clock, calls) => {
    const starts = async () => (await readFile(calls, 'utf8')).split('\n').length - 1;
    await assert.rejects(daemons.serve(VOLUME_ID, [GRANT], PORT), /qemu-storage-daemon ended/);
    const giveUp = Date.now() + 20_000;
    while ((await starts()) < 5 && Date.now() < giveUp) await clock.advance(100);
    assert.ok((await starts()) >= 5);
    // Behind the attempt that is under way.
    await daemons.serve(VOLUME_ID, [], null);
    const last = await starts();
    await clock.advance(60_000);
    assert.equal(await starts(), last);
  }));

test('whoever makes sure that nobody is in does not wait for what is done to the file of a volume that is shut', () =>
  withDaemons(async (daemons) => {
    await daemons.serve(VOLUME_ID, [], null);
    const { promise: written, resolve } = Promise.withResolvers<void>();
    const writing = daemons.withFile(VOLUME_ID, () => written);
    let isShut = false;
    const shutting = daemons.serve(VOLUME_ID, [], null).then(() => {
      isShut = true;
    });
    await setImmediate();
    const inTime = isShut;
    resolve();
    await Promise.all([writing, shutting]);
    assert.ok(inTime);
  }));

test('whoever was thrown out for something that then fails is let in again', () =>
  withDaemons(async (daemons, clock, _calls, layout) => {
    const process = spawn('sleep', ['600'], { stdio: 'ignore' });
    const exports = new Map<string, Export>();
    const server = await playDaemon(layout.volumeDir(VOLUME_ID), exports);
    try {
      const ref = identify(process.pid ?? 0);
      assert.ok(ref);
      daemons.adopt(VOLUME_ID, { ...ref, argv: [] }, PORT);
      await daemons.serve(VOLUME_ID, [GRANT], PORT);
      assert.deepEqual([...exports.keys()], [GRANT.exportName]);
      assert.equal(exports.get(GRANT.exportName)?.writethrough, true, 'what it acknowledges may outlive it');
      const failing = daemons.withFile(VOLUME_ID, async () => {
        exports.clear();
        throw new HypervisorError('QEMU did not answer block_resize in time');
      });
      await assert.rejects(failing, /block_resize/);
      const giveUp = Date.now() + 10_000;
      while (exports.size === 0 && Date.now() < giveUp) await clock.advance(10);
      assert.deepEqual([...exports.keys()], [GRANT.exportName]);
    } finally {
      await daemons.close();
      server.close();
      process.kill('SIGKILL');
    }
  }));
