// A control plane that starts with 10,000 operations waiting: when the first of them is served, and what memory it takes.
//
// The data directory is made by `crosscell up` itself, then 10,000 servers with one waiting start each are written into its
// databases. They have no guests: what is measured is how the work is found, not how it is done. Beside it stands the same
// start with nothing waiting, until it answers.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { rowOf } from '../src/control/records.ts';
import { serverLike } from '../src/control/test-support.ts';
import { newId } from '../src/lib/ids.ts';
import { definitionOf } from '../src/moves/move.ts';
import { START } from '../src/moves/power.ts';
import { newSaga } from '../src/store/sagas.ts';
import { openStores } from '../src/store/stores.ts';
import type { Figure } from './table.ts';

const WAITING = 10_000;
const ROWS = 200;
const LIMIT_MS = 60_000;
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;

export async function benchRestart(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  try {
    await start(directory, async () => undefined);
    const idle = await start(directory, async () => undefined);
    await fill(directory);
    const busy = await start(directory, () => firstServed(directory));
    const peer = (value: number) => ({ name: 'nothing waits', value });
    const of = { part: 'restart', note: '' };
    return [
      {
        ...of,
        what: `${WAITING} waiting: until the first is served`,
        ours: busy.seconds,
        unit: 's',
        peer: peer(idle.seconds),
      },
      { ...of, what: `${WAITING} waiting: resident memory then`, ours: busy.mib, unit: 'MiB', peer: peer(idle.mib) },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Starts the system, waits for `ready` behind its first answer, measures, and stops it. */
async function start(directory: string, ready: () => Promise<void>): Promise<{ seconds: number; mib: number }> {
  const begun = performance.now();
  const where = ['--data', directory, '--listen', '127.0.0.1:0'];
  const child = spawn(CROSSCELL, ['up', ...where, '--hypervisor', 'simulated', '--no-image', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    for await (const _ of createInterface({ input: child.stdout })) {
      await ready();
      const seconds = (performance.now() - begun) / 1000;
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      return { seconds, mib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024 };
    }
    throw new Error('crosscell up ended before it answered');
  } finally {
    child.kill('SIGINT');
    await ended;
  }
}

/** Resolves when one of the waiting operations has taken its first step. */
async function firstServed(directory: string): Promise<void> {
  const db = new DatabaseSync(join(directory, 'global.sqlite'), { readOnly: true });
  try {
    const served = db.prepare('select 1 from sagas where cursor > 0 limit 1');
    for (const giveUp = performance.now() + LIMIT_MS; served.get() === undefined; await delay(2)) {
      if (performance.now() > giveUp) throw new Error('nothing was served');
    }
  } finally {
    db.close();
  }
}

async function fill(directory: string): Promise<void> {
  const stores = await openStores(directory);
  try {
    const host = await stores.global.selectFrom('hosts').select(['name', 'cell_id']).executeTakeFirstOrThrow();
    const cell = await stores.cell(host.cell_id);
    const definition = definitionOf(START);
    const actor = { userId: 'u', projectId: 'p' };
    const state = { actor, cellId: host.cell_id, host: host.name, graceSeconds: 0, wasOn: false };
    for (let made = 0; made < WAITING; made += ROWS) {
      const servers = Array.from({ length: ROWS }, () =>
        serverLike({ id: newId(), host: host.name, vmState: 'stopped' }),
      );
      const now = Date.now();
      await cell.insertInto('servers').values(servers.map(rowOf)).execute();
      await stores.global.transaction().execute(async (trx) => {
        await trx
          .insertInto('server_mappings')
          .values(
            servers.map(({ id, flavor, image, requestedZone }) => ({
              ...{ server_id: id, cell_id: host.cell_id, project_id: 'p', user_id: 'u', generation: 1 },
              ...{
                delete_requested_at: null,
                soft_delete_requested_at: null,
                soft_deleted_at: null,
                flavor_json: JSON.stringify(flavor),
                image_id: image.id,
                requested_zone: requestedZone,
                deleted_at: null,
                created_at: now,
              },
            })),
          )
          .execute();
        const saga = (key: string) => newSaga({ id: newId(), definition, key, state, requestId: 'req' }, now);
        await trx
          .insertInto('sagas')
          .values(servers.map(({ id }) => saga(id)))
          .execute();
      });
    }
  } finally {
    await stores.close();
  }
}
