// Looks that several scenes take: at a journal across a move, and at what a host still holds of a server.
import { isContinuation } from '../../../guest/journal.ts';
import type { Usage } from './cloud.ts';
import type { JournalState } from './disks.ts';
import { hostsOf } from './plan.ts';
import { recordJournal } from './record.ts';
import type { MoveReport } from './report.ts';
import type { DemoServer } from './servers.ts';
import { TimedOut, until } from './wait.ts';
import { claim, lose, SceneFailed, timed, type World } from './world.ts';

/** The server's journal, read from its disk on that host; null where guests keep none. @throws SceneFailed */
export async function journalOf(w: World, server: DemoServer, host: string): Promise<JournalState | null> {
  if (w.hypervisor === 'simulated') return null;
  const reading = await timed(w, 'journals', () => w.disks.journal(host, server.id));
  if (reading.kind === 'journal') return reading.state;
  lose(w, server.name);
  claim(w, `the journal of ${server.name}, read from its disk on ${host}, is whole`, false, reading.reason);
  throw new SceneFailed(`the journal of ${server.name} is broken: ${reading.reason}`);
}

/**
 * Claims that the journal on that host continues the one of before, and writes both into the report. Where there is no
 * journal it claims what stands in its place: equal digests on both hosts.
 * @returns the journal as it is now; null where there is none
 */
export async function claimContinuation(
  w: World,
  server: DemoServer,
  host: string,
  before: JournalState | null,
  move: MoveReport,
): Promise<JournalState | null> {
  if (before === null) {
    claim(w, 'source and target computed the same digest of the disk', move.digest.before !== null);
    return null;
  }
  const after = await journalOf(w, server, host);
  if (after === null) return null;
  const whole = isContinuation(before.journal, after.journal);
  const more = after.entries > before.entries;
  recordJournal(move, before, after, whole);
  if (!whole) lose(w, server.name);
  const gap = move.downtimeMs === null ? '' : `, its longest pause ${(move.downtimeMs / 1000).toFixed(1)} s`;
  claim(
    w,
    `its journal goes on in ${host}: ${before.entries} lines before, ${after.entries} now, no entry lost${gap}`,
    whole && more,
    whole ? 'nothing was written after the move' : 'lines of before are missing or changed',
  );
  return after;
}

/** Claims that nothing of the server is left in that cell: files, records, API view, room. */
export async function claimGone(w: World, server: DemoServer, cell: 'cell1' | 'cell2'): Promise<void> {
  let left: string[] = ['not looked yet'];
  try {
    await until(
      async () => {
        left = (await Promise.all(hostsOf(cell).map((host) => leftOn(w, server, host)))).flat();
        return left.length === 0 ? true : null;
      },
      { what: 'nothing to be left', limitMs: 10_000, signal: w.signal },
    );
  } catch (error) {
    if (!(error instanceof TimedOut)) throw error;
    w.report.leaked.push(...left.map((each) => `${server.name} in ${cell}: ${each}`));
  }
  const text = `nothing of it is left in ${cell}: no file, no guest, no record, its room is free`;
  claim(w, text, left.length === 0, left.join('; '));
}

async function leftOn(w: World, server: DemoServer, host: string): Promise<string[]> {
  const files = await w.disks.remains(host, server.id);
  const shown = await w.cloud.serversOn(host);
  const used = (await w.cloud.usage()).get(host);
  const owed = shown.reduce(
    (sum: Usage, { flavor }) => ({
      vcpus: sum.vcpus + flavor.vcpus,
      memoryMb: sum.memoryMb + flavor.ram,
      diskGb: sum.diskGb + flavor.disk,
    }),
    { vcpus: 0, memoryMb: 0, diskGb: 0 },
  );
  const room =
    used && used.vcpus === owed.vcpus && used.memoryMb === owed.memoryMb && used.diskGb === owed.diskGb
      ? []
      : [`${host} counts ${JSON.stringify(used)} as used, its servers have ${JSON.stringify(owed)}`];
  const runs = w.watch.runningOn(server.id) === host ? [`its guest runs on ${host}`] : [];
  const view = shown.some(({ id }) => id === server.id) ? [`the API shows it on ${host}`] : [];
  return [...files.map((file) => `${host}: ${file}`), ...view, ...room, ...runs];
}
