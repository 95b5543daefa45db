// For tests alone: a platform without hosts, and disk images made byte by byte.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { systemClock } from '../../lib/clock.ts';
import type { Actor } from '../../model/types.ts';
import { openStores, type Stores } from '../../store/stores.ts';
import type { Platform, Settings } from '../platform.ts';
import { DEFAULT_POLICIES } from '../policies.ts';

export interface ImageWorld extends AsyncDisposable {
  readonly p: Platform;
  readonly directory: string;
  /** Moves the platform's clock on. */
  advance(ms: number): void;
}

/** A platform with stores in memory and a directory for images that goes with it. */
export async function imageWorld(overrides: Partial<Settings> = {}): Promise<ImageWorld> {
  const root = await mkdtemp(join(tmpdir(), 'crosscell-images-'));
  const directory = join(root, 'images');
  const stores: Stores = await openStores(':memory:');
  let ahead = 0;
  const clock: Clock = { now: () => Date.now() + ahead, sleep: systemClock.sleep };
  const settings = {
    region: 'RegionOne',
    publicUrl: 'http://127.0.0.1:8774',
    hostFacingUrl: 'http://127.0.0.1:8774',
    imageDirectory: directory,
    maxImageBytes: 4 * 1024 * 1024,
    ...overrides,
  } as Settings;
  const log = pino({ level: 'silent' });
  const p: Platform = {
    ...{ clock, log, stores, settings },
    host: () => Promise.reject(new Error('there are no hosts in this test')),
    storage: () => Promise.reject(new Error('there are no storage hosts in this test')),
    policies: DEFAULT_POLICIES,
    nudge: () => undefined,
  };
  return {
    p,
    directory,
    advance: (ms) => {
      ahead += ms;
    },
    async [Symbol.asyncDispose]() {
      await stores.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

export const member: Actor = { userId: 'u1', projectId: 'p1', roles: ['member'], requestId: 'req-1' };
export const stranger: Actor = { userId: 'u2', projectId: 'p2', roles: ['member'], requestId: 'req-2' };
export const admin: Actor = { userId: 'u0', projectId: 'p0', roles: ['admin'], requestId: 'req-0' };

export interface Qcow2Options {
  readonly virtualBytes?: bigint;
  readonly backingFile?: string;
  readonly dataFile?: string;
}

const CLUSTER = 65536;

/** A small valid qcow2 (version 3, no data), or one with what a hostile header has. Layout: QEMU, docs/interop/qcow2. */
export function qcow2(options: Qcow2Options = {}): Buffer {
  const file = Buffer.alloc(4 * CLUSTER);
  file.write('QFI\xfb', 0, 'latin1');
  file.writeUInt32BE(3, 4);
  file.writeUInt32BE(16, 20); // cluster bits
  file.writeBigUInt64BE(options.virtualBytes ?? 1024n * 1024n, 24);
  file.writeUInt32BE(1, 36); // L1 entries: one covers 512 MiB
  file.writeBigUInt64BE(BigInt(3 * CLUSTER), 40);
  file.writeBigUInt64BE(BigInt(CLUSTER), 48);
  file.writeUInt32BE(1, 56); // clusters of the refcount table
  file.writeUInt32BE(4, 96); // 16-bit refcounts
  file.writeUInt32BE(104, 100);
  file.writeBigUInt64BE(BigInt(2 * CLUSTER), CLUSTER);
  for (let cluster = 0; cluster < 4; cluster += 1) file.writeUInt16BE(1, 2 * CLUSTER + 2 * cluster);
  if (options.backingFile !== undefined) {
    const name = Buffer.from(options.backingFile);
    name.copy(file, 1024);
    file.writeBigUInt64BE(1024n, 8);
    file.writeUInt32BE(name.length, 16);
  }
  if (options.dataFile !== undefined) {
    const name = Buffer.from(options.dataFile);
    file.writeBigUInt64BE(4n, 72); // incompatible feature: external data file
    file.writeUInt32BE(0x44415441, 104);
    file.writeUInt32BE(name.length, 108);
    name.copy(file, 112);
  }
  return file;
}
