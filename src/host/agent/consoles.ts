// Consoles of running guests, for whoever shows them.
//
// Theory of operation. Outside of the mutex: a console changes nothing, and nobody waits for one. Whether it is still
// the guest that was meant is looked at before and after the driver has opened it; behind that the stream belongs to
// that guest's process and ends with it. A guest that is being started is not there yet: when it was started is on
// record once it runs.
import type { Duplex } from 'node:stream';
import { messageOf } from '../../lib/errors.ts';
import type { ConsoleRequest, TcpRequest } from '../consoles.ts';
import type { Reply } from '../contract.ts';
import { ABSENT, type Guests, ok, refused, UNREACHABLE } from './guests.ts';
import { busyWith } from './work.ts';

export async function openConsole(
  guests: Guests,
  serverId: string,
  { kind, startedAt }: ConsoleRequest,
): Promise<Reply<Duplex>> {
  if (guests.closed) return UNREACHABLE;
  if (!guests.find(serverId)?.record.guest) return ABSENT;
  if (!runsSince(guests, serverId, startedAt)) return refused(OVER);
  try {
    const stream = await guests.hypervisor.openConsole(serverId, kind);
    if (runsSince(guests, serverId, startedAt)) return ok(stream);
    stream.destroy();
    return refused(OVER);
  } catch (error) {
    return refused(messageOf(error));
  }
}

/** The guest that runs now, whichever start of it that is. */
export async function openTcp(
  guests: Guests,
  serverId: string,
  { portId, tcpPort }: TcpRequest,
): Promise<Reply<Duplex>> {
  if (guests.closed) return UNREACHABLE;
  if (!guests.find(serverId)?.record.guest) return ABSENT;
  if (!guests.hypervisor.running(serverId)) return refused('the guest is off');
  try {
    return ok(await guests.hypervisor.openTcp(serverId, portId, tcpPort));
  } catch (error) {
    return refused(messageOf(error));
  }
}

const OVER = 'the guest that this console belongs to does not run any more';

function runsSince(guests: Guests, serverId: string, startedAt: number): boolean {
  const entry = guests.find(serverId);
  if (!entry || !guests.hypervisor.running(serverId)) return false;
  return entry.record.guest?.startedAt === startedAt && busyWith(entry, []) !== 'power-on';
}
