// CPU seconds of processes that are told by their command lines, from Linux's /proc.
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

/** For how long processes are watched that nobody asks. */
const IDLE_MS = 20_000;
/** Of USER_HZ in /proc/<pid>/stat. */
const TICKS_PER_SECOND = 100;

/** CPU seconds per second that the processes take while nobody asks them anything. */
export async function idleRate(processes: RegExp): Promise<number> {
  const before = await cpuSeconds(processes);
  if (before === 0) throw new Error(`no process has a command line that matches ${processes}`);
  await setTimeout(IDLE_MS);
  return (((await cpuSeconds(processes)) - before) / IDLE_MS) * 1000;
}

/** Of all processes whose command line matches, and of their children that have ended. */
export async function cpuSeconds(processes: RegExp): Promise<number> {
  let ticks = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))) {
    try {
      const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      if (pid === String(process.pid) || !processes.test(command)) continue;
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
      // The name of the process, in parentheses, may hold anything. utime, stime, cutime, cstime.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      for (const field of fields.slice(11, 15)) ticks += Number(field);
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code)))) throw error;
    }
  }
  return ticks / TICKS_PER_SECOND;
}
