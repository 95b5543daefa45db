// The processes that an agent finds when it starts: guests to adopt, and what nobody waits for any more.
//
// Theory of operation. All command lines under /proc are read once. A QEMU whose pid file lies in one of our directories is
// a guest: adopted, or killed when no record knows it. A qemu-img or qemu-nbd working there was a job of the agent before.
import { basename } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Layout } from './layout.ts';
import { isAlive, listProcesses, type ProcessEntry, signal } from './proc.ts';

const ORPHAN_LIMIT_MS = 10_000;

interface Search {
  readonly layout: Layout;
  /** Programs that do an agent's jobs in the guests' directories. */
  readonly helpers: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * The processes of the guests that `known` has, by server. Guests that it does not have, and jobs of the agent before,
 * have ended when this resolves. Rejects when one does not end.
 */
export async function findGuests(
  search: Search,
  known: { has(serverId: string): boolean },
): Promise<Map<string, ProcessEntry>> {
  const { layout, clock, log } = search;
  const helpers = search.helpers.map((path) => basename(path));
  const guests = new Map<string, ProcessEntry>();
  for (const found of await listProcesses()) {
    const serverId = serverOf(layout, found.argv);
    if (serverId === null) continue;
    const isGuest = found.argv.includes(layout.pidFile(serverId)) && found.argv.includes('-uuid');
    const program = basename(found.argv[0] ?? '');
    if (isGuest && known.has(serverId)) guests.set(serverId, found);
    // Anything else that names one of our files is somebody's editor or pager.
    else if (isGuest || helpers.includes(program)) {
      log.warn({ serverId, foundPid: found.pid, program }, 'a process without an owner is killed');
      signal(found, 'SIGKILL');
      await awaitEnd(clock, found);
    }
  }
  return guests;
}

/** The server whose directory a command line names; null when none. */
function serverOf(layout: Layout, argv: readonly string[]): string | null {
  const prefix = `${layout.guestsDir}/`;
  for (const argument of argv) {
    if (!argument.startsWith(prefix)) continue;
    const name = argument.slice(prefix.length).split('/')[0] ?? '';
    if (isUuid(name)) return name;
  }
  return null;
}

async function awaitEnd(clock: Clock, process: ProcessEntry): Promise<void> {
  const deadline = clock.now() + ORPHAN_LIMIT_MS;
  while (isAlive(process)) {
    if (clock.now() > deadline) throw new Error(`process ${process.pid} does not end`);
    await clock.sleep(20);
  }
}
