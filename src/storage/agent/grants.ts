// Who may use a volume.
//
// Theory of operation. A grant has a name, a user and a key of its own, made anew each time that access is given; they
// are on record before the driver opens anything, and off the record before it shuts anything: what a crash leaves
// between is put right by `serve`, which a restart and every repeated call run with the grants on record. The answer to
// a revoke is given only when the driver says that nobody else is in.
// Per server, not per attachment: at most one attachment of a server is in, so a grant that was delayed on its way can
// never let a second guest of the server in beside the first.
// Nobody gives access and takes it away again at one generation, but a rebuild takes it away and gives it back: a revoke
// that comes a second time at a generation is one that was delayed, and ends nothing.
// Not handled: a grant that arrives after the revoke of the same generation opens a door to which nobody got the key.
// Whoever ends what may be on its way still does so at a newer one (handBackOrOwe in moves/server-volumes.ts).
import type { Reply, VolumeOverNbd } from '../../host/contract.ts';
import { newId } from '../../lib/ids.ts';
import type { GrantRequest, RevokeRequest } from '../contract.ts';
import type { Place } from '../driver.ts';
import type { Grant, VolumeBody } from '../records.ts';
import { forgetRewrite, isBeingWritten } from './content.ts';
import { ABSENT, NOTHING, ok, type Revoked, refused, type VolumeEntry, type Volumes } from './volumes.ts';

/** Servers that have access to one volume at once. */
const MAX_GRANTS = 64;

/** Inside the server's mutex. */
export async function grant(
  volumes: Volumes,
  volumeId: string,
  attachmentId: string,
  request: GrantRequest,
): Promise<Reply<VolumeOverNbd>> {
  const entry = volumes.find(volumeId);
  if (entry === null) return ABSENT;
  return entry.mutex.run(async () => {
    const { volume } = entry.record;
    if (volume === null) return ABSENT;
    if (volume.state !== 'ready') return refused(`the volume is not ready: ${volume.state}`);
    if (isBeingWritten(entry)) return refused('the volume is being written anew');
    const obstacle = obstacleTo(volume, attachmentId, request);
    if (obstacle !== null) return refused(obstacle);
    forgetRewrite(entry);
    const known = volume.grants.find((other) => other.attachmentId === attachmentId);
    const now = known ? { ...known, generation: request.generation } : newGrant(attachmentId, request);
    const grants = [...volume.grants.filter((other) => other.attachmentId !== attachmentId), now];
    await volumes.saveVolume(entry, { ...volume, grants });
    try {
      const place = await serve(volumes, entry, grants);
      if (place === null) return refused('the volume is not served');
      const { exportName, user, key, mode } = now;
      return ok({ kind: 'nbd', ...place, exportName, user, key, mode, sizeBytes: volume.sizeBytes });
    } catch (error) {
      return volumes.refusal(volumeId, error);
    }
  });
}

/** Inside the server's mutex. */
export async function revoke(
  volumes: Volumes,
  volumeId: string,
  attachmentId: string,
  { serverId }: RevokeRequest,
  revoked: Revoked,
): Promise<Reply<Record<string, never>>> {
  const entry = volumes.find(volumeId);
  if (entry === null) return ok(NOTHING);
  return entry.mutex.run(async () => {
    const { volume } = entry.record;
    if (volume === null) return ok(NOTHING);
    const known = volume.grants.find((other) => other.attachmentId === attachmentId);
    if (known && known.serverId !== serverId) return refused("the attachment is another server's");
    // What was given since, at the same generation, stays: then this call was delayed on its way.
    if (!revoked.has(attachmentId)) {
      const grants = volume.grants.filter((other) => other.attachmentId !== attachmentId);
      if (known) await volumes.saveVolume(entry, { ...volume, grants });
      await revoked.add(attachmentId);
    }
    try {
      await serve(volumes, entry, entry.record.volume?.grants ?? []);
      return ok(NOTHING);
    } catch (error) {
      return volumes.refusal(volumeId, error);
    }
  });
}

/** Inside the volume's mutex: exactly these are in. The place is remembered, so that guests find it again. */
export async function serve(volumes: Volumes, entry: VolumeEntry, grants: readonly Grant[]): Promise<Place | null> {
  const volume = entry.record.volume;
  const place = await volumes.driver.serve(entry.record.id, grants, volume?.port ?? null);
  if (place && volume && volume.port !== place.port) await volumes.saveVolume(entry, { ...volume, port: place.port });
  return place;
}

function obstacleTo(volume: VolumeBody, attachmentId: string, request: GrantRequest): string | null {
  for (const other of volume.grants) {
    if (other.attachmentId === attachmentId) {
      if (other.serverId !== request.serverId) return "the attachment is another server's";
      if (other.mode !== request.mode) return `the attachment has access already: ${other.mode}`;
    } else if (other.serverId === request.serverId) return 'another attachment of the server has access';
  }
  const many = volume.grants.filter((other) => other.attachmentId !== attachmentId).length >= MAX_GRANTS;
  return many ? `${MAX_GRANTS} servers have access already` : null;
}

function newGrant(attachmentId: string, { serverId, generation, mode }: GrantRequest): Grant {
  // 244 bits of chance: more than the ciphers use.
  const key = `${newId()}${newId()}`.replaceAll('-', '');
  return { attachmentId, serverId, generation, mode, exportName: `vol-${newId()}`, user: `guest-${attachmentId}`, key };
}
