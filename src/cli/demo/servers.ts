// The demo's servers: booted, watched until their guest works, and deleted without a trace.
//
// A boot may be started in one scene and awaited in a later one, so that guests boot while others move. A boot that
// fails is told to the scene that awaits it.
import { systemClock } from '../../lib/clock.ts';
import type { ServerView } from './cloud.ts';
import { HOSTS, SMALL } from './plan.ts';
import { seconds } from './printer.ts';
import { TimedOut, until } from './wait.ts';
import { claim, lose, SceneFailed, timed, type World } from './world.ts';

export interface DemoServer {
  readonly name: string;
  readonly id: string;
}

/** Stages of a boot, in order; a guest without a journal is up when it is ACTIVE. */
const STAGES = [
  'asked for',
  'being built',
  'ACTIVE: its kernel starts',
  'up: its journal begins',
  'its data is written',
];
const BOOT_LIMIT_MS = 120_000;
const GUEST_LIMIT_MS = 90_000;
const DELETE_LIMIT_MS = 30_000;
const CONSOLE_LINES = 600;

interface Boot {
  stage: number;
  readonly startedAt: number;
  endedAt: number;
  readonly done: Promise<DemoServer>;
}

export class Servers {
  readonly #boots = new Map<string, Boot>();
  readonly #booted: DemoServer[] = [];
  readonly #taken = new Set<string>();
  readonly #image: string;

  constructor(image: string) {
    this.#image = image;
  }

  /** Begins to boot a server of the small flavor; `take` waits for it. */
  begin(w: World, name: string): void {
    if (this.#boots.has(name)) return;
    const boot: Boot = {
      stage: 0,
      startedAt: systemClock.now(),
      endedAt: 0,
      done: this.#boot(w, name, (stage) => {
        boot.stage = stage;
      }).finally(() => {
        boot.endedAt = systemClock.now();
      }),
    };
    // Told to whoever takes the server; until then the failure must not end the program.
    boot.done.catch(() => undefined);
    this.#boots.set(name, boot);
  }

  /** The server, when its guest works. @throws SceneFailed when it does not get there */
  async take(w: World, name: string): Promise<DemoServer> {
    this.begin(w, name);
    this.#taken.add(name);
    const boot = this.#boots.get(name);
    if (!boot) throw new SceneFailed(`server ${name} was never begun`);
    const bar = w.print.bar(`server ${name} boots in cell1`, STAGES.length);
    const over = new AbortController();
    const showing = (async () => {
      while (!over.signal.aborted) {
        bar.update(boot.stage, STAGES[boot.stage]);
        await systemClock.sleep(100, over.signal);
      }
    })();
    try {
      const server = await timed(w, 'boots', () => boot.done);
      bar.done(`its guest works, ${seconds(boot.endedAt - boot.startedAt)} after it was asked for`);
      return server;
    } catch (error) {
      bar.done('failed');
      throw error;
    } finally {
      over.abort();
      await showing;
    }
  }

  /** Those that a scene has taken. */
  taken(): readonly DemoServer[] {
    return this.#booted.filter((server) => this.#taken.has(server.name));
  }

  /** Every server that was ever asked for. */
  booted(): readonly DemoServer[] {
    return this.#booted;
  }

  async #boot(w: World, name: string, at: (stage: number) => void): Promise<DemoServer> {
    const id = await w.cloud.createServer(name, this.#image, SMALL.id);
    this.#booted.push({ name, id });
    at(1);
    await until(async () => active(await w.cloud.server(id)), {
      ...{ what: `server ${name} to be ACTIVE`, limitMs: BOOT_LIMIT_MS, signal: w.signal },
    });
    at(2);
    if (w.hypervisor === 'simulated') return { name, id };
    for (const [stage, word] of [
      [3, 'GUEST UP '],
      [4, 'GUEST BALLAST done'],
    ] as const) {
      await until(async () => ((await w.cloud.console(id, CONSOLE_LINES)).includes(word) ? true : null), {
        ...{ what: `"${word}" on the console of ${name}`, limitMs: BOOT_LIMIT_MS, everyMs: 300, signal: w.signal },
      });
      at(stage);
    }
    return { name, id };
  }
}

