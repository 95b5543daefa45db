// The qemu-storage-daemon of one volume.
//
// Theory of operation. It has the volume's file open, as one node `disk`, and serves it over NBD with TLS-PSK on a
// socket that it inherited. It reads the keys at each handshake; exports come and go over QMP. An export's name is its
// id. Deleting an export "hard" closes its connections at once, whatever they are doing (2 ms).
// One volume, one daemon, one file of keys: a key that is good here opens nothing of any other volume.
// Not handled: a compute host that turned hostile and holds a good key can list the names of the volume's other exports.
import { HypervisorError } from '../../host/hypervisor.ts';
import type { Identity } from '../../host/qemu/privileges.ts';
import type { ProcessRef } from '../../host/qemu/proc.ts';
import { type ProcessPlace, QemuProcess } from '../../host/qemu/process.ts';
import { type Clock, passed } from '../../lib/clock.ts';
import { assertNever } from '../../lib/errors.ts';
import type { Grant } from '../records.ts';
import { listenFor } from './listener.ts';

const DAEMON_SOCKET = 'qmp.sock';
const NODE = 'disk';
const START_LIMIT_MS = 10_000;
const START_POLL_MS = 10;
const DELETE_LIMIT_MS = 5000;
/** Connections of one volume at once: guests, and those of them that have not noticed yet that theirs are gone. */
const MAX_CONNECTIONS = 128;

export interface DaemonFacts {
  readonly binary: string;
  readonly identity: Identity | null;
  readonly volumePath: string;
  readonly keysDir: string;
  readonly pidFile: string;
  readonly place: ProcessPlace;
}

export class Daemon {
  readonly port: number;
  readonly #process: QemuProcess;
  readonly #clock: Clock;

  private constructor(port: number, process: QemuProcess, clock: Clock) {
    this.port = port;
    this.#process = process;
    this.#clock = clock;
  }

  /** A daemon that answers and serves nothing yet. HypervisorError with its last words when it will not. */
  static async start(facts: DaemonFacts, host: string, port: number | null): Promise<Daemon> {
    const listener = await listenFor(host, port);
    let process: QemuProcess;
    try {
      process = await QemuProcess.spawn(facts.binary, daemonArguments(facts), facts.identity, facts.place, [
        listener.fd,
      ]);
    } finally {
      listener.release();
    }
    const daemon = new Daemon(listener.port, process, facts.place.clock);
    try {
      await daemon.#awaitAnswer();
      return daemon;
    } catch (error) {
      await process.kill(false);
      await process.detach();
      throw error;
    }
  }

  /** A daemon that an earlier agent started. */
  static adopt(ref: ProcessRef, port: number, place: ProcessPlace): Daemon {
    return new Daemon(port, QemuProcess.adopt(ref, place), place.clock);
  }

  get gone(): Promise<void> {
    return this.#process.gone;
  }

  get isGone(): boolean {
    return this.#process.isGone;
  }

  get pid(): number {
    return this.#process.ref.pid;
  }

  /** Exactly these exports. The keys of others have been taken away before, so nobody who is thrown out comes back. */
  async setExports(grants: readonly Pick<Grant, 'exportName' | 'mode'>[]): Promise<void> {
    const open = await this.#exports();
    const wanted = new Set(grants.map(({ exportName }) => exportName));
    for (const id of open) if (!wanted.has(id)) await this.#deleteExport(id);
    for (const grant of grants) if (!open.includes(grant.exportName)) await this.#addExport(grant);
  }

