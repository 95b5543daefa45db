// The port between the agent, which keeps records and rules, and whatever runs guests (QEMU, or a simulation).
//
// Theory of operation. A driver owns the guests' processes and disks and knows nothing of generations. The agent calls
// it for one guest at a time, never twice at once for the same effect, and never starts a guest whose disk is in use.
// Every effect may be repeated: removing what is not there, closing what is closed and killing what is dead succeed.
// A driver forgets nothing over a restart that matters: `recover` tells it what the records say, and it finds its
// processes again, or cleans up after work that the restart cut short.
import type { Duplex } from 'node:stream';
import type { ConsoleKind } from './consoles.ts';
import type {
  BaseImage,
  DefineRequest,
  Diagnostics,
  DiskExport,
  GuestPort,
  GuestSpec,
  GuestVolume,
} from './contract.ts';
import type { GuestBody, SavedExport } from './records.ts';

/** The hypervisor's definite no: the reason is one sentence (plus the last lines a program said) for operators. */
export class HypervisorError extends Error {
  override readonly name = 'HypervisorError';
}

/** What a long piece of work may use: it ends soon after `signal` aborts, and tells how far it is, in bytes. */
export interface JobControl {
  readonly signal: AbortSignal;
  progress(doneBytes: number, totalBytes: number): void;
}

export interface HypervisorFacts {
  readonly hypervisorType: string;
  /** As in Nova: major * 1,000,000 + minor * 1,000 + micro. */
  readonly hypervisorVersion: number;
  readonly accelerator: 'kvm' | 'tcg' | 'none';
  readonly architecture: string;
  readonly upSeconds: number;
  /** Over 1, 5 and 15 minutes. */
  readonly loads: [number, number, number];
}

/** What a guest's process is started with. */
export interface GuestStart {
  readonly spec: GuestSpec;
  readonly volumes: readonly GuestVolume[];
  /** It loads what `saveMemory` has kept, and stands still then. */
  readonly fromMemory: boolean;
  /** Its root disk is the spare one. */
  readonly fromSpare: boolean;
  /** It boots from the spare disk, which stands on this image, and has its own too: behind it, or where it always is. */
  readonly rescue: { readonly image: BaseImage; readonly last: boolean } | null;
}

/** All methods reject with HypervisorError for expected failures. */
export interface Hypervisor {
  facts(): Promise<HypervisorFacts>;
  /**
   * Called once, before anything else, with every guest on record: find those that run, drop half-made disks. Those that
   * are not on record run no longer, and their files stay.
   */
  recover(guests: ReadonlyMap<string, GuestBody>): Promise<void>;

  /** Ids of the guests that have files here, on record or not; none where nothing can be found any more. */
  kept(): Promise<string[]>;
  /** What a guest's files take here; null: it has none. */
  bytesOf(serverId: string): Promise<number | null>;

  /** Names of the files that this guest must have and does not. */
  missing(serverId: string, guest: GuestBody): Promise<string[]>;
  /** Paths below the state directory that belong to no guest that has files here. */
  strays(): Promise<string[]>;

