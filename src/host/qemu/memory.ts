// What a guest has in memory, kept in a file while the guest is off: QEMU's migration stream, from its migrate command to
// its -incoming.
//
// Theory of operation. The guest stands still while its memory is taken, so that the stream holds each page once. QEMU
// sends it to a socket in the guest's own directory, where the agent listens for one connection and writes what comes into
// a file of its own, which is flushed and renamed when QEMU says that all has been sent. What QEMU loads it gets as an open
// file, so neither way does the guest's user see the file. A guest whose memory could not be taken goes on.
// A stream that was taken but whose file was lost with an agent is taken again: QEMU allows that once the guest has gone on,
// so it does for an instant.
// Not handled: compression; the zero pages of a guest are not in the stream.
import { createWriteStream } from 'node:fs';
import { chmod, chown, type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Clock } from '../../lib/clock.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { syncDirectory } from '../record-files.ts';
import { checkRoom, syncFile } from './disk-files.ts';
import { MEMORY_SOCKET } from './layout.ts';
import type { Identity } from './privileges.ts';
import type { QemuProcess } from './process.ts';

export interface MemoryPlace {
  /** QEMU's working directory. */
  readonly directory: string;
  readonly file: string;
  readonly identity: Identity | null;
  readonly clock: Clock;
}

const Progress = Compile(
  Type.Object({
    status: Type.Optional(Type.String()),
    'error-desc': Type.Optional(Type.String()),
    ram: Type.Optional(Type.Object({ transferred: Type.Integer(), total: Type.Integer() })),
  }),
);

const POLL_MS = 50;
/** QEMU holds itself back by default. */
const BYTES_PER_SECOND = 64 * 1024 ** 3;
const MIB = 1024 * 1024;
/** So much may have come and not be written yet: it is written at once. */
const WRITE_BYTES = 8 * MIB;

export async function makeMemoryDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
}

/** The guest stands still and its memory is in the file; or the guest goes on, and it throws. */
export async function saveMemory(
  guest: QemuProcess,
  memoryMb: number,
  place: MemoryPlace,
  job: JobControl,
): Promise<void> {
  await checkRoom(dirname(place.file), memoryMb * MIB, "the guest's memory");
  const part = `${place.file}.part`;
  try {
    if (await hasBeenTaken(guest)) await guest.setPaused(false);
    await guest.setPaused(true);
    await take(guest, part, place, job);
    await syncFile(part, 'the memory');
    await rename(part, place.file);
    await syncDirectory(dirname(place.file));
  } catch (error) {
    await rm(part, { force: true });
    if (!guest.isGone) await guest.setPaused(false);
    throw error;
  }
}

export async function dropMemory(file: string): Promise<void> {
  await rm(file, { force: true });
  await rm(`${file}.part`, { force: true });
}

async function hasBeenTaken(guest: QemuProcess): Promise<boolean> {
  const answer = (await guest.execute('query-status')) as { status?: unknown };
  return answer.status === 'postmigrate';
}

async function take(guest: QemuProcess, path: string, place: MemoryPlace, job: JobControl): Promise<void> {
  const listener = await Listener.open(place, path);
  try {
    await guest.execute('migrate-set-parameters', { 'max-bandwidth': BYTES_PER_SECOND });
    await guest.execute('migrate', { uri: `unix:${MEMORY_SOCKET}` });
    await sent(guest, place.clock, job);
    await listener.received;
  } finally {
    await listener.close();
  }
}

/** Resolves when QEMU has sent all. */
async function sent(guest: QemuProcess, clock: Clock, job: JobControl): Promise<void> {
  for (;;) {
    if (job.signal.aborted) await guest.execute('migrate_cancel');
    job.signal.throwIfAborted();
    if (guest.isGone) throw new HypervisorError('the guest stopped while its memory was being kept');
    const answer = await guest.execute('query-migrate');
    if (!Progress.Check(answer)) throw new HypervisorError("QEMU does not tell how far the guest's memory is");
    const { status, ram } = answer;
    if (ram) job.progress(ram.transferred, ram.total);
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled')
      throw new HypervisorError(`the guest's memory could not be kept: ${answer['error-desc'] ?? status}`);
    await clock.sleep(POLL_MS, job.signal);
  }
}

/** Takes one connection in the guest's directory and writes what it brings into the file. */
class Listener {
  /** Resolves when the other side has closed and all is written; nobody may wait for it, then it is not told. */
  readonly received: Promise<void>;
  readonly #server: Server;
  readonly #directory: FileHandle;
  #socket: Socket | null = null;

  private constructor(server: Server, directory: FileHandle, file: string) {
    this.#server = server;
    this.#directory = directory;
    this.received = new Promise((resolve, reject) => {
      server.once('connection', (socket) => {
        this.#socket = socket;
        const written = createWriteStream(file, { mode: 0o600, highWaterMark: WRITE_BYTES });
        pipeline(socket, written).then(resolve, reject);
      });
      server.once('error', reject);
    });
    // Its failure is QEMU's too, which says more.
    this.received.catch(() => undefined);
  }

  static async open({ directory, identity }: MemoryPlace, file: string): Promise<Listener> {
    // As in sockets.ts: a socket's address is short.
    const handle = await open(directory, 'r');
    const path = `/proc/self/fd/${handle.fd}/${MEMORY_SOCKET}`;
    await rm(path, { force: true });
    const server = createServer();
    server.maxConnections = 1;
    const listener = new Listener(server, handle, file);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    if (identity) await chown(path, identity.uid, identity.gid);
    return listener;
  }

  async close(): Promise<void> {
    this.#socket?.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.#directory.close();
  }
}