/** True when it is ACTIVE, null while it is not yet. @throws SceneFailed when it is in ERROR */
function active({ status, name, fault }: ServerView): true | null {
  if (status === 'ERROR') throw new SceneFailed(`server ${name} is in ERROR: ${fault?.message ?? 'without a reason'}`);
  return status === 'ACTIVE' ? true : null;
}

export async function awaitStatus(w: World, server: DemoServer, status: string): Promise<ServerView> {
  return until(
    async () => {
      const view = await w.cloud.server(server.id);
      return view.status === status && view['OS-EXT-STS:task_state'] === null ? view : null;
    },
    { what: `${server.name} to be ${status}`, limitMs: BOOT_LIMIT_MS, signal: w.signal },
  );
}

/**
 * Waits until the guest's present run writes its journal, as its console says; what is on the disk is looked at after.
 * Resolves at once where guests keep no journal.
 */
export async function awaitGuest(w: World, server: DemoServer, where: string): Promise<void> {
  if (w.hypervisor === 'simulated') return;
  const began = systemClock.now();
  const bar = w.print.bar(`its guest boots in ${where}`, GUEST_USUAL_MS);
  try {
    const writes = async (): Promise<true | null> => {
      bar.update(Math.min(systemClock.now() - began, GUEST_USUAL_MS * 0.95));
      const run = w.watch.runsOf(server.id).at(-1);
      if (!run || !w.watch.isRunning(server.id)) return null;
      const lines = journalTimes(await w.cloud.console(server.id, 20)).filter((time) => time >= run.firstSeen);
      return lines.length >= 3 ? true : null;
    };
    const what = `the guest of ${server.name} to write`;
    const options = { what, limitMs: GUEST_LIMIT_MS, everyMs: 250, signal: w.signal };
    await timed(w, 'guests', () => until(writes, options));
    bar.done(`writes its journal after ${seconds(systemClock.now() - began)}`);
  } catch (error) {
    bar.done('it does not write');
    throw error;
  }
}

/** For the bar alone: about how long a guest boots. */
const GUEST_USUAL_MS = 9000;

/** Times of the journal's lines on a console, ms since epoch. */
const journalTimes = (console: string): number[] =>
  [...console.matchAll(/^JOURNAL \d+ (\d+) /gm)].map((match) => Number(match[1]));

/** Deletes the server and looks whether anything of it is left on any host. */
export async function remove(w: World, server: DemoServer): Promise<void> {
  await w.cloud.deleteServer(server.id);
  const left = async (): Promise<string[]> => {
    const there = (await w.cloud.serverIfThere(server.id)) === null ? [] : ['the API still shows it'];
    const files = await Promise.all(
      HOSTS.map(async ({ name }) => (await w.disks.remains(name, server.id)).map((file) => `${name}: ${file}`)),
    );
    const running = w.watch.isRunning(server.id) ? ['its guest still runs'] : [];
    return [...there, ...files.flat(), ...running];
  };
  let last: string[] = [];
  try {
    await until(
      async () => {
        last = await left();
        return last.length === 0 ? true : null;
      },
      { what: 'nothing to be left', limitMs: DELETE_LIMIT_MS, signal: w.signal },
    );
  } catch (error) {
    if (!(error instanceof TimedOut)) throw error;
    w.report.leaked.push(...last.map((each) => `after the delete of ${server.name}: ${each}`));
  }
  claim(w, `${server.name} is deleted and nothing of it is left on any host`, last.length === 0, last.join('; '));
}

/** The server is there and its API view can be had; one that is not is lost. */
export async function mustExist(w: World, server: DemoServer): Promise<ServerView> {
  const view = await w.cloud.serverIfThere(server.id);
  if (view === null) {
    lose(w, server.name);
    throw new SceneFailed(`server ${server.name} has vanished`);
  }
  return view;
}