  /** Grows the volume. QEMU does not resize what is exported: who is connected is thrown out for a moment and returns. */
  async grow(sizeBytes: number, grants: readonly Pick<Grant, 'exportName' | 'mode'>[]): Promise<void> {
    for (const id of await this.#exports()) await this.#deleteExport(id);
    try {
      await this.#process.execute('block_resize', { 'node-name': NODE, size: sizeBytes });
    } finally {
      await this.setExports(grants);
    }
  }

  async snapshot(action: 'take' | 'delete', name: string): Promise<void> {
    const there = (await this.#snapshots()).includes(name);
    switch (action) {
      case 'take':
        if (!there) await this.#process.execute('blockdev-snapshot-internal-sync', { device: NODE, name });
        return;
      case 'delete':
        if (there) await this.#process.execute('blockdev-snapshot-delete-internal-sync', { device: NODE, name });
        return;
      default:
        return assertNever(action);
    }
  }

  /** Ends it, letting it write what it holds. */
  async stop(): Promise<void> {
    await this.#process.kill(true);
    await this.#process.detach();
  }

  /** Ends it at once: it does not answer. */
  async kill(): Promise<void> {
    await this.#process.kill(false);
    await this.#process.detach();
  }

  /** Lets go of it; it goes on serving. */
  async detach(): Promise<void> {
    await this.#process.detach();
  }

  async #awaitAnswer(): Promise<void> {
    const clock = this.#clock;
    const deadline = passed(clock) + START_LIMIT_MS;
    for (;;) {
      if (this.isGone) throw new HypervisorError(`qemu-storage-daemon ended: ${await this.#process.lastWords()}`);
      try {
        await this.#process.execute('query-block-exports');
        return;
      } catch (error) {
        // Not listening yet.
        if (!(error instanceof HypervisorError)) throw error;
        if (passed(clock) > deadline) throw error;
      }
      await Promise.race([this.gone, clock.sleep(START_POLL_MS)]);
    }
  }

  async #exports(): Promise<string[]> {
    const answer = (await this.#process.execute('query-block-exports')) as ReadonlyArray<{ id: string }>;
    return answer.map(({ id }) => id);
  }

  async #addExport({ exportName, mode }: Pick<Grant, 'exportName' | 'mode'>): Promise<void> {
    await this.#process.execute('block-export-add', {
      ...{ type: 'nbd', id: exportName, 'node-name': NODE, name: exportName, writable: mode === 'rw' },
      // This daemon may end while the guest goes on with the next: what it acknowledges must not end with it.
      writethrough: true,
    });
  }

  /** Resolves when it is gone: its connections are closed and it answers nobody. */
  async #deleteExport(id: string): Promise<void> {
    await this.#process.execute('block-export-del', { id, mode: 'hard' });
    // The command only asks for it. Nobody can be let in again meanwhile; it takes a few milliseconds.
    const clock = this.#clock;
    const deadline = passed(clock) + DELETE_LIMIT_MS;
    while ((await this.#exports()).includes(id)) {
      if (passed(clock) > deadline) throw new HypervisorError('an export does not close');
      await clock.sleep(1);
    }
  }

  async #snapshots(): Promise<string[]> {
    const nodes = (await this.#process.execute('query-named-block-nodes', { flat: true })) as ReadonlyArray<{
      'node-name': string;
      image?: { snapshots?: ReadonlyArray<{ name: string }> };
    }>;
    const disk = nodes.find((node) => node['node-name'] === NODE);
    return (disk?.image?.snapshots ?? []).map(({ name }) => name);
  }
}

/** Pure. Nothing that came from outside is in it but the volume's id, inside the agent's own paths. */
function daemonArguments(facts: Pick<DaemonFacts, 'volumePath' | 'keysDir' | 'pidFile'>): string[] {
  const disk = {
    driver: 'qcow2',
    'node-name': NODE,
    discard: 'unmap',
    // No file that this one's header may name is ever opened.
    backing: null,
    file: { driver: 'file', filename: facts.volumePath, locking: 'on', discard: 'unmap' },
  };
  const credentials = { 'qom-type': 'tls-creds-psk', id: 'tls', endpoint: 'server', dir: facts.keysDir };
  return [
    ...['--pidfile', facts.pidFile],
    ...['--chardev', `socket,id=qmp,path=${DAEMON_SOCKET},server=on,wait=off`, '--monitor', 'chardev=qmp'],
    ...['--blockdev', JSON.stringify(disk)],
    ...['--object', JSON.stringify(credentials)],
    // Descriptor 3: the listening socket.
    ...['--nbd-server', `addr.type=fd,addr.str=3,tls-creds=tls,max-connections=${MAX_CONNECTIONS}`],
  ];
}
