// The daemons that serve volumes: a qemu-storage-daemon for each volume that somebody may use.
//
// Theory of operation. A daemon runs while its volume has a grant: it is started by the first, and ended after the last
// is gone. Whoever is shut out is out when `serve` resolves: first the keys are replaced, so that nobody comes (back)
// in, then the exports go, with their connections. A daemon that ends by itself, or does not come up where guests know the
// volume already, is started again at the same port with the same keys, time after time, for as long as anybody has a
// grant; its guests reconnect. At a restart daemons are found by their command lines and go on, as they are; those
// of a machine that was off start a few at a time, for each has a limit.
// Each volume has a mutex: daemon and qemu-img never have one file open at once, save for copies from a snapshot.
import type { Logger } from 'pino';
import { HypervisorError } from '../../host/hypervisor.ts';
import { Mutex, Semaphore } from '../../host/mutex.ts';
import { removeKeys, writeKeys } from '../../host/qemu/keys.ts';
import type { Identity } from '../../host/qemu/privileges.ts';
import type { ProcessEntry } from '../../host/qemu/proc.ts';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Place } from '../driver.ts';
import type { Grant } from '../records.ts';
import { Daemon } from './daemon.ts';
import type { StorageLayout } from './layout.ts';

export interface DaemonsOptions {
  readonly daemonBinary: string;
  /** Address under which compute hosts reach volumes. */
  readonly dataAddress: string;
  readonly layout: StorageLayout;
  readonly identity: Identity | null;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a volume has running. */
interface Served {
  readonly mutex: Mutex;
  daemon: Daemon | null;
  grants: readonly Grant[];
  /** Resolves when the daemon before has let go of the file. Nobody reaches it any more. */
  ended: Promise<void>;
  /** Somebody is at it to bring the daemon back. */
  comesBack: boolean;
  /** Nobody has been let in since the volume was last shut. */
  isShut: boolean;
}

/** Pauses between attempts to bring a daemon back, ms. */
const RESTART_PAUSES_MS = [0, 200, 1000, 5000];
/** Daemons that are being started at once. */
const STARTS = 8;

export class Daemons {
  readonly #options: DaemonsOptions;
  readonly #served = new Map<string, Served>();
  readonly #starts = new Semaphore(STARTS);
  readonly #closing = new AbortController();

  constructor(options: DaemonsOptions) {
    this.#options = options;
  }

  /**
   * Exactly these may use the volume. Where they find it; null: nobody does. Not to be called by two at once. A volume that
   * is shut is not waited for, whatever is being done to its file: that may take hours (an image that is written over it).
   */
  async serve(volumeId: string, grants: readonly Grant[], port: number | null): Promise<Place | null> {
    const served = this.#of(volumeId);
    if (grants.length === 0 && served.isShut) return null;
    return served.mutex.run(async () => {
      served.grants = grants;
      served.isShut = false;
      if (grants.length === 0) await this.#shut(volumeId, served);
      else await this.#openOrWatch(volumeId, served, port);
      return served.daemon && { host: this.#options.dataAddress, port: served.daemon.port };
    });
  }

  /** Alone with the volume's file: through the daemon that has it open, or without one when nobody has. */
  async withFile(
    volumeId: string,
    work: (daemon: Daemon | null, grants: readonly Grant[]) => Promise<void>,
  ): Promise<void> {
    const served = this.#of(volumeId);
    await served.mutex.run(async () => {
      await served.ended;
      try {
        await work(served.daemon, served.grants);
      } catch (error) {
        const { daemon } = served;
        // Who was thrown out for it (see Daemon.grow) may not have been let in again.
        if (daemon && served.grants.length > 0) this.#bringBack(volumeId, served, daemon.port);
        throw error;
      }
    });
  }

  /** A daemon of an agent before goes on serving. */
  adopt(volumeId: string, found: ProcessEntry, port: number): void {
    this.#watch(volumeId, this.#of(volumeId), Daemon.adopt(found, port, this.#place(volumeId)));
  }

  /** The volume is gone. */
  forget(volumeId: string): void {
    this.#served.delete(volumeId);
  }

  /** Lets go of the daemons, which go on. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const served of this.#served.values()) {
      await served.ended;
      await served.mutex.run(async () => served.daemon?.detach());
    }
  }

  // ---- inside the volume's mutex --------------------------------------------------------------------------------

  /** Nobody waits for a volume that had no port yet: whoever wants it asks again. */
  async #openOrWatch(volumeId: string, served: Served, port: number | null): Promise<void> {
    try {
      await this.#open(volumeId, served, port);
    } catch (error) {
      if (port !== null) this.#bringBack(volumeId, served, port);
      throw error;
    }
  }

