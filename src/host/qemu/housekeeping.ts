// What running guests leave behind is kept small: their consoles and their QEMU's logs.
import type { Logger } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { boundConsole, boundLog } from './console.ts';
import type { Layout } from './layout.ts';

const PAUSE_MS = 5000;

interface House {
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Goes on until `closing`. @param running the servers whose guests run now */
export async function keepHouse(house: House, running: () => readonly string[], closing: AbortSignal): Promise<void> {
  while (!closing.aborted) {
    await house.clock.sleep(PAUSE_MS, closing);
    for (const serverId of running()) await keepGuest(house, serverId);
  }
}

async function keepGuest({ layout, log }: House, serverId: string): Promise<void> {
  try {
    await boundConsole(layout.guestDir(serverId));
    await boundLog(layout.log(serverId));
  } catch (error) {
    // Tried again in a few seconds; one guest's trouble must not leave the others' files growing.
    log.warn({ serverId, reason: messageOf(error) }, 'housekeeping failed');
  }
}
