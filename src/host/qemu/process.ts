// One process of QEMU's, a guest's or a storage daemon: started here, or found again after a restart of the agent.
//
// Theory of operation. QEMU is its own session leader and shares nothing with the agent but its log file, so it lives
// on when the agent ends. A process is pid plus start time; it is gone when /proc says so (for an own child: when it has
// been reaped). All are looked at five times a second, and where that fails (no descriptor is free) nothing is known and it
// is looked again: `gone` never rejects. QMP is connected when first needed and again when it was
// lost; QEMU takes a new client as soon as the old one is gone.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, passed } from '../../lib/clock.ts';
import { HypervisorError } from '../hypervisor.ts';
import { QMP_SOCKET } from './layout.ts';
import type { Identity } from './privileges.ts';
import { identify, isAlive, isCode, type ProcessRef, signal, startedAtMs } from './proc.ts';
import { Qmp } from './qmp.ts';
import { connectIn } from './sockets.ts';
import { lastWords, PROGRAM_ENVIRONMENT } from './tools.ts';

export interface ProcessPlace {
  /** QEMU's working directory, where its sockets are. */
  readonly directory: string;
  readonly logPath: string;
  readonly clock: Clock;
}

const WATCH_MS = 200;
const CONNECT_LIMIT_MS = 2000;
/** QEMU writes its caches and exits within this time after SIGTERM, or is killed. */
const FLUSH_MS = 2000;
const KILL_LIMIT_MS = 10_000;
const LOG_TAIL = 4096;

export class QemuProcess {
  readonly ref: ProcessRef;
  readonly startedAt: number;
  /** Resolves when the process is confirmed gone. */
  readonly gone: Promise<void>;
  isGone = false;
  readonly #place: ProcessPlace;
  readonly #detached = new AbortController();
  #qmp: Promise<Qmp> | null = null;

  private constructor(ref: ProcessRef, place: ProcessPlace, startedAt: number, gone: Promise<void>) {
    this.ref = ref;
    this.startedAt = startedAt;
    this.#place = place;
    this.gone = Promise.race([gone, this.#watch()]).then(() => {
      this.isGone = true;
    });
  }

  /** Creates the process; HypervisorError when the binary cannot be run at all. It has `descriptors` as 3, 4, … */
  static async spawn(
    binary: string,
    args: readonly string[],
    identity: Identity | null,
    place: ProcessPlace,
    descriptors: readonly number[] = [],
  ): Promise<QemuProcess> {
    await rm(join(place.directory, QMP_SOCKET), { force: true });
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND;
    const log = openSync(place.logPath, flags, 0o600);
    try {
      const child = spawn(binary, args, {
        cwd: place.directory,
        detached: true,
        stdio: ['ignore', log, log, ...descriptors],
        env: PROGRAM_ENVIRONMENT,
        ...identity,
      });
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      const failed = new Promise<Error>((resolve) => child.once('error', resolve));
      if (child.pid === undefined) throw new HypervisorError(`${binary} cannot be run: ${(await failed).message}`);
      const ref = identifyOrKill(child);
      if (ref === null) throw new HypervisorError(`${binary} ended at once`);
      child.unref();
      return new QemuProcess(ref, place, place.clock.now(), exited);
    } finally {
      closeSync(log);
    }
  }

  /** A process that an earlier agent started. */
  static adopt(ref: ProcessRef, place: ProcessPlace): QemuProcess {
    return new QemuProcess(ref, place, startedAtMs(ref), new Promise(() => undefined));
  }

  /** Resolves when the guest has this status; HypervisorError with QEMU's last words when it exits or does not get there. */
  async awaitStatus(wanted: readonly string[], limitMs: number, stop: AbortSignal): Promise<void> {
    const { clock } = this.#place;
    const deadline = passed(clock) + limitMs;
    for (;;) {
      stop.throwIfAborted();
      if (this.isGone) throw new HypervisorError(`QEMU ended: ${(await this.lastWords()) || 'without a word'}`);
      const status = await this.#status();
      if (status !== null && wanted.includes(status)) return;
      if (passed(clock) > deadline) throw new HypervisorError(`QEMU does not run the guest (${status ?? 'no answer'})`);
      await Promise.race([this.gone, clock.sleep(20, stop)]);
    }
  }

