// How long it takes until somebody who uses a volume can reach it no more: one call to its storage host, over HTTP, with a
// client that holds the volume open over NBD, against the plainest call that the storage host answers.
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import type { Job, Reply, VolumeConnection } from '../src/host/contract.ts';
import { connectStorage } from '../src/storage/client.ts';
import { runStorage } from '../src/storage/main.ts';
import { type Figure, median } from './table.ts';

const SECRET = 'the secret of the bench';
const RUNS = 20;
const BYTES = 64 * 2 ** 20;

export async function benchRevoke(): Promise<Figure[]> {
  try {
    await promisify(execFile)('qemu-storage-daemon', ['--version']);
  } catch {
    console.error('bench: revoke is left out: qemu-storage-daemon is not here');
    return [];
  }
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  await chmod(directory, 0o711);
  try {
    return await measure(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(directory: string): Promise<Figure[]> {
  const log = pino({ level: 'silent' });
  const storage = await runStorage({
    ...{ name: 'storage', stateDir: join(directory, 'storage'), listen: { host: '127.0.0.1', port: 0 } },
    ...{ secret: SECRET, log },
  });
  try {
    const client = connectStorage({ url: storage.url, secret: SECRET });
    const [volumeId, serverId] = [randomUUID(), randomUUID()];
    await finished(() => client.create(volumeId, { generation: 1, sizeBytes: BYTES, source: { kind: 'blank' } }));
    const [revokes, calls] = [[] as number[], [] as number[]];
    for (let generation = 2; generation < RUNS + 2; generation += 1) {
      const attachmentId = randomUUID();
      const connection = value(await client.grant(volumeId, attachmentId, { serverId, generation, mode: 'rw' }));
      const user = await openVolume(directory, connection);
      calls.push(await milliseconds(async () => value(await client.heartbeat())));
      revokes.push(
        await milliseconds(async () => value(await client.revoke(volumeId, attachmentId, { serverId, generation }))),
      );
      user.kill('SIGKILL');
    }
    await finished(() => client.delete(volumeId, { generation: RUNS + 2 }));
    return [
      {
        ...{ part: 'revoke', what: `access to a volume in use revoked (median of ${RUNS})`, ours: median(revokes) },
        ...{ unit: 'ms', peer: { name: 'a call that does nothing', value: median(calls) } },
        note: `longest ${Math.max(...revokes).toFixed(1)} ms`,
      },
    ];
  } finally {
    await storage.close();
  }
}

/** Somebody who has written to the volume and keeps it open. */
async function openVolume(directory: string, connection: VolumeConnection) {
  if (connection.kind !== 'nbd') throw new Error('storage hosts serve volumes over NBD');
  const { host, port, exportName, user, key } = connection;
  const keys = await mkdtemp(join(directory, 'client-'));
  await writeFile(join(keys, 'keys.psk'), `${user}:${key}\n`);
  const credentials = `tls-creds-psk,id=key,endpoint=client,dir=${keys},username=${user}`;
  const image = `driver=nbd,server.type=inet,server.host=${host},server.port=${port},export=${exportName},tls-creds=key`;
  const child = spawn('qemu-io', ['--object', credentials, '--image-opts', image], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.write('write 0 64k\n');
  await new Promise<void>((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
      if (/wrote 65536/.test(output)) resolve();
    });
    child.once('exit', () => reject(new Error(`qemu-io ended: ${output}`)));
  });
  return child;
}

async function milliseconds(what: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await what();
  return performance.now() - began;
}

function value<T>(reply: Reply<T>): T {
  if (reply.kind !== 'ok') throw new Error(`bench: ${JSON.stringify(reply)}`);
  return reply.value;
}

async function finished(call: () => Promise<Reply<Job>>): Promise<void> {
  for (;;) {
    const job = value(await call());
    if (job.state === 'failed') throw new Error(`bench: ${job.reason}`);
    if (job.state === 'done') return;
  }
}
