// Exports of root disks: qemu-nbd serves the overlay file as raw bytes, read-only, and the gate lets readers in.
//
// Theory of operation. An export is one qemu-nbd on a unix socket in the guest's directory, plus one gate on the data
// address. It is raw on purpose: what crosses is the overlay, byte for byte, not what a guest would see. The name is 128
// random bits and the only key. The agent remembers name and port; after its restart it kills the old qemu-nbd and
// opens the same again, and a reader that reconnects goes on where it was.
// QEMU's own image locks keep a guest from starting on an exported disk by mistake; the agent closes the export first.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Clock, passed } from '../../lib/clock.ts';
import type { DiskExport } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import type { SavedExport } from '../records.ts';
import { type Layout, NBD_SOCKET } from './layout.ts';
import { NbdGate } from './nbd-gate.ts';
import { type Identity, openUntrusted } from './privileges.ts';
import { isCode } from './proc.ts';
import { connectIn } from './sockets.ts';
import { lastWords, PROGRAM_ENVIRONMENT } from './tools.ts';

export interface ExportOptions {
  readonly layout: Layout;
  readonly qemuNbd: string;
  readonly identity: Identity | null;
  /** Address of this host on the data network. */
  readonly dataAddress: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const START_LIMIT_MS = 5000;
const START_POLL_MS = 20;
/** Readers that qemu-nbd serves at once; a copy needs one. */
const MAX_READERS = '8';
const ERROR_LIMIT = 4096;

interface NbdServer {
  readonly process: ChildProcess;
  readonly exited: Promise<void>;
  /** What it said, and whether it lives. */
  readonly status: { errors: string; over: boolean };
}

interface OpenExport {
  readonly name: string;
  readonly server: NbdServer;
  readonly gate: NbdGate;
}

export class Exports {
  readonly #options: ExportOptions;
  readonly #open = new Map<string, OpenExport>();

  constructor(options: ExportOptions) {
    this.#options = options;
  }

  /** Opens the disk's export, or describes the open one. */
  async open(serverId: string, saved: SavedExport | null): Promise<DiskExport> {
    const known = this.#open.get(serverId);
    if (known && !known.server.status.over) return this.#describe(serverId, known);
    if (known) await this.close(serverId);
    const name = known?.name ?? saved?.name ?? randomBytes(16).toString('hex');
    const server = await this.#startServer(serverId, name);
    try {
      const gate = await this.#openGate(serverId, name, known?.gate.port ?? saved?.port ?? 0);
      const open = { name, server, gate };
      this.#open.set(serverId, open);
      return await this.#describe(serverId, open);
    } catch (error) {
      await end(server);
      throw error;
    }
  }

  async close(serverId: string): Promise<void> {
    const open = this.#open.get(serverId);
    if (!open) return;
    this.#open.delete(serverId);
    await open.gate.close();
    await end(open.server);
    await rm(join(this.#options.layout.guestDir(serverId), NBD_SOCKET), { force: true });
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((serverId) => this.close(serverId)));
  }

  async #openGate(serverId: string, exportName: string, port: number): Promise<NbdGate> {
    const { dataAddress, log, layout } = this.#options;
    const connect = () => connectIn(layout.guestDir(serverId), NBD_SOCKET);
    const options = { host: dataAddress, exportName, connect, log: log.child({ serverId }) };
    try {
      return await NbdGate.open({ ...options, port });
    } catch (error) {
      if (port === 0) throw error;
      // Somebody has taken the port meanwhile: better another one than none; whoever reads has to ask again.
      log.warn({ serverId, port, err: error }, 'the export gets another port');
      return NbdGate.open({ ...options, port: 0 });
    }
  }

  async #startServer(serverId: string, name: string): Promise<NbdServer> {
    const { layout, qemuNbd, identity, clock } = this.#options;
    const directory = layout.guestDir(serverId);
    await rm(join(directory, NBD_SOCKET), { force: true });
    // qemu-nbd wants an absolute socket path, and an address holds 108 bytes: its own working directory gives both.
    const socket = `/proc/self/cwd/${NBD_SOCKET}`;
    const args = ['-f', 'raw', '-r', '-t', '-e', MAX_READERS, '-k', socket, '-x', name, layout.disk(serverId)];
    const child = spawn(qemuNbd, args, {
      cwd: directory,
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: PROGRAM_ENVIRONMENT,
      ...identity,
    });
    const server = watch(child);
    const deadline = passed(clock) + START_LIMIT_MS;
    try {
      for (;;) {
        if (server.status.over) throw new HypervisorError(`qemu-nbd failed: ${lastWords(server.status.errors)}`);
        if (await listens(directory)) return server;
        if (passed(clock) > deadline) throw new HypervisorError('qemu-nbd does not listen');
        await clock.sleep(START_POLL_MS);
      }
    } catch (error) {
      await end(server);
      throw error;
    }
  }

  async #describe(serverId: string, open: OpenExport): Promise<DiskExport> {
    const file = await openUntrusted(this.#options.layout.disk(serverId), constants.O_RDONLY);
    if (file === null) throw new HypervisorError('the disk is not there');
    try {
      const { size, blocks } = await file.stat();
      const place = { host: this.#options.dataAddress, port: open.gate.port, name: open.name };
      return { ...place, sizeBytes: size, allocatedBytes: blocks * 512 };
    } finally {
      await file.close();
    }
  }
}

function watch(process: ChildProcess): NbdServer {
  const status = { errors: '', over: false };
  process.stderr?.setEncoding('utf8').on('data', (text: string) => {
    status.errors = (status.errors + text).slice(-ERROR_LIMIT);
  });
  const exited = new Promise<void>((resolve) => {
    const finish = () => {
      status.over = true;
      resolve();
    };
    process.once('error', (error) => {
      status.errors += `\n${error.message}`;
      finish();
    });
    process.once('close', finish);
  });
  return { process, exited, status };
}

async function end(server: NbdServer): Promise<void> {
  if (server.status.over) return;
  server.process.kill('SIGKILL');
  await server.exited;
}

async function listens(directory: string): Promise<boolean> {
  try {
    (await connectIn(directory, NBD_SOCKET)).destroy();
    return true;
  } catch (error) {
    if (error instanceof HypervisorError || isCode(error, 'ENOENT')) return false;
    throw error;
  }
}