  /** Base image cached, place for the guest made; with `fresh` also its root disk of spec.root.bytes. */
  prepare(serverId: string, spec: GuestSpec, disk: DefineRequest['disk'], job: JobControl): Promise<void>;
  /**
   * Creates the guest's process and returns at once; from then on `running` is true until the process is gone.
   */
  spawn(serverId: string, start: GuestStart): Promise<void>;
  /** Resolves when the spawned guest runs; rejects with the hypervisor's own words when it will not. */
  awaitRunning(serverId: string, job: JobControl): Promise<void>;
  /** The same of a guest that loads its memory: resolves when it stands still with it. */
  awaitLoaded(serverId: string, job: JobControl): Promise<void>;
  /**
   * Keeps what the running guest has in memory, also over a power cut; the guest stands still from then on. Rejects, and
   * lets the guest go on, when that cannot be done.
   */
  saveMemory(serverId: string, spec: GuestSpec, job: JobControl): Promise<void>;
  /** The base image is cached, and with a root disk of spec.root there is a new one beside the own one. */
  makeSpare(serverId: string, spec: GuestSpec, job: JobControl): Promise<void>;
  /** The spare disk is the own one; harmless when it is already. No process is started meanwhile. */
  adoptSpare(serverId: string): Promise<void>;
  /** There is no spare disk. */
  removeSpare(serverId: string): Promise<void>;
  /** Nothing of it is kept any more. */
  dropMemory(serverId: string): Promise<void>;
  /** Whether a process of this guest may still exist. */
  running(serverId: string): boolean;
  /** When the running guest's process was started, ms since epoch; null when none runs. */
  startedAt(serverId: string): number | null;
  /** Resolves when no process of this guest exists (any more). */
  gone(serverId: string): Promise<void>;
  /** The running guest has this volume afterwards; rejects, and leaves nothing of it, when it cannot be reached. */
  plug(serverId: string, volume: GuestVolume): Promise<void>;
  /** The running guest no longer has it, nor what an unfinished `plug` left. Rejects when the guest does not let go. */
  unplug(serverId: string, volume: GuestVolume, job: JobControl): Promise<void>;
  /**
   * The running guest, which has this volume, sees that it has grown. Rejects, and harms nothing, when it cannot be
   * told now.
   */
  showGrown(serverId: string, volume: GuestVolume): Promise<void>;
  /** The running guest has a network card for this port afterwards; leaves nothing of it when that fails. */
  plugPort(serverId: string, port: GuestPort): Promise<void>;
  /** As `unplug`. */
  unplugPort(serverId: string, portId: string, job: JobControl): Promise<void>;
  /** Presses the guest's power button; says nothing about whether the guest cares. */
  pressPowerButton(serverId: string): Promise<void>;
  /** The running guest's processors stand still, or go on; harmless when they already do. Its process stays. */
  setPaused(serverId: string, paused: boolean): Promise<void>;
  /** Whether the running guest was stopped because a disk of its could not be read or written. `setPaused` lets it go on. */
  isStuck(serverId: string): Promise<boolean>;
  /** A non-maskable interrupt for the running guest. */
  injectNmi(serverId: string): Promise<void>;
  /** What the running guest has used. */
  diagnostics(serverId: string, spec: GuestSpec): Promise<Diagnostics>;
  /** Pulls the plug and resolves when the process is confirmed gone. `flush`: let the hypervisor write its caches. */
  kill(serverId: string, flush: boolean): Promise<void>;

  /** Opens the export, or describes the open one. `saved`: the name and port it had before. The guest is off. */
  openExport(serverId: string, saved: SavedExport | null): Promise<DiskExport>;
  closeExport(serverId: string): Promise<void>;
  /** Brings the root disk over and returns the SHA-256 of its bytes as received. Leaves nothing when it fails. */
  importDisk(serverId: string, image: BaseImage, source: DiskExport, job: JobControl): Promise<string>;
  /** SHA-256 of the root disk's own bytes (the overlay, not what it shows). The guest is off. */
  digest(serverId: string, job: JobControl): Promise<string>;
  /** Grows the root disk to `rootBytes` at least. The guest is off. */
  grow(serverId: string, rootBytes: number, job: JobControl): Promise<void>;
  /** A snapshot of the root disk as it is at one moment, in place of the one before; done if it is there. */
  takeSnapshot(serverId: string, image: BaseImage, snapshotId: string, job: JobControl): Promise<void>;
  /** Sends the snapshot's file there. Rejects when it is not taken as it is. */
  uploadSnapshot(serverId: string, snapshotId: string, url: string, job: JobControl): Promise<void>;
  /** Removes the guest's snapshot, and what an unfinished one has left. */
  dropSnapshot(serverId: string): Promise<void>;
  /** Deletes everything of this guest. Its process is gone and its export closed. */
  remove(serverId: string): Promise<void>;
  /**
   * Drops cached base images that are not in `inUse` (SHA-256 values), as far as the cache's limit asks for it. What is
   * in use is asked again before each: guests are defined meanwhile.
   */
  sweepImages(inUse: () => ReadonlySet<string>): Promise<void>;

  /** All that is kept of the serial console. */
  console(serverId: string): Promise<string>;
  /** A console of the running guest, which ends with it. The serial line has one reader: an older one is ended. */
  openConsole(serverId: string, kind: ConsoleKind): Promise<Duplex>;
  /** A connection to a TCP port of the running guest, as Consoles has it. */
  openTcp(serverId: string, portId: string, tcpPort: number): Promise<Duplex>;
  /** Bytes of the storage that holds root disks. */
  diskBytes(): Promise<number>;
  /** Lets go of everything: exports closed, copies ended. Guests go on running. */
  close(): Promise<void>;
}
