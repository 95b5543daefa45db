// One storage host as a program: its state directory, lock, records, driver and HTTP server.
//
// Theory of operation. As host/main.ts: take the lock, read the records, serve who has a grant, listen, then write
// agent.json, which tells a supervisor that this agent serves and where. Ending, in whatever way, never stops a daemon:
// guests go on reading and writing.
//   <state dir>/agent.json             {pid, startTime, url, name}, mode 0600
//   <state dir>/records/volumes|servers   one JSON file each (records.ts)
//   <state dir>/volumes/ keys/ images/ logs/   the driver's (qemu/layout.ts)
import { chmod, mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Lock, lockDirectory } from '../host/lock.ts';
import { RecordFiles } from '../host/record-files.ts';
import { serveAgent } from '../host/serve-agent.ts';
import type { SimulatedFabric } from '../host/simulated-fabric.ts';
import { systemClock } from '../lib/clock.ts';
import { StorageAgent } from './agent.ts';
import type { StorageDriver } from './driver.ts';
import { QemuStorage } from './qemu/driver.ts';
import { ServerRecord, type StorageRecords, type VolumeBody, VolumeRecord } from './records.ts';
import { createStorageServer } from './server.ts';
import { SimulatedStorage } from './simulated.ts';

export interface StorageConfig {
  readonly name: string;
  /** Made when missing (mode 0711: the daemons' user has to pass it). */
  readonly stateDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** The fleet secret: what callers must show, and what the agent shows when it fetches images. */
  readonly secret: string;
  /** With a fabric, a simulated storage host whose volumes the hosts of that simulation reach. */
  readonly fabric?: SimulatedFabric;
  /** Address under which compute hosts reach volumes; the listen address when absent. */
  readonly dataAddress?: string;
  readonly daemonBinary?: string;
  readonly qemuImgBinary?: string;
  /** User for QEMU's programs when the agent is root; null: the agent's own. Default `nobody`. */
  readonly runAs?: string | null;
  /** Seconds after which a copy or download without progress fails. Default 60. */
  readonly stallSeconds?: number;
  /** Base images are kept up to this many bytes. Default 10 GiB. */
  readonly unusedImageBytes?: number;
  readonly log: Logger;
}

export interface RunningStorage {
  /** Base URL for connectStorage. */
  readonly url: string;
  /** Resolves when nothing of the agent is left. Volumes go on being served. */
  close(): Promise<void>;
}

const DEFAULT_STALL_SECONDS = 60;
const DEFAULT_UNUSED_IMAGE_BYTES = 10 * 1024 ** 3;
const ANY_ADDRESS = ['0.0.0.0', '::'];

/** Starts a storage agent and resolves when it serves. Rejects when its state directory is in use or damaged. */
export async function runStorage(config: StorageConfig): Promise<RunningStorage> {
  await mkdir(config.stateDir, { recursive: true, mode: 0o711 });
  const stateDir = await realpath(config.stateDir);
  const lock = await lockDirectory(stateDir);
  if (lock === null) throw new Error(`another agent serves ${stateDir}`);
  try {
    return await runLocked(config, stateDir, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function runLocked(config: StorageConfig, stateDir: string, lock: Lock): Promise<RunningStorage> {
  const { name, log, secret, listen } = config;
  const records = await openRecords(stateDir);
  const driver = await openDriver(config, stateDir);
  const agent = await StorageAgent.open({ name, clock: systemClock, driver, records, log });
  const app = createStorageServer({ storage: agent, name, secret, log });
  const end = async () => {
    await agent.close();
    await lock.release();
  };
  return serveAgent({ app, name, secret, listen, stateDir, log, end });
}

/**
 * Ends the daemons of all volumes of a state directory that no agent serves; nothing is forgotten, the next start serves
 * whoever has access again. Returns how many volumes were served.
 */
export async function stopServing(config: StorageConfig): Promise<number> {
  await mkdir(config.stateDir, { recursive: true, mode: 0o711 });
  const stateDir = await realpath(config.stateDir);
  const lock = await lockDirectory(stateDir);
  if (lock === null) throw new Error(`another agent serves ${stateDir}`);
  try {
    const driver = await openDriver(config, stateDir);
    const records = await (await openRecords(stateDir)).volumes.load();
    const volumes = new Map<string, VolumeBody>();
    for (const { id, volume } of records) if (volume) volumes.set(id, volume);
    await driver.recover(volumes);
    const served = [...volumes].filter(([, volume]) => volume.grants.length > 0);
    for (const [volumeId] of served) await driver.serve(volumeId, [], null);
    await driver.close();
    return served.length;
  } finally {
    await lock.release();
  }
}

async function openRecords(stateDir: string): Promise<StorageRecords> {
  const directory = join(stateDir, 'records');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  return {
    volumes: new RecordFiles(join(directory, 'volumes'), VolumeRecord, ({ id }) => id),
    servers: new RecordFiles(join(directory, 'servers'), ServerRecord, ({ id }) => id),
  };
}

async function openDriver(config: StorageConfig, stateDir: string): Promise<StorageDriver> {
  const { fabric, name: host, secret } = config;
  if (fabric) return new SimulatedStorage({ fabric, host, secret });
  const dataAddress = config.dataAddress ?? config.listen.host;
  if (ANY_ADDRESS.includes(dataAddress)) throw new Error('dataAddress must be one address that other hosts can reach');
  return QemuStorage.open({
    stateDir,
    daemonBinary: config.daemonBinary ?? 'qemu-storage-daemon',
    qemuImgBinary: config.qemuImgBinary ?? 'qemu-img',
    runAs: config.runAs === undefined ? 'nobody' : config.runAs,
    dataAddress,
    secret: config.secret,
    stallMs: (config.stallSeconds ?? DEFAULT_STALL_SECONDS) * 1000,
    unusedImageBytes: config.unusedImageBytes ?? DEFAULT_UNUSED_IMAGE_BYTES,
    clock: systemClock,
    log: config.log,
  });
}
