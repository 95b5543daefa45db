// The volumes of a guest: which it has, and getting them in and out while it runs.
//
// Theory of operation. The record says which volumes a guest has; a start gives it exactly those. While it is off, the
// record is all there is. While it is on, a volume is on record before it is plugged in and until it is unplugged, so
// that whatever a crash or a failure leaves between is found again: attaching once more finishes it, detaching removes
// it, recorded or half plugged. So a failed attach is undone by a detach, and not here.
// Plugging in happens inside the mutex after comparing generations again, as a start does: once a fence has been
// answered, no older call plugs anything in. An unplug waits for the guest's consent, outside of the mutex; a stop or a
// destroy calls that wait off.
// Who may read or write a volume is not decided here: without a key that the storage host accepts, nothing opens.
import { isDeepStrictEqual } from 'node:util';
import { invariant } from '../../lib/errors.ts';
import type { AttachRequest, DetachRequest, GrowVolumeRequest, GuestVolume, Job, Reply } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import { ABSENT, type Entry, type Guests, JOB_DONE, NOTHING, ok, refused, type Step, SUSPENDED } from './guests.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

/** Inside the mutex. */
export async function attachVolume(guests: Guests, entry: Entry, request: AttachRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const { volume } = request;
  const { serverId } = entry.record;
  const key = `${volume.volumeId} ${volume.attachmentId}`;
  const earlier = earlierJob(entry, 'plug', key, request.generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, ['digest', 'import', 'define']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  const known = guest.volumes.find(({ volumeId }) => volumeId === volume.volumeId);
  // A device that its memory knows may be reached in another way: its access was taken away and given back.
  if (guest.memory === 'saved' && known?.device !== volume.device) return SUSPENDED;
  const obstacle = obstacleTo(guest, volume);
  if (obstacle !== null) return refused(obstacle);
  const running = guests.hypervisor.running(serverId);
  if (!known || !isDeepStrictEqual(sizeless(known), sizeless(volume))) {
    if (running && known) return refused('the guest runs with this volume by another attachment');
    await guests.saveGuest(entry, { ...guest, volumes: withVolume(guest, volume) });
  }
  if (!running) return ok(JOB_DONE);
  return startJob(guests, entry, 'plug', key, (control, _previous, job) =>
    entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const { generation } = entry.record;
      if (generation !== job().generation) throw new HypervisorError(`overtaken by generation ${generation}`);
      // A guest that has stopped by itself meanwhile gets the volume at its next start.
      if (guests.hypervisor.running(serverId)) await guests.hypervisor.plug(serverId, volume);
    }),
  );
}

/** Inside the mutex. */
export async function detachVolume(guests: Guests, entry: Entry, request: DetachRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  const { volumeId } = request;
  const volume = guest?.volumes.find((known) => known.volumeId === volumeId);
  if (!guest || !volume) return ok(JOB_DONE);
  if (guest.destroying) return refused('the guest is being destroyed');
  const { serverId } = entry.record;
  const earlier = earlierJob(entry, 'unplug', volumeId, request.generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, ['digest', 'import', 'define', 'plug', 'unplug', 'power-off']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (guest.memory === 'saved') return SUSPENDED;
  const running = guests.hypervisor.running(serverId);
  if (!running && busyWith(entry, []) !== 'plug') {
    await forget(guests, entry, volumeId);
    return ok(JOB_DONE);
  }
  if (running && guest.spec.root.kind === 'volume' && volume.bootIndex === 0)
    return refused('the guest runs from this volume');
  return startJob(guests, entry, 'unplug', volumeId, async (control, previous) => {
    await previous;
    control.signal.throwIfAborted();
    if (guests.hypervisor.running(serverId)) await guests.hypervisor.unplug(serverId, volume, control);
    await entry.mutex.run(() => forget(guests, entry, volumeId));
  });
}

/** Inside the mutex. The record says the new size also when a guest that is on could not be told. */
export async function growVolume(
  guests: Guests,
  entry: Entry,
  { volumeId, sizeBytes }: GrowVolumeRequest,
): Promise<Reply<Record<string, never>>> {
  const { serverId, guest } = entry.record;
  const known = guest?.volumes.find((each) => each.volumeId === volumeId);
  if (!guest || !known) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const busy = busyWith(entry, ['digest', 'grow']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  const { connection } = known;
  const volume = { ...known, connection: { ...connection, sizeBytes: Math.max(connection.sizeBytes, sizeBytes) } };
  await guests.saveGuest(entry, { ...guest, volumes: withVolume(guest, volume) });
  if (!guests.hypervisor.running(serverId)) return ok(NOTHING);
  try {
    await guests.hypervisor.showGrown(serverId, volume);
    return ok(NOTHING);
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    return refused(error.message);
  }
}

/** Why this guest cannot have this volume; null: it can. */
function obstacleTo(guest: GuestBody, volume: GuestVolume): string | null {
  if (guest.spec.root.kind === 'image' && volume.bootIndex === 0) return 'the guest boots from its own disk';
  for (const other of guest.volumes) {
    if (other.volumeId === volume.volumeId) continue;
    if (other.device === volume.device) return `the guest has another volume as ${volume.device}`;
    if (volume.bootIndex !== null && other.bootIndex === volume.bootIndex)
      return `the guest has another volume with boot index ${volume.bootIndex}`;
  }
  return null;
}

/** A volume may have grown since it was attached: that makes it no other. */
function sizeless(volume: GuestVolume): GuestVolume {
  return { ...volume, connection: { ...volume.connection, sizeBytes: 0 } };
}

function withVolume(guest: GuestBody, volume: GuestVolume): GuestVolume[] {
  const others = guest.volumes.filter(({ volumeId }) => volumeId !== volume.volumeId);
  return [...others, volume].sort((a, b) => (a.device < b.device ? -1 : 1));
}

/** Inside the mutex. */
async function forget(guests: Guests, entry: Entry, volumeId: string): Promise<void> {
  const guest = entry.record.guest;
  invariant(guest !== null, 'a destroy waits for the unplug');
  const volumes = guest.volumes.filter((other) => other.volumeId !== volumeId);
  await guests.saveGuest(entry, { ...guest, volumes });
}
