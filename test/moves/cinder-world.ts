// A Cinder of a few lines, as strict as the real one, and a world whose volumes are in it.
import assert from 'node:assert/strict';
import type { Settings } from '../../src/control/platform.ts';
import { attachmentsOfServer, NOWHERE } from '../../src/control/volumes/attachments.ts';
import { cinderVolumes } from '../../src/control/volumes/cinder.ts';
import { cinderStorage } from '../../src/control/volumes/cinder-storage.ts';
import { CINDER } from '../../src/control/volumes/service.ts';
import { registerStorageHost } from '../../src/control/volumes/storage-hosts.ts';
import { newId } from '../../src/lib/ids.ts';
import type { Cinder, CinderAttachment, CinderVolume, Reservation } from '../../src/openstack/cinder.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import { openWorld, type World } from './world.ts';

interface Attachment extends Reservation {
  readonly id: string;
  host: string | null;
  complete: boolean;
}

const ok = <T>(body: T) => ({ kind: 'ok' as const, status: 200, body, headers: new Headers() });

/** A volume is one server's, and connected once. */
export class FakeCinder implements Cinder {
  readonly volumes = new Map<string, CinderVolume>();
  readonly attachments = new Map<string, Attachment>();
  projectId = '';
  isDown = false;
  backend = 'nfs';
  calls = 0;
  /** Called when something was reserved. */
  afterReserve: () => Promise<unknown> = async () => undefined;
  /** The call of this number has its effect, and its answer is lost. */
  loses = 0;

  newVolume(change: Partial<CinderVolume> = {}): string {
    const id = newId();
    this.volumes.set(id, {
      ...{ id, name: 'v', status: 'available', size: 1, bootable: 'true', encrypted: false, multiattach: false },
      ...{ user_id: 'u', 'os-vol-tenant-attr:tenant_id': this.projectId, metadata: {} },
      ...change,
    });
    return id;
  }

  ping = () => this.#answer(() => undefined);
  volume = (id: string) => this.#answer(() => this.volumes.get(id) ?? null);
  deleteVolume = (id: string) =>
    this.#answer(() => {
      if (this.#of(id).length > 0) return { kind: 'refused' as const, status: 400, message: 'it is in use' };
      this.volumes.delete(id);
      return ok(null);
    });
  reserve = async (wish: Reservation) => {
    const said = await this.#answer(() => {
      const others = this.#of(wish.volumeId).filter((each) => each.serverId !== wish.serverId);
      if (!this.volumes.has(wish.volumeId)) return { kind: 'refused' as const, status: 404, message: 'no such volume' };
      if (others.length > 0) return { kind: 'refused' as const, status: 400, message: 'it is not free' };
      const made: Attachment = { ...wish, id: newId(), host: null, complete: false };
      this.attachments.set(made.id, made);
      return ok(this.#shown(made));
    });
    await this.afterReserve();
    return said;
  };
  attachment = (id: string) =>
    this.#answer(() => {
      const found = this.attachments.get(id);
      return found ? this.#shown(found) : null;
    });
  attachmentsOf = (serverId: string) =>
    this.#answer(() => [...this.attachments.values()].filter((each) => each.serverId === serverId).map(this.#shown));
  connect = (id: string, host: string) =>
    this.#answer(() => {
      const found = this.attachments.get(id);
      if (!found) return { kind: 'refused' as const, status: 404, message: 'no such attachment' };
      if (this.#of(found.volumeId).some((each) => each.host !== null)) throw new ServiceDown('duplicate connectors');
      found.host = host;
      return ok(this.#shown(found));
    });
  complete = (id: string) =>
    this.#answer(() => {
      const found = this.attachments.get(id);
      if (!found) return { kind: 'refused' as const, status: 404, message: 'no such attachment' };
      found.complete = true;
      return ok(null);
    });
  detach = (id: string) => this.#answer(() => void this.attachments.delete(id));

  /** `host volume` of what is connected for the server; a volume alone is held. */
  has(serverId: string): string[] {
    return [...this.attachments.values()]
      .filter((each) => each.serverId === serverId)
      .map(({ host, volumeId, complete }) => `${host ?? ''} ${volumeId}${host && !complete ? ' half' : ''}`.trim())
      .toSorted();
  }

  #of(volumeId: string): Attachment[] {
    return [...this.attachments.values()].filter((each) => each.volumeId === volumeId);
  }

  #shown = ({ id, volumeId, serverId, host }: Attachment): CinderAttachment => ({
    ...{ id, volume_id: volumeId, instance: serverId, status: host ? 'attached' : 'reserved' },
    connection_info: host
      ? { driver_volume_type: this.backend, export: '10.0.0.5:/volumes', name: `volume-${volumeId}`, format: 'raw' }
      : { format: 'raw' },
  });

  async #answer<T>(effect: () => T): Promise<T> {
    if (this.isDown) throw new ServiceDown('Cinder is down');
    this.calls += 1;
    const call = this.calls;
    const answer = effect();
    if (call === this.loses) throw new ServiceDown('the answer is lost');
    return answer;
  }
}

export interface CinderWorld {
  readonly world: World;
  readonly cinder: FakeCinder;
}

export async function openCinderWorld(settings: Partial<Settings> = {}): Promise<CinderWorld> {
  const opened = await openWorld(settings);
  const cinder = new FakeCinder();
  cinder.projectId = opened.user.projectId;
  const p: World['p'] = {
    ...opened.p,
    volumes: cinderVolumes(cinder),
    storage: async (name, trace) => (name === CINDER ? cinderStorage(p, cinder) : opened.p.storage(name, trace)),
  };
  const world: World = { ...opened, p };
  const description = { name: CINDER, driver: CINDER, totalBytes: 0, freeBytes: 0 };
  await registerStorageHost(p, { name: CINDER, url: '', description });
  return { world, cinder };
}

/** Cinder has a hold for each volume of each server in the ledger, a connection for each active attachment, and no more. */
export async function assertAgrees({ world, cinder }: CinderWorld): Promise<void> {
  const servers = new Set([...cinder.attachments.values()].map((each) => each.serverId));
  const { global } = world.p.stores;
  for (const row of await global.selectFrom('volume_attachments').select('server_id').execute()) {
    servers.add(row.server_id);
  }
  for (const serverId of servers) {
    const ledger = await attachmentsOfServer(global, serverId);
    const active = ledger.filter((each) => each.active && each.host !== NOWHERE);
    const wanted = [
      ...new Set(ledger.map((each) => each.volumeId)),
      ...active.map((each) => `${each.host} ${each.volumeId}`),
    ];
    assert.deepEqual(cinder.has(serverId), wanted.toSorted());
  }
}
