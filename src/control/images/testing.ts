// For tests alone: a platform without hosts, disk images made byte by byte, and a Glance of a few lines.
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { systemClock } from '../../lib/clock.ts';
import { networkList } from '../../lib/networks.ts';
import type { Actor } from '../../model/types.ts';
import type { BackupsOf, Glance, GlanceImage, GlanceMember, NewGlanceImage } from '../../openstack/glance.ts';
import type { Said } from '../../openstack/session.ts';
import { type Payload, ServiceDown } from '../../openstack/transport.ts';
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
    trustedProxies: networkList([]),
    consoleFrameAncestors: [],
    imageDirectory: directory,
    maxImageBytes: 4 * 1024 * 1024,
    webDownload: { enabled: true, privateAddresses: false, ports: [80, 443] },
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

const SAID: Said<null> = { kind: 'ok', status: 200, body: null, headers: new Headers() };

/** A Glance that keeps its images in a map, and can be told to fail. */
export class FakeGlance implements Glance {
  readonly images = new Map<string, GlanceImage>();
  readonly files = new Map<string, Buffer>();
  readonly shares = new Map<string, readonly GlanceMember[]>();
  isDown = false;
  downloads = 0;
  uploads = 0;
  /** The refusal that uploads meet; null: none. */
  refusal: Said<null> | null = null;
  /** Called when an upload has taken effect; may throw. */
  afterUpload: () => void = () => undefined;
  #made = 0;

  /** An image is there, with that data. */
  put(id: string, data: Buffer, change: object = {}): void {
    this.images.set(id, describedImage(id, data, change));
    this.files.set(id, data);
  }
  async find(id: string) {
    this.#asked();
    return this.images.get(id) ?? null;
  }
  async data(id: string) {
    this.#asked();
    this.downloads += 1;
    const data = this.files.get(id);
    return data ? Readable.from([data.subarray(0, 1000), data.subarray(1000)]) : null;
  }
  async members(id: string) {
    this.#asked();
    return this.shares.get(id) ?? [];
  }
  async create(image: NewGlanceImage) {
    this.#asked();
    this.#made += 1;
    const created_at = new Date(this.#made * 1000).toISOString();
    const { id, name, owner, diskFormat: disk_format, containerFormat: container_format } = image;
    const hash = { os_hash_algo: null, os_hash_value: null, size: null };
    const { visibility } = image;
    const change = { ...image.properties, ...hash, visibility, name, owner, disk_format, container_format, created_at };
    this.images.set(id, describedImage(id, Buffer.alloc(0), { ...change, status: 'queued' }));
    return SAID;
  }
  async upload(id: string, payload: Payload) {
    this.#asked();
    this.uploads += 1;
    const image = this.images.get(id);
    if (this.refusal || image?.status !== 'queued') {
      return this.refusal ?? ({ kind: 'refused', status: 409, message: 'not queued' } as const);
    }
    const data = Buffer.concat(await Array.fromAsync(payload.bytes()));
    this.images.set(id, { ...image, status: 'active', ...digestsOf(data) });
    this.files.set(id, data);
    this.afterUpload();
    return SAID;
  }
  async protect(id: string) {
    this.#asked();
    const image = this.images.get(id);
    if (image) this.images.set(id, { ...image, protected: true });
    return SAID;
  }
  async remove(id: string) {
    this.#asked();
    if (this.images.get(id)?.protected) return { kind: 'refused', status: 403, message: 'it is protected' } as const;
    this.images.delete(id);
    this.files.delete(id);
    return SAID;
  }
  async backups({ serverId, owner, backupType }: BackupsOf) {
    this.#asked();
    const of = { instance_uuid: serverId, image_type: 'backup', backup_type: backupType, owner, status: 'active' };
    return [...this.images.values()]
      .filter((image) => Object.entries(of).every(([key, value]) => Reflect.get(image, key) === value))
      .toSorted((a, b) => b.created_at.localeCompare(a.created_at));
  }
  #asked(): void {
    if (this.isDown) throw new ServiceDown('Glance is down');
  }
}

const digestsOf = (data: Buffer) => ({
  ...{ size: data.length, os_hash_algo: 'sha512', os_hash_value: createHash('sha512').update(data).digest('hex') },
});

/** As Glance describes an active qcow2 image of project p1. */
const describedImage = (id: string, data: Buffer, change: object = {}): GlanceImage => ({
  ...{ id, name: 'cirros', status: 'active', visibility: 'private', owner: 'p1', disk_format: 'qcow2' },
  ...{ container_format: 'bare', virtual_size: null, checksum: null, ...digestsOf(data) },
  ...{ min_disk: 1, min_ram: 64, protected: false, os_hidden: false, tags: [] },
  ...{ created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z' },
  ...change,
});