  async #open(volumeId: string, served: Served, port: number | null): Promise<void> {
    if (served.daemon?.isGone) served.daemon = null;
    await writeKeys(this.#keys(volumeId), this.#options.identity, served.grants);
    if (served.daemon && (await this.#adjust(volumeId, served, served.daemon))) return;
    await served.ended;
    const { dataAddress } = this.#options;
    const daemon = await this.#starts.run(this.#closing.signal, () =>
      Daemon.start(this.#facts(volumeId), dataAddress, port),
    );
    this.#watch(volumeId, served, daemon);
    await daemon.setExports(served.grants);
  }

  /** Nobody has access: keys and exports first, at once; then the daemon, which may have something to write. */
  async #shut(volumeId: string, served: Served): Promise<void> {
    const daemon = served.daemon;
    if (daemon && !daemon.isGone) {
      await writeKeys(this.#keys(volumeId), this.#options.identity, []);
      if (await this.#adjust(volumeId, served, daemon)) served.ended = this.#end(volumeId, daemon);
    }
    served.daemon = null;
    await removeKeys(this.#keys(volumeId));
    served.isShut = true;
  }

  /** Not waited for by whoever shuts somebody out: who is out is out. */
  async #end(volumeId: string, daemon: Daemon): Promise<void> {
    try {
      await daemon.stop();
    } catch (error) {
      // The next use of the file finds it locked, and says so.
      this.#options.log.error({ volumeId, daemonPid: daemon.pid, reason: messageOf(error) }, 'a daemon does not end');
    }
  }

  /** False when the daemon does not do as it is told, and has been killed: then nobody is in either. */
  async #adjust(volumeId: string, served: Served, daemon: Daemon): Promise<boolean> {
    try {
      await daemon.setExports(served.grants);
      return true;
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      this.#options.log.warn({ volumeId, reason: error.message }, 'a daemon that does not obey is killed');
      await daemon.kill();
      served.daemon = null;
      return false;
    }
  }

  #watch(volumeId: string, served: Served, daemon: Daemon): void {
    served.daemon = daemon;
    this.#options.log.info({ volumeId, daemonPid: daemon.pid, port: daemon.port }, 'volume served');
    void daemon.gone.then(() => {
      // Nobody has told it to.
      if (served.daemon === daemon) this.#bringBack(volumeId, served, daemon.port);
    });
  }

  /** Somebody has a grant, and is not served: tries again until everybody is, or nobody has one. */
  #bringBack(volumeId: string, served: Served, port: number): void {
    if (served.comesBack) return;
    served.comesBack = true;
    // What goes wrong in it is in the log, and tried again.
    void this.#untilServed(volumeId, served, port);
  }

  async #untilServed(volumeId: string, served: Served, port: number): Promise<void> {
    const { clock } = this.#options;
    for (let attempt = 0; ; attempt += 1) {
      await clock.sleep(RESTART_PAUSES_MS[attempt] ?? RESTART_PAUSES_MS.at(-1) ?? 0, this.#closing.signal);
      const over = await served.mutex.run(async () => {
        const wanted = !this.#closing.signal.aborted && served.grants.length > 0;
        served.comesBack = wanted && !(await this.#isServed(volumeId, served, port));
        return !served.comesBack;
      });
      if (over) return;
    }
  }

  async #isServed(volumeId: string, served: Served, port: number): Promise<boolean> {
    const { log } = this.#options;
    if (served.daemon === null || served.daemon.isGone)
      log.warn({ volumeId, daemonPid: served.daemon?.pid }, 'a volume is not served: its daemon is started again');
    try {
      await this.#open(volumeId, served, port);
      return true;
    } catch (error) {
      log.error({ volumeId, reason: messageOf(error) }, 'the volume cannot be served');
      return false;
    }
  }

  // ---- small things ---------------------------------------------------------------------------------------------

  #of(volumeId: string): Served {
    const known = this.#served.get(volumeId);
    if (known) return known;
    const ended = Promise.resolve();
    const served = { mutex: new Mutex(), daemon: null, grants: [], ended, comesBack: false, isShut: false };
    this.#served.set(volumeId, served);
    return served;
  }

  #keys(volumeId: string): string {
    return this.#options.layout.keys(volumeId);
  }

  #place(volumeId: string) {
    const { layout, clock } = this.#options;
    return { directory: layout.volumeDir(volumeId), logPath: layout.log(volumeId), clock };
  }

  #facts(volumeId: string) {
    const { layout, identity } = this.#options;
    return {
      binary: this.#options.daemonBinary,
      identity,
      volumePath: layout.volume(volumeId),
      keysDir: this.#keys(volumeId),
      pidFile: layout.pidFile(volumeId),
      place: this.#place(volumeId),
    };
  }
}