  async pressPowerButton(): Promise<void> {
    await this.execute('system_powerdown');
  }

  /** Runs one command; HypervisorError when it fails or is not answered in time. */
  async execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const qmp = await this.#connected();
    return qmp.execute(command, args);
  }

  /** Whether QEMU has stopped it for an error of a disk (`werror=stop`, `enospc`). HypervisorError when it does not say. */
  async isStuck(): Promise<boolean> {
    const answer = (await this.execute('query-status')) as { status?: unknown };
    return answer.status === 'io-error';
  }

  async setPaused(paused: boolean): Promise<void> {
    const qmp = await this.#connected();
    await qmp.execute(paused ? 'stop' : 'cont');
  }

  /** Resolves when the process is gone. `flush`: QEMU may write its caches first. */
  async kill(flush: boolean): Promise<void> {
    if (flush && !this.isGone && signal(this.ref, 'SIGTERM')) {
      await this.#goneWithin(FLUSH_MS);
    }
    if (!this.isGone) signal(this.ref, 'SIGKILL');
    await this.#goneWithin(KILL_LIMIT_MS);
    if (!this.isGone) throw new HypervisorError(`QEMU (process ${this.ref.pid}) does not end`);
  }

  /** Lets go of the process, which goes on running. */
  async detach(): Promise<void> {
    this.#detached.abort();
    if (this.#qmp) await this.#qmp.then((qmp) => qmp.close(), ignoreFailedConnection);
  }

  /** What QEMU said last. */
  async lastWords(): Promise<string> {
    try {
      return lastWords((await readFile(this.#place.logPath, 'utf8')).slice(-LOG_TAIL));
    } catch (error) {
      if (isCode(error, 'ENOENT')) return '';
      throw error;
    }
  }

  async #status(): Promise<string | null> {
    try {
      const answer = (await this.execute('query-status')) as { status?: unknown };
      return typeof answer.status === 'string' ? answer.status : null;
    } catch (error) {
      // Not listening yet, or just ending: the caller looks again until its limit.
      if (error instanceof HypervisorError) return null;
      throw error;
    }
  }

  async #connected(): Promise<Qmp> {
    const before = this.#qmp;
    const known = before && (await before.catch(ignoreFailedConnection));
    if (known && !known.isClosed) return known;
    // Of several callers that found the connection lost, one connects: QEMU serves a single client.
    if (this.#qmp === null || this.#qmp === before) this.#qmp = this.#connect();
    return this.#qmp;
  }

  async #connect(): Promise<Qmp> {
    return Qmp.attach(await connectIn(this.#place.directory, QMP_SOCKET), CONNECT_LIMIT_MS);
  }

  /** Resolves when the process is gone or the time is over. */
  async #goneWithin(limitMs: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.gone, this.#place.clock.sleep(limitMs, over.signal)]);
    over.abort();
  }

  #isKnownGone(): boolean {
    try {
      return !isAlive(this.ref);
    } catch {
      // That it cannot be told now says nothing of the process.
      return false;
    }
  }

  async #watch(): Promise<void> {
    const { signal: detached } = this.#detached;
    while (!this.#isKnownGone()) {
      await this.#place.clock.sleep(WATCH_MS, detached);
      // Nobody looks any more: this promise then never resolves, because nothing is known.
      if (detached.aborted) return new Promise(() => undefined);
    }
  }
}

/** One that cannot be named cannot be watched: it must not go on where nobody knows of it. */
function identifyOrKill(child: ChildProcess): ProcessRef | null {
  try {
    // Even one that has ended already is still there as a zombie: nobody has reaped it in this turn of the loop.
    return identify(child.pid ?? 0);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** The next use connects anew and reports its own failure. */
function ignoreFailedConnection(): null {
  return null;
}
