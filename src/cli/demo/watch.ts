// A witness beside the system: looks at all guests of the demo about twenty times a second, from the first scene to the
// last, and asks nobody.
//
// On QEMU it looks at the processes of the machine: a guest is a process with `-uuid <server>`, its host the directory
// that its pid file is in. A run is one process; a server of which two are seen at once is a breach, kept as a sentence.
// On simulated hosts there are no processes; it reads the agents' records instead, which are written before each effect.
// Not handled: a process that lives shorter than the pause between two looks may be missed.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { identify, isCode } from '../../host/qemu/proc.ts';
import { systemClock } from '../../lib/clock.ts';
import { HOSTS } from './plan.ts';

/** One life of a guest's process, as far as it was seen. */
export interface Run {
  readonly serverId: string;
  readonly host: string;
  /** Process and start time; unique per run. */
  readonly key: string;
  readonly firstSeen: number;
  lastSeen: number;
}

interface Sighting {
  readonly serverId: string;
  readonly host: string;
  readonly key: string;
}

const PAUSE_MS = 50;
/** What a process runs changes only right after its birth; after so many looks it is read again only now and then. */
const YOUNG_LOOKS = 40;
const OLD_EVERY = 20;

export class Watch {
  readonly #look: () => Sighting[];
  readonly #runs = new Map<string, Run>();
  readonly #breaches = new Set<string>();
  readonly #stopping = new AbortController();
  #now: readonly Sighting[] = [];
  #looks = 0;
  #longestPauseMs = 0;
  #over: Promise<void> = Promise.resolve();

  constructor(directory: string, hypervisor: 'qemu' | 'simulated') {
    this.#look = hypervisor === 'qemu' ? processLook(directory) : recordLook(directory);
  }

  start(): void {
    this.#over = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#over;
  }

  /** How often it has looked. */
  get looks(): number {
    return this.#looks;
  }

  /** The longest time between two looks, ms. */
  get longestPauseMs(): number {
    return Math.round(this.#longestPauseMs);
  }

  /** How many lives of guests it has seen. */
  get runs(): number {
    return this.#runs.size;
  }

  /** Sentences: a server of which more than one guest was seen at one time. */
  get breaches(): readonly string[] {
    return [...this.#breaches];
  }

  /** The server's runs so far, oldest first. */
  runsOf(serverId: string): readonly Run[] {
    return [...this.#runs.values()].filter((run) => run.serverId === serverId);
  }

  /** Whether a guest of the server was running at the last look. */
  isRunning(serverId: string): boolean {
    return this.runningOn(serverId) !== null;
  }

  /** The host on which a guest of the server was running at the last look. */
  runningOn(serverId: string): string | null {
    return this.#now.find((each) => each.serverId === serverId)?.host ?? null;
  }

  async #watch(): Promise<void> {
    let before = performance.now();
    while (!this.#stopping.signal.aborted) {
      const now = performance.now();
      if (this.#looks > 0) this.#longestPauseMs = Math.max(this.#longestPauseMs, now - before);
      before = now;
      this.#record(this.#look(), systemClock.now());
      this.#looks += 1;
      await systemClock.sleep(PAUSE_MS, this.#stopping.signal);
    }
  }

  #record(sightings: readonly Sighting[], now: number): void {
    this.#now = sightings;
    const hosts = new Map<string, string>();
    for (const { serverId, host, key } of sightings) {
      const run = this.#runs.get(key);
      if (run) run.lastSeen = now;
      else this.#runs.set(key, { serverId, host, key, firstSeen: now, lastSeen: now });
      const other = hosts.get(serverId);
      if (other !== undefined) this.#breaches.add(`two guests of ${serverId} at once: on ${other} and on ${host}`);
      hosts.set(serverId, host);
    }
  }
}

/** Looks at the processes of the machine. */
function processLook(directory: string): () => Sighting[] {
  const prefix = `${join(directory, 'hosts')}/`;
  const strangers = new Map<string, number>();
  let round = 0;
  return () => {
    round += 1;
    const found: Sighting[] = [];
    const present = new Set<string>();
    for (const name of readdirSync('/proc')) {
      if (!/^[0-9]+$/.test(name)) continue;
      present.add(name);
      const seen = strangers.get(name) ?? 0;
      if (seen > YOUNG_LOOKS && (Number(name) + round) % OLD_EVERY !== 0) continue;
      const guest = guestOf(Number(name), prefix);
      if (guest === null) strangers.set(name, seen + 1);
      else {
        strangers.delete(name);
        found.push(guest);
      }
    }
    for (const name of strangers.keys()) if (!present.has(name)) strangers.delete(name);
    return found;
  };
}

/** The guest that this process runs; null when it is something else, or has ended. */
function guestOf(pid: number, prefix: string): Sighting | null {
  let argv: string[];
  try {
    argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch (error) {
    // Ended while we looked, or somebody else's.
    if (isCode(error, 'ENOENT') || isCode(error, 'ESRCH') || isCode(error, 'EACCES')) return null;
    throw error;
  }
  const serverId = argv[argv.indexOf('-uuid') + 1];
  const pidFile = argv[argv.indexOf('-pidfile') + 1];
  if (!argv.includes('-uuid') || serverId === undefined || !pidFile?.startsWith(prefix)) return null;
  const ref = identify(pid);
  if (ref === null) return null;
  return { serverId, host: pidFile.slice(prefix.length).split('/')[0] ?? '', key: `${pid}@${ref.startTime}` };
}

interface RecordFile {
  readonly serverId: string;
  readonly guest: { readonly power: string; readonly startedAt: number | null } | null;
}

/** Looks at the records of simulated hosts. */
function recordLook(directory: string): () => Sighting[] {
  return () =>
    HOSTS.flatMap(({ name }) =>
      recordsOf(directory, name).flatMap(({ serverId, guest }) =>
        guest?.power === 'on' && guest.startedAt !== null
          ? [{ serverId, host: name, key: `${name}:${serverId}@${guest.startedAt}` }]
          : [],
      ),
    );
}

function recordsOf(directory: string, host: string): RecordFile[] {
  const records = join(directory, 'hosts', host, 'records');
  const found: RecordFile[] = [];
  for (const name of namesIn(records)) {
    if (!name.endsWith('.json')) continue;
    found.push(JSON.parse(readFileSync(join(records, basename(name)), 'utf8')) as RecordFile);
  }
  return found;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    // Before the host's first start.
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  }
}
