// A control plane that starts with 10,000 operations waiting: when the first that was under way is served, when the first
// overdue confirmation is, and what memory it takes then.
//
// All of them are real ones: `crosscell up` makes three servers that are off, moves one to the other cell, where it waits in
// VERIFY_RESIZE, and is killed in the midst of the move of another (SIGKILL, by an injected crash). What its databases say
// of the three is then written for 10,000 (copies.ts): moves across cells between the copy of the disk and the pivot, with
// journal and state; finished moves whose confirm window is over; and servers that are to be started, behind the moves. The
// copies have no guests and no network: what is measured is how the work is found, not how it is done. Beside it stands the
// same start with nothing waiting, until it answers.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiClient } from '../src/cli/client.ts';
import { newId } from '../src/lib/ids.ts';
import { definitionOf } from '../src/moves/move.ts';
import { START } from '../src/moves/power.ts';
import { RESIZE } from '../src/moves/resize.ts';
import { newSaga } from '../src/store/sagas.ts';
import { openStores } from '../src/store/stores.ts';
import { copyServer } from './copies.ts';
import { PASSWORD } from './simulated.ts';
import type { Figure } from './table.ts';

const [MOVING, DUE, STARTING] = [5_000, 2_500, 2_500];
/** Rows that are written at a time. */
const ROWS = 200;
const LIMIT_MS = 120_000;
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;
/** The copy of the disk is behind it, the pivot ahead. */
const MIDWAY = 'freeze record';

/** What says in the databases that the first of them was served; `at`: the step at which the moves were. */
const SERVED = {
  'until the first goes on': (at: number) => `definition = 'resize' and status = 'active' and cursor > ${at}`,
  'until the first is confirmed': () => "definition = 'confirm' and cursor > 0",
} as const;

