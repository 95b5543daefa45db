// The ports of a guest: getting network cards in and out while it runs.
//
// Theory of operation. As with volumes (volumes.ts), and for the same reasons: the record's specification says which ports
// a guest has and a start gives it exactly those; while it is on, a port is on record before its card is plugged in and
// until it is unplugged, so that whatever a crash leaves between is finished by attaching once more or removed by
// detaching. Plugging in happens inside the mutex after comparing generations again; an unplug waits for the guest's
// consent outside of it, and a stop or a destroy calls that wait off.
import { isDeepStrictEqual } from 'node:util';
import { invariant } from '../../lib/errors.ts';
import { type AttachPortRequest, type DetachPortRequest, type GuestPort, type Job, MAX_PORTS } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import { ABSENT, type Entry, type Guests, JOB_DONE, ok, refused, type Step, SUSPENDED } from './guests.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

const keyOf = (portId: string): string => `port ${portId}`;

/** Inside the mutex. */
export async function attachPort(guests: Guests, entry: Entry, request: AttachPortRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const { port } = request;
  const { serverId } = entry.record;
  const earlier = earlierJob(entry, 'plug', keyOf(port.id), request.generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, ['digest', 'import', 'define']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (guest.memory === 'saved') return SUSPENDED;
  const running = guests.hypervisor.running(serverId);
  const known = guest.spec.ports.find(({ id }) => id === port.id);
  if (known && !isDeepStrictEqual(known, port) && running)
    return refused('the guest runs with another port of this id');
  const others = guest.spec.ports.filter(({ id }) => id !== port.id);
  if (others.length >= MAX_PORTS) return refused(`the guest has its ${MAX_PORTS} ports already`);
  if (!known || !isDeepStrictEqual(known, port)) await saveWith(guests, entry, guest, [...others, port]);
  if (!running) return ok(JOB_DONE);
  return startJob(guests, entry, 'plug', keyOf(port.id), (control, _previous, job) =>
    entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const { generation } = entry.record;
      if (generation !== job().generation) throw new HypervisorError(`overtaken by generation ${generation}`);
      // A guest that has stopped by itself meanwhile gets it at its next start.
      if (guests.hypervisor.running(serverId)) await guests.hypervisor.plugPort(serverId, port);
    }),
  );
}

/** Inside the mutex. */
export async function detachPort(guests: Guests, entry: Entry, request: DetachPortRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  const { portId } = request;
  if (!guest?.spec.ports.some(({ id }) => id === portId)) return ok(JOB_DONE);
  if (guest.destroying) return refused('the guest is being destroyed');
  const { serverId } = entry.record;
  const earlier = earlierJob(entry, 'unplug', keyOf(portId), request.generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, ['digest', 'import', 'define', 'plug', 'unplug', 'power-off']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (guest.memory === 'saved') return SUSPENDED;
  if (!guests.hypervisor.running(serverId) && busyWith(entry, []) !== 'plug') {
    await forget(guests, entry, portId);
    return ok(JOB_DONE);
  }
  return startJob(guests, entry, 'unplug', keyOf(portId), async (control, previous) => {
    await previous;
    control.signal.throwIfAborted();
    if (guests.hypervisor.running(serverId)) await guests.hypervisor.unplugPort(serverId, portId, control);
    await entry.mutex.run(() => forget(guests, entry, portId));
  });
}

/** Inside the mutex. */
async function forget(guests: Guests, entry: Entry, portId: string): Promise<void> {
  const guest = entry.record.guest;
  invariant(guest !== null, 'a destroy waits for the unplug');
  const kept = guest.spec.ports.filter(({ id }) => id !== portId);
  await saveWith(guests, entry, guest, kept);
}

const saveWith = (guests: Guests, entry: Entry, guest: GuestBody, ports: GuestPort[]): Promise<void> =>
  guests.saveGuest(entry, { ...guest, spec: { ...guest.spec, ports } });
