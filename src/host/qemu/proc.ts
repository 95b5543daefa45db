// Processes as Linux shows them under /proc.
//
// Theory of operation. A pid alone names nothing, because pids are reused; pid and start time together name one process
// until the machine restarts. A process counts as gone when it does not exist, is another one, or is a zombie without
// living threads: then its files, locks and sockets are closed. (A zombie leader whose threads still live is not gone.)
// Not handled: other kernels than Linux.
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';

export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks since the machine's start, as text: field 22 of /proc/<pid>/stat. */
  readonly startTime: string;
}

interface Stat {
  readonly state: string;
  readonly threads: number;
  readonly startTime: string;
}

/** Linux reports times to user space in hundredths of a second on every architecture. */
export const TICKS_PER_SECOND = 100;

function readStat(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ESRCH')) return null;
    throw error;
  }
  // The second field is the command in parentheses and may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', threads: Number(fields[17]), startTime: fields[19] ?? '' };
}

/** The process that has this pid now; null when there is none. */
export function identify(pid: number): ProcessRef | null {
  const stat = readStat(pid);
  return stat && { pid, startTime: stat.startTime };
}

/** Whether this very process still lives. */
export function isAlive(process: ProcessRef): boolean {
  const stat = readStat(process.pid);
  if (stat === null || stat.startTime !== process.startTime) return false;
  return !((stat.state === 'Z' || stat.state === 'X') && stat.threads <= 1);
}

/** Sends a signal to this very process; false when it is gone. */
export function signal(target: ProcessRef, name: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    return process.kill(target.pid, name);
  } catch (error) {
    if (isCode(error, 'ESRCH')) return false;
    throw error;
  }
}

export interface ProcessEntry extends ProcessRef {
  readonly argv: readonly string[];
}

/** All processes whose command line can be read. */
export async function listProcesses(): Promise<ProcessEntry[]> {
  const found: ProcessEntry[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const argv = await readArguments(Number(name));
    const ref = argv.length > 0 ? identify(Number(name)) : null;
    if (ref && isAlive(ref)) found.push({ ...ref, argv });
  }
  return found;
}

async function readArguments(pid: number): Promise<string[]> {
  try {
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    return text.split('\0').slice(0, -1);
  } catch (error) {
    // Ended meanwhile, or another user's on a system that hides those: not ours either way.
    if (isCode(error, 'ENOENT') || isCode(error, 'ESRCH') || isCode(error, 'EACCES') || isCode(error, 'EPERM'))
      return [];
    throw error;
  }
}

/** When the process was started, ms since epoch. */
export function startedAtMs(process: ProcessRef): number {
  const boot = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'));
  return Math.round((Number(boot?.[1] ?? 0) + Number(process.startTime) / TICKS_PER_SECOND) * 1000);
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