export async function benchRestart(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  try {
    await start(directory, async () => ({}));
    const idle = await start(directory, async () => ({}));
    await fill(directory);
    const busy = await start(directory, (begun) => firstServed(directory, begun));
    const of = { part: 'restart', note: '' };
    const waiting = `${MOVING + DUE + STARTING} waiting`;
    return [
      ...Object.entries(busy.served).map(([what, seconds]) => ({
        ...{ ...of, what: `${waiting}: ${what}`, ours: seconds, unit: 's' },
        peer: { name: 'nothing waits', value: idle.seconds },
      })),
      {
        ...{ ...of, what: `${waiting}: resident memory then`, ours: busy.mib, unit: 'MiB' },
        peer: { name: 'nothing waits', value: idle.mib },
      },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Up {
  readonly child: ChildProcess;
  readonly endpoint: string;
  readonly ended: Promise<unknown>;
}

/** Resolves when it answers. */
async function up(directory: string, ...flags: string[]): Promise<Up> {
  const where = ['--data', directory, '--listen', '127.0.0.1:0', '--admin-password', PASSWORD];
  const child = spawn(CROSSCELL, ['up', ...where, '--hypervisor', 'simulated', '--no-image', '--json', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    return { child, endpoint: (JSON.parse(line) as { endpoint: string }).endpoint, ended };
  }
  throw new Error('crosscell up ended before it answered');
}

/** Starts the system, waits for what is to be served behind its first answer, measures, and stops it. */
async function start(directory: string, served: (begun: number) => Promise<Readonly<Record<string, number>>>) {
  const begun = performance.now();
  const { child, ended } = await up(directory);
  try {
    const seconds = (performance.now() - begun) / 1000;
    const first = await served(begun);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    return { seconds, served: first, mib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024 };
  } finally {
    child.kill('SIGINT');
    await ended;
  }
}

/** How many seconds after the start the first was served, as seen from outside. */
async function firstServed(directory: string, begun: number): Promise<Record<string, number>> {
  const db = new DatabaseSync(join(directory, 'global.sqlite'), { readOnly: true });
  try {
    const at = RESIZE.steps.findIndex(({ step }) => step === MIDWAY);
    const looks = new Map(
      Object.entries(SERVED).map(([what, is]) => [what, db.prepare(`select 1 from sagas where ${is(at)} limit 1`)]),
    );
    const served: Record<string, number> = {};
    for (const giveUp = begun + LIMIT_MS; looks.size > 0; await delay(2)) {
      for (const [what, look] of looks) {
        if (look.get() === undefined) continue;
        served[what] = (performance.now() - begun) / 1000;
        looks.delete(what);
      }
      if (performance.now() > giveUp) throw new Error(`not served: ${[...looks.keys()].join(', ')}`);
    }
    return served;
  } finally {
    db.close();
  }
}

/** What waits, written into the databases of a system that does not run. */
async function fill(directory: string): Promise<void> {
  const { moving, moved, stopped } = await threeServers(directory);
  const cells = (await readdir(join(directory, 'cells'))).filter((name) => name.endsWith('.sqlite'));
  const files = [join(directory, 'global.sqlite'), ...cells.map((name) => join(directory, 'cells', name))];
  copyServer(files, moving, MOVING);
  copyServer(files, moved, DUE, { migrations: { confirm_at: 1 } });
  await beginStarts(directory, copyServer(files, stopped, STARTING));
}

interface Three {
  /** Its move was under way when the control plane was killed. */
  readonly moving: string;
  /** It waits in VERIFY_RESIZE. */
  readonly moved: string;
  readonly stopped: string;
}

async function threeServers(directory: string): Promise<Three> {
  const { child, endpoint, ended } = await up(directory, '--allow-faults');
  try {
    const api = new ApiClient({ url: endpoint, user: 'admin', password: PASSWORD, project: 'admin' });
    await api.login();
    const image = await uploadImage(api, directory);
    const servers: string[] = [];
    for (let n = 0; n < 3; n += 1) servers.push(await stoppedServer(api, image));
    const [moving = '', moved = '', stopped = ''] = servers;
    await toOtherCell(api, moved);
    await reached(api, moved, 'VERIFY_RESIZE');
    await api.call('POST', '/crosscell/v1/faults', {
      ...{ saga: 'resize', step: MIDWAY, phase: 'do', kind: 'crash-before', times: 1 },
    });
    await toOtherCell(api, moving);
    await ended;
    return { moving, moved, stopped };
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

async function uploadImage(api: ApiClient, directory: string): Promise<string> {
  const image = await api.call<{ id: string }>('POST', '/image/v2/images', {
    ...{ name: 'small', disk_format: 'raw', container_format: 'bare' },
  });
  const file = join(directory, 'image.raw');
  await writeFile(file, Buffer.alloc(64 * 1024));
  await api.upload(image.id, file);
  return image.id;
}

const act = (api: ApiClient, id: string, body: object): Promise<unknown> =>
  api.call('POST', `/compute/v2.1/servers/${id}/action`, body);

interface ServerView {
  readonly status: string;
  readonly 'OS-EXT-SRV-ATTR:host': string;
}

const shown = async (api: ApiClient, id: string): Promise<ServerView> =>
  (await api.call<{ server: ServerView }>('GET', `/compute/v2.1/servers/${id}`)).server;

async function reached(api: ApiClient, id: string, wanted: string): Promise<void> {
  for (const giveUp = performance.now() + LIMIT_MS; (await shown(api, id)).status !== wanted; await delay(20)) {
    if (performance.now() > giveUp) throw new Error(`server ${id} does not become ${wanted}`);
  }
}

async function stoppedServer(api: ApiClient, imageRef: string): Promise<string> {
  const body = { server: { name: 'bench', imageRef, flavorRef: '1', networks: 'none' } };
  const { server } = await api.call<{ server: { id: string } }>('POST', '/compute/v2.1/servers', body);
  await reached(api, server.id, 'ACTIVE');
  await act(api, server.id, { 'os-stop': null });
  await reached(api, server.id, 'SHUTOFF');
  return server.id;
}

async function toOtherCell(api: ApiClient, id: string): Promise<void> {
  const host = (await shown(api, id))['OS-EXT-SRV-ATTR:host'].startsWith('cell1') ? 'cell2-host1' : 'cell1-host1';
  await act(api, id, { migrate: { host } });
}

/** Starts of these servers that nobody has begun with. */
async function beginStarts(directory: string, ids: readonly string[]): Promise<void> {
  const stores = await openStores(directory);
  try {
    const homes = await stores.global.selectFrom('server_mappings').select(['server_id', 'cell_id']).execute();
    const cellOf = new Map(homes.map((row) => [row.server_id, row.cell_id]));
    const definition = definitionOf(START);
    const host = await stores.global.selectFrom('hosts').select('name').orderBy('name').executeTakeFirstOrThrow();
    const now = Date.now();
    const waiting = (key: string) => {
      const state = {
        ...{ actor: { userId: 'u', projectId: 'p' }, cellId: cellOf.get(key) ?? '' },
        ...{ host: host.name, graceSeconds: 0, wasOn: false },
      };
      return newSaga({ id: newId(), definition, key, state, requestId: 'req' }, now);
    };
    await stores.global.transaction().execute(async (trx) => {
      for (let made = 0; made < ids.length; made += ROWS) {
        await trx
          .insertInto('sagas')
          .values(ids.slice(made, made + ROWS).map(waiting))
          .execute();
      }
    });
  } finally {
    await stores.close();
  }
}
