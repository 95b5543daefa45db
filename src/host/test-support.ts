// What the tests of this floor share: requests that are right, and a clock that stands still until told.
import { pino } from 'pino';
import type { Clock } from '../lib/clock.ts';
import type { BaseImage, GuestPort, GuestSpec, GuestVolume, Host, Job, Reply, VolumeOverNbd } from './contract.ts';

export const silent = pino({ level: 'silent' });
export const SERVER = '00000000-0000-4000-8000-000000000001';
export const OTHER_SERVER = '00000000-0000-4000-8000-000000000002';
export const SPARE = '00000000-0000-4000-8000-0000000000ee';
export const GIB = 1024 ** 3;

export const IMAGE: BaseImage = {
  id: '00000000-0000-4000-8000-0000000000aa',
  format: 'qcow2',
  sizeBytes: 1000,
  virtualBytes: GIB,
  sha256: 'ab'.repeat(32),
  url: 'http://127.0.0.1:1/image',
};

/** A root disk on that image. */
export const ROOT = { kind: 'image', image: IMAGE, bytes: 2 * GIB } as const;

export const SPEC: GuestSpec = {
  name: 'one',
  vcpus: 1,
  memoryMb: 128,
  root: ROOT,
  ports: [
    {
      id: '00000000-0000-4000-8000-0000000000bb',
      mac: '52:54:00:00:00:01',
      ip: '10.0.0.5',
      cidr: '10.0.0.0/24',
      gateway: '10.0.0.1',
    },
  ],
};

export const SECOND_PORT: GuestPort = {
  ...{ id: '00000000-0000-4000-8000-0000000000be', mac: '52:54:00:00:00:02' },
  ...{ ip: '10.0.0.6', cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
};

/** A volume as a data disk; nobody serves it. */
export const VOLUME: GuestVolume & { readonly connection: VolumeOverNbd } = {
  volumeId: '00000000-0000-4000-8000-0000000000cc',
  attachmentId: '00000000-0000-4000-8000-0000000000dd',
  device: '/dev/vdb',
  bootIndex: null,
  connection: {
    kind: 'nbd',
    host: '127.0.0.1',
    port: 1,
    exportName: 'nothing',
    user: 'nobody',
    key: '5e'.repeat(32),
    mode: 'rw',
    sizeBytes: GIB,
  },
};

/** The value of a reply that must be ok. */
export function value<T>(reply: Reply<T>): T {
  if (reply.kind !== 'ok') throw new Error(`reply ${JSON.stringify(reply)}`);
  return reply.value;
}

/** Repeats a call until its job has ended; a failed job throws its reason. */
export async function finish<J extends Job>(call: () => Promise<Reply<J>>): Promise<J> {
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    const job = value(await call());
    if (job.state === 'done') return job;
    if (job.state === 'failed') throw new Error(job.reason);
  }
  throw new Error('still pending after 1000 calls');
}

/** Time that moves only when told; sleepers wake in the order of their times. */
export class ManualClock implements Clock {
  #now = 1_000_000;
  /** It shows a time so much later than it counts; negative: earlier. */
  aheadMs = 0;
  #sleepers: Array<{ readonly at: number; readonly wake: () => void }> = [];

  now(): number {
    return this.#now + this.aheadMs;
  }

  passed(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = { at: this.#now + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        resolve();
      });
    });
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = this.#sleepers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#sleepers = this.#sleepers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.wake();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets everything that needs no time come to its end. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Every mutating call of the contract, at a given generation. */
export const MUTATIONS: Record<string, (host: Host, generation: number) => Promise<Reply<unknown>>> = {
  fence: (host, generation) => host.fence(SERVER, { generation }),
  'define fresh': (host, generation) => host.define(SERVER, { generation, spec: SPEC, disk: 'fresh' }),
  'define incoming': (host, generation) => host.define(SERVER, { generation, spec: SPEC, disk: 'incoming' }),
  'power on': (host, generation) => host.setPower(SERVER, { generation, power: 'on', graceSeconds: 1 }),
  'power off': (host, generation) => host.setPower(SERVER, { generation, power: 'off', graceSeconds: 1 }),
  makeSpare: (host, generation) =>
    host.makeSpare(SERVER, { generation, spareId: SPARE, purpose: 'rebuild', spec: SPEC }),
  useSpare: (host, generation) => host.useSpare(SERVER, { generation, spareId: SPARE, used: true }),
  useOwn: (host, generation) => host.useSpare(SERVER, { generation, spareId: SPARE, used: false }),
  dropSpare: (host, generation) => host.dropSpare(SERVER, { generation, spareId: SPARE }),
  suspend: (host, generation) => host.setPower(SERVER, { generation, power: 'suspended', graceSeconds: 0 }),
  pause: (host, generation) => host.setPaused(SERVER, { generation, paused: true }),
  injectNmi: (host, generation) => host.injectNmi(SERVER, { generation }),
  openExport: (host, generation) => host.openExport(SERVER, { generation }),
  closeExport: (host, generation) => host.closeExport(SERVER, { generation }),
  importDisk: (host, generation) =>
    host.importDisk(SERVER, {
      generation,
      source: { host: 'nowhere', port: 1, name: '0'.repeat(32), sizeBytes: 1, allocatedBytes: 1 },
    }),
  digest: (host, generation) => host.digest(SERVER, { generation }),
  growDisk: (host, generation) => host.growDisk(SERVER, { generation, rootBytes: 3 * GIB }),
  attachVolume: (host, generation) => host.attachVolume(SERVER, { generation, volume: VOLUME }),
  detachVolume: (host, generation) => host.detachVolume(SERVER, { generation, volumeId: VOLUME.volumeId }),
  growVolume: (host, generation) =>
    host.growVolume(SERVER, { generation, volumeId: VOLUME.volumeId, sizeBytes: 2 * GIB }),
  attachPort: (host, generation) => host.attachPort(SERVER, { generation, port: SECOND_PORT }),
  detachPort: (host, generation) => host.detachPort(SERVER, { generation, portId: SECOND_PORT.id }),
  destroy: (host, generation) => host.destroy(SERVER, { generation }),
};
