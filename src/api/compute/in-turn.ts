// Devices of one server come and go one after the other. Nova has a lock for each server, and requests wait for it; here
// each is a saga that keeps others out, and a request that comes too early waits for that, for a while.
import type { Platform } from '../../control/platform.ts';
import type { Refusal } from '../../model/types.ts';
import { ATTACH_VOLUME, DETACH_VOLUME } from '../../moves/attach.ts';
import { ATTACH_INTERFACE, DETACH_INTERFACE } from '../../moves/interfaces.ts';
import { openSaga } from '../../store/sagas.ts';

const IN_TURN = new Set([ATTACH_VOLUME, DETACH_VOLUME, ATTACH_INTERFACE, DETACH_INTERFACE].map(({ name }) => name));
const PATIENCE_MS = 10_000;
const LOOK_MS = 50;

/** Begins it when no other device of the server comes or goes; once more when another was faster. */
export async function inTurn<T>(
  p: Platform,
  serverId: string,
  begin: () => Promise<T>,
  refusalIn: (result: T) => Refusal | null,
): Promise<T> {
  const giveUp = p.clock.now() + PATIENCE_MS;
  for (;;) {
    await othersEnd(p, serverId, giveUp);
    const result = await begin();
    if (refusalIn(result)?.code !== 409 || p.clock.now() >= giveUp) return result;
    if (!(await isOthers(p, serverId))) return result;
  }
}

async function othersEnd(p: Platform, serverId: string, giveUp: number): Promise<void> {
  while ((await isOthers(p, serverId)) && p.clock.now() < giveUp) await p.clock.sleep(LOOK_MS);
}

async function isOthers(p: Platform, serverId: string): Promise<boolean> {
  const open = await openSaga(p.stores.global, serverId);
  return open !== undefined && IN_TURN.has(open.definition);
}
