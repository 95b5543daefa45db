// The processes that an agent finds when it starts: guests (or daemons of volumes) to adopt, and what nobody waits for any
// more.
//
// Theory of operation. All command lines under /proc are read once. A process belongs to a guest or volume when it names a
// file in the directory that has its id. A QEMU whose pid file lies there is the guest: adopted, or ended when no record
// knows it (asked first, so that its disk, which is kept, has what it wrote). A qemu-img or qemu-nbd working there was a job
// of the agent before. Anything else that names one of our files is somebody's editor or pager.
import { basename } from 'node:path';
import type { Logger } from 'pino';
import { type Clock, passed } from '../../lib/clock.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Layout } from './layout.ts';
import { isAlive, listProcesses, type ProcessEntry, signal } from './proc.ts';

const END_LIMIT_MS = 10_000;
const POLL_MS = 20;

export interface Leftover extends ProcessEntry {
  /** Of the guest or volume. */
  readonly owner: string;
  /** The program's name, without its path. */
  readonly program: string;
}

/** The processes that work in the directories which `parent` has for guests or volumes. */
export async function findLeftovers(parent: string): Promise<Leftover[]> {
  return (await listProcesses()).flatMap((found) => {
    const owner = ownerOf(parent, found.argv);
    return owner === null ? [] : [{ ...found, owner, program: basename(found.argv[0] ?? '') }];
  });
}

/** The id whose directory a command line names; null when none. */
function ownerOf(parent: string, argv: readonly string[]): string | null {
  const prefix = `${parent}/`;
  for (const argument of argv) {
    if (!argument.startsWith(prefix)) continue;
    const name = argument.slice(prefix.length).split('/')[0] ?? '';
    if (isUuid(name)) return name;
  }
  return null;
}

/** Whether it runs one of these programs, which are named with their paths or without. */
export const isOneOf = ({ program }: Leftover, programs: readonly string[]): boolean =>
  programs.some((path) => basename(path) === program);

/** The process has ended: by the signal, or killed when it did not heed that. Rejects when it does not end at all. */
export async function endProcess(clock: Clock, process: ProcessEntry, how: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  for (const name of how === 'SIGKILL' ? [how] : [how, 'SIGKILL' as const]) {
    signal(process, name);
    const deadline = passed(clock) + END_LIMIT_MS;
    while (passed(clock) <= deadline) {
      if (!isAlive(process)) return;
      await clock.sleep(POLL_MS);
    }
  }
  throw new Error(`process ${process.pid} does not end`);
}

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
  { layout, helpers, clock, log }: Search,
  known: { has(serverId: string): boolean },
): Promise<Map<string, ProcessEntry>> {
  const guests = new Map<string, ProcessEntry>();
  for (const found of await findLeftovers(layout.guestsDir)) {
    const { owner: serverId, program } = found;
    const isGuest = found.argv.includes(layout.pidFile(serverId)) && found.argv.includes('-uuid');
    if (isGuest && known.has(serverId)) guests.set(serverId, found);
    else if (isGuest || isOneOf(found, helpers)) {
      log.warn({ serverId, foundPid: found.pid, program }, 'a process without an owner is ended');
      await endProcess(clock, found, isGuest ? 'SIGTERM' : 'SIGKILL');
    }
  }
  return guests;
}
