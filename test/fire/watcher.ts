// A witness outside the product: samples the machine's processes and connections, and asks nobody.
//
//   node test/fire/watcher.ts DIRECTORY     writes one JSON line per change to stdout, until its stdin ends
//
// A guest is a QEMU process with `-uuid <server>` whose pid file lies below DIRECTORY/hosts/<host>/; a volume's daemon is
// a qemu-storage-daemon with a file below DIRECTORY/storage/. A guest uses a volume when one of its established TCP
// connections ends at a port that the volume's daemon listens on. Two guests of one server at one time are a breach,
// and so are two guests of one server that are connected to one volume.
// Not handled: what lives shorter than the pause between two looks may be missed.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const PAUSE_MS = 20;

export interface GuestProcess {
  readonly pid: number;
  /** Start time in clock ticks since boot: with the pid it names one life of a process. */
  readonly startTime: string;
  readonly serverId: string;
  readonly host: string;
}

export interface VolumeProcess {
  readonly pid: number;
  readonly ports: readonly number[];
}

export interface Sight {
  /** Every process of the machine, with its command line. */
  readonly all: readonly { readonly pid: number; readonly words: string }[];
  readonly guests: readonly GuestProcess[];
  readonly volumes: readonly VolumeProcess[];
  /** Guest pid → pids of the daemons that it is connected to. */
  readonly connections: ReadonlyMap<number, readonly number[]>;
}

/** What this process says; undefined when it has ended, or is somebody else's. */
function readOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // ended while we looked
  }
}

const NUMBER = /^[0-9]+$/;

export function look(directory: string): Sight {
  const guests: GuestProcess[] = [];
  const daemons: number[] = [];
  const all: { pid: number; words: string }[] = [];
  for (const name of readdirSync('/proc')) {
    if (!NUMBER.test(name)) continue;
    const argv = (readOf(`/proc/${name}/cmdline`) ?? '').split('\0');
    all.push({ pid: Number(name), words: argv.join(' ').trim() });
    const pidFile = argv[argv.indexOf('-pidfile') + 1] ?? '';
    const serverId = argv[argv.indexOf('-uuid') + 1];
    const stat = readOf(`/proc/${name}/stat`);
    // Field 3 is the state: a zombie is no running guest any more.
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
    if (fields[0] === 'Z' || fields[0] === 'X' || fields[19] === undefined) continue;
    if (argv.includes('-uuid') && serverId !== undefined && pidFile.startsWith(`${directory}/hosts/`)) {
      const host = pidFile.slice(`${directory}/hosts/`.length).split('/')[0] ?? '';
      guests.push({ pid: Number(name), startTime: fields[19], serverId, host });
    } else if (basename(argv[0] ?? '') === 'qemu-storage-daemon' && argv.some((each) => each.includes(directory))) {
      daemons.push(Number(name));
    }
  }
  if (daemons.length === 0) return { all, guests, volumes: [], connections: new Map() };
  const sockets = tcpSockets();
  const volumes = daemons.map((pid) => {
    const own = socketsOf(pid);
    return { pid, ports: sockets.filter((each) => each.listens && own.has(each.inode)).map((each) => each.local) };
  });
  const connections = new Map<number, number[]>();
  for (const { pid } of guests) {
    const own = socketsOf(pid);
    const remote = sockets.filter((each) => each.established && own.has(each.inode)).map((each) => each.remote);
    connections.set(
      pid,
      volumes.filter(({ ports }) => ports.some((port) => remote.includes(port))).map((volume) => volume.pid),
    );
  }
  return { all, guests, volumes, connections };
}

interface Socket {
  readonly inode: string;
  readonly local: number;
  readonly remote: number;
  readonly listens: boolean;
  readonly established: boolean;
}

function tcpSockets(): Socket[] {
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) =>
    (readOf(path) ?? '')
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/);
        if (local === undefined || remote === undefined || state === undefined || inode === undefined) return [];
        const port = (address: string): number => Number.parseInt(address.split(':')[1] ?? '', 16);
        return [
          { inode, local: port(local), remote: port(remote), listens: state === '0A', established: state === '01' },
        ];
      }),
  );
}

function socketsOf(pid: number): Set<string> {
  const inodes = new Set<string>();
  let descriptors: string[];
  try {
    descriptors = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return inodes; // ended while we looked
  }
  for (const descriptor of descriptors) {
    try {
      const match = /^socket:\[([0-9]+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${descriptor}`));
      if (match?.[1] !== undefined) inodes.add(match[1]);
    } catch {
      // closed while we looked
    }
  }
  return inodes;
}

/** Sentences: what must never be. */
export function breachesOf({ guests, connections }: Sight): string[] {
  const found: string[] = [];
  for (const [index, guest] of guests.entries()) {
    for (const other of guests.slice(index + 1)) {
      if (other.serverId !== guest.serverId) continue;
      found.push(`two guests of ${guest.serverId} at once, on ${guest.host} and on ${other.host}`);
      const shared = (connections.get(guest.pid) ?? []).filter((pid) => connections.get(other.pid)?.includes(pid));
      if (shared.length > 0) found.push(`two guests of ${guest.serverId} are connected to one volume`);
    }
  }
  return found;
}

export interface WatchLine {
  readonly looks: number;
  readonly lives: number;
  readonly longestPauseMs: number;
  readonly breaches: readonly string[];
}

if (import.meta.main) {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) throw new Error('which directory?');
  const lives = new Set<string>();
  const breaches = new Set<string>();
  let looks = 0;
  let longestPauseMs = 0;
  let before = performance.now();
  let over = false;
  process.stdin.resume().on('end', () => {
    over = true;
  });
  while (!over) {
    const sight = look(directory);
    looks += 1;
    longestPauseMs = Math.max(longestPauseMs, Math.round(performance.now() - before));
    before = performance.now();
    for (const { pid, startTime } of sight.guests) lives.add(`${pid}@${startTime}`);
    for (const breach of breachesOf(sight)) breaches.add(breach);
    await delay(PAUSE_MS);
  }
  const line: WatchLine = { looks, lives: lives.size, longestPauseMs, breaches: [...breaches] };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
