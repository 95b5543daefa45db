// What must be true of the volumes of a world that has come to rest, beside the invariants of the audit.
import { findServer } from '../control/servers.ts';
import { attachmentsOfServer } from '../control/volumes/attachments.ts';
import { listVolumes } from '../control/volumes/records.ts';
import { CINDER } from '../control/volumes/service.ts';
import type { Databases } from './databases.ts';
import type { World } from './world.ts';

/** Statuses of volumes that have content. */
const WHOLE = ['available', 'reserved', 'in-use', 'error_deleting'];

/** Each time that a volume could be written by two who must not: two of one server, or two servers that do not share it. */
export function sharedByMistake({ fabric }: World, databases: Databases): string[] {
  const { openToMany } = fabric.volumes;
  if (openToMany.length === 0) return [];
  const shared = databases.sharedVolumes();
  return openToMany
    .filter(({ volumeId, servers }) => !shared.has(volumeId) || new Set(servers).size < servers.length)
    .map(({ volumeId, servers }) => `volume ${volumeId} was open for writing to ${servers.join(' and ')} at once`);
}

/** Each time that a volume was written anew over what a guest had written since it was kept. */
export const overwrittenVolumes = ({ fabric }: World): string[] =>
  fabric.volumes.overwritten.map((id) => `volume ${id} was written anew over what its guest had just written`);

/** What guests have written to a volume is there, and nothing else. What a Cinder keeps cannot be seen here. */
export async function brokenVolumes(world: World): Promise<string[]> {
  const wrong: string[] = [];
  for (const { id, storageHost, status } of await listVolumes(world.p.stores.global, { projectId: null })) {
    if (!WHOLE.includes(status) || storageHost === CINDER) continue;
    const words = world.storage.get(storageHost)?.driver.words(id);
    const written = world.fabric.volumes.writtenTo(id);
    if (!words) wrong.push(`volume ${id}, which is ${status}, is not at ${storageHost}`);
    else if (written.some((word, index) => words[words.length - written.length + index] !== word)) {
      wrong.push(`volume ${id} has lost what was written to it: ${written.join(', ')}; it has ${words.join(', ')}`);
    }
  }
  return wrong;
}

/** A running guest can write the volumes that its server has, and no others. */
export async function unreachedVolumes(world: World, databases: Databases): Promise<string[]> {
  const wrong: string[] = [];
  for (const row of databases.rows('select server_id from server_mappings where deleted_at is null')) {
    const serverId = String(row['server_id']);
    const found = await findServer(world.p, serverId);
    if (found.kind !== 'found' || found.server.host === null) continue;
    const hypervisor = world.hosts.get(found.server.host)?.hypervisor;
    // That a guest runs where it should is the audit's to say.
    if (!hypervisor?.running(serverId)) continue;
    const attachments = await attachmentsOfServer(world.p.stores.global, serverId);
    const wanted = attachments.filter(({ active, mode }) => active && mode === 'rw').map(({ volumeId }) => volumeId);
    const writable = hypervisor.writableVolumes(serverId);
    const [all, got] = [wanted.toSorted().join(', '), writable.toSorted().join(', ')];
    if (all !== got) wrong.push(`the guest of server ${serverId} can write volumes '${got}', not '${all}'`);
  }
  return wrong;
}
