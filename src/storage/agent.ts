// The storage agent: the rules of one storage host. Records and fencing live here; the effects are the driver's.
//
// Theory of operation. As host/agent.ts: short calls that may be repeated, each behind a gate that fences what is older
// than what has been seen. This file answers the calls; what they do is beside it, with the races that it handles:
//   agent/volumes.ts   entries, gates, records, jobs
//   agent/content.ts   volumes made, grown, kept in snapshots, sent away, deleted
//   agent/grants.ts    who may use them
// A restart serves everybody who has a grant again, goes on with deletes, and leaves a volume that was being made to the
// repeated call.
import type { DestroyRequest, Files, GenerationRequest, Job, Reply, VolumeOverNbd } from '../host/contract.ts';
import { HypervisorError } from '../host/hypervisor.ts';
import { newId } from '../lib/ids.ts';
import {
  create,
  deleteSnapshot,
  endUpload,
  extend,
  remove,
  rewrite,
  snapshot,
  startRemoval,
  upload,
} from './agent/content.ts';
import { grant, revoke, serve } from './agent/grants.ts';
import {
  ABSENT,
  NOTHING,
  ok,
  type StorageAgentOptions,
  shown,
  UNREACHABLE,
  type VolumeEntry,
  Volumes,
} from './agent/volumes.ts';
import type {
  CreateVolumeRequest,
  ExtendVolumeRequest,
  GrantRequest,
  RevokeRequest,
  RewriteVolumeRequest,
  StorageDescription,
  StorageHeartbeat,
  StorageHost,
  StoredVolume,
  UploadVolumeRequest,
} from './contract.ts';
import type { VolumeBody } from './records.ts';

export type { StorageAgentOptions } from './agent/volumes.ts';

export class StorageAgent implements StorageHost {
  readonly #name: string;
  readonly #volumes: Volumes;
  readonly #agentId = newId();

  private constructor(options: StorageAgentOptions) {
    this.#name = options.name;
    this.#volumes = new Volumes(options);
  }

  /** An agent that has read its records, serves who has a grant, and finishes what was begun. */
  static async open(options: StorageAgentOptions): Promise<StorageAgent> {
    const agent = new StorageAgent(options);
    await recover(agent.#volumes);
    return agent;
  }

  /** Ends jobs and answers nothing any more. Volumes go on being served. */
  async close(): Promise<void> {
    await this.#volumes.close();
    await this.#volumes.driver.close();
  }

  async describe(): Promise<Reply<StorageDescription>> {
    if (this.#volumes.closed) return UNREACHABLE;
    const { driver } = this.#volumes;
    return ok({ name: this.#name, driver: driver.name, ...(await driver.space()) });
  }

  async files(): Promise<Reply<Files>> {
    return this.#volumes.closed ? UNREACHABLE : ok(await this.#volumes.files());
  }

  async heartbeat(): Promise<Reply<StorageHeartbeat>> {
    if (this.#volumes.closed) return UNREACHABLE;
    const { freeBytes } = await this.#volumes.driver.space();
    const volumes: StoredVolume[] = [];
    for (const entry of this.#volumes.all()) if (entry.record.volume) volumes.push(shown(entry, entry.record.volume));
    const remains = await this.#volumes.remains();
    return ok({ agentId: this.#agentId, now: this.#volumes.clock.now(), freeBytes, volumes, remains });
  }

  async volume(volumeId: string): Promise<Reply<StoredVolume>> {
    if (this.#volumes.closed) return UNREACHABLE;
    const entry = this.#volumes.find(volumeId);
    return entry?.record.volume ? ok(shown(entry, entry.record.volume)) : ABSENT;
  }

  async fence(serverId: string, { generation }: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#volumes.access(serverId, generation, async () => ok(NOTHING));
  }

  async fenceVolume(volumeId: string, { generation }: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#volumes.fence(volumeId, generation);
  }

  async create(volumeId: string, request: CreateVolumeRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => create(this.#volumes, entry, request));
  }

  async delete(volumeId: string, request: DestroyRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => remove(this.#volumes, entry, request));
  }

  async extend(volumeId: string, request: ExtendVolumeRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => extend(this.#volumes, entry, request));
  }

  async snapshot(volumeId: string, snapshotId: string, request: GenerationRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => snapshot(this.#volumes, entry, snapshotId, request));
  }

  async deleteSnapshot(volumeId: string, snapshotId: string, request: GenerationRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => deleteSnapshot(this.#volumes, entry, snapshotId, request));
  }

  async rewrite(volumeId: string, request: RewriteVolumeRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => rewrite(this.#volumes, entry, request));
  }

  async upload(volumeId: string, request: UploadVolumeRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => upload(this.#volumes, entry, request));
  }

  async endUpload(volumeId: string, request: GenerationRequest): Promise<Reply<Job>> {
    return this.#change(volumeId, request, (entry) => endUpload(this.#volumes, entry, request));
  }

  async grant(volumeId: string, attachmentId: string, request: GrantRequest): Promise<Reply<VolumeOverNbd>> {
    const { serverId, generation } = request;
    return this.#volumes.access(serverId, generation, () => grant(this.#volumes, volumeId, attachmentId, request));
  }

  async revoke(volumeId: string, attachmentId: string, request: RevokeRequest): Promise<Reply<Record<string, never>>> {
    const { serverId, generation } = request;
    return this.#volumes.access(serverId, generation, (revoked) =>
      revoke(this.#volumes, volumeId, attachmentId, request, revoked),
    );
  }

  #change(volumeId: string, { generation }: GenerationRequest, act: Parameters<Volumes['change']>[2]) {
    return this.#volumes.change(volumeId, generation, act);
  }
}

async function recover(volumes: Volumes): Promise<void> {
  await volumes.load();
  const bodies = new Map<string, VolumeBody>();
  for (const { record } of volumes.all()) if (record.volume) bodies.set(record.id, record.volume);
  await volumes.driver.recover(bodies);
  for (const { volumeId, bytes } of await volumes.remains())
    volumes.log.error(
      { volumeId, bytes },
      'files of a volume that is not on record: kept, see crosscell quarantine list',
    );
  await Promise.all(volumes.all().map((entry) => entry.mutex.run(() => recoverVolume(volumes, entry))));
}

async function recoverVolume(volumes: Volumes, entry: VolumeEntry): Promise<void> {
  const { id, volume } = entry.record;
  if (volume === null) return;
  if (volume.state === 'deleting') startRemoval(volumes, entry);
  if (volume.state !== 'ready') return;
  try {
    await serve(volumes, entry, volume.grants);
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    // Its guests wait: the driver goes on trying.
    volumes.log.error({ volumeId: id, reason: error.message }, 'the volume could not be served again');
  }
}
