// Looking at a running guest, and poking it.
import type { Diagnostics, Reply } from '../contract.ts';
import { ABSENT, type Entry, type Guests, NOTHING, ok, refused } from './guests.ts';

const OFF = refused('the guest is off');

export async function diagnostics(guests: Guests, serverId: string): Promise<Reply<Diagnostics>> {
  const guest = guests.find(serverId)?.record.guest;
  if (!guest) return ABSENT;
  if (!guests.hypervisor.running(serverId)) return OFF;
  try {
    return ok(await guests.hypervisor.diagnostics(serverId, guest.spec));
  } catch (error) {
    return guests.refusal(serverId, error);
  }
}

/** Inside the mutex. */
export async function injectNmi(guests: Guests, entry: Entry): Promise<Reply<Record<string, never>>> {
  const { serverId, guest } = entry.record;
  if (guest === null) return ABSENT;
  if (!guests.hypervisor.running(serverId)) return OFF;
  try {
    await guests.hypervisor.injectNmi(serverId);
    return ok(NOTHING);
  } catch (error) {
    return guests.refusal(serverId, error);
  }
}
