// What one move costs the control plane: statements, calls to hosts, CPU; and how many moves a second it makes.
// Two cells on SQLite files with synchronous=FULL, two simulated hosts each; hosts keep nothing on disk, as they would
// be other machines. Every move crosses cells. Counts once more for a server that boots from a volume and has two more,
// and two ports: there is no figure of Nova's for that, so they stand beside its figures for a server with one port and
// no volume.
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { composeSystem, type System } from '../src/cli/compose.ts';
import { parseConfig } from '../src/cli/config.ts';
import { planDeployment } from '../src/cli/deployment.ts';
import { createNetwork } from '../src/control/network/networks.ts';
import { createSubnet } from '../src/control/network/subnets.ts';
import type { Actor, Refusal } from '../src/model/types.ts';
import { confirmResize } from '../src/moves/confirm.ts';
import { createServer } from '../src/moves/create-server.ts';
import { migrateServer } from '../src/moves/resize.ts';
import { revertResize } from '../src/moves/revert.ts';
import { type Figure, median } from './table.ts';

/** Nova 26.2.2 in its functional harness; see docs/benchmarks.md. */
const NOVA = {
  migrate: { statements: 547, calls: 18, cpu: 0.485 },
  confirm: { statements: 212, calls: 6, cpu: 0.143 },
  revert: { statements: 344, calls: 11, cpu: 0.286 },
} as const;

const ROUNDS = 20;
const AT_ONCE = 20;
const CONFIG = `
heartbeat_seconds: 3600
host_down_seconds: 86400
log_level: silent
quota: { instances: -1, cores: -1, ram: -1 }
`;

export const benchMoves = (): Promise<Figure[]> => withBench(measure);

/** Moves (migrate + confirm) per second in one process, so many servers at once. */
export const movesPerSecond = (servers: number): Promise<number> =>
  withBench(async (bench) => {
    const imageId = await bench.image();
    const ids: string[] = [];
    for (let n = 0; n < servers; n += 1) ids.push(await bench.create(imageId));
    return bench.rateOf(ids);
  });

async function withBench<T>(work: (bench: Bench) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  const deployment = planDeployment(parseConfig(CONFIG, 'bench'), {
    data: directory,
    listen: '127.0.0.1:0',
    hypervisor: 'simulated',
  });
  const system = await composeSystem(deployment, { log: pino({ level: 'silent' }), memoryHosts: true });
  try {
    return await work(new Bench(system, directory));
  } finally {
    await system.stop({ guestsWithinSeconds: null });
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(bench: Bench): Promise<Figure[]> {
  const servers: string[] = [];
  const imageId = await bench.image();
  for (let n = 0; n < AT_ONCE; n += 1) servers.push(await bench.create(imageId));
  const [first = ''] = servers;
  for (let n = 0; n < 10; n += 1) await bench.thereAndConfirm(first); // warm up

  const costs: Record<keyof typeof NOVA, Cost[]> = { migrate: [], confirm: [], revert: [] };
  for (let n = 0; n < ROUNDS; n += 1) {
    costs.migrate.push(await bench.cost(() => bench.migrate(first)));
    if (n % 2 === 0) costs.confirm.push(await bench.cost(() => bench.confirm(first)));
    else costs.revert.push(await bench.cost(() => bench.revert(first)));
  }
  const figures = Object.entries(costs).flatMap(([name, all]) => perOperation(name as keyof typeof NOVA, all));

  const withVolumes = await bench.createVolumeBacked(imageId);
  await bench.thereAndConfirm(withVolumes);
  figures.push(...(await volumeBacked(bench, withVolumes)));

  const alone = await bench.seconds(async () => {
    for (let n = 0; n < ROUNDS; n += 1) await bench.thereAndConfirm(first);
  });
  const together = await bench.rateOf(servers);
  const commits = bench.commitsPerSecond();
  const movesLimit = commits / bench.commitsPerMove;
  const limit = { name: `fsync limit: ${Math.round(commits)} commits/s`, value: movesLimit };
  return [
    ...figures,
    figure('moves (migrate + confirm), one at a time', ROUNDS / alone, '/s', limit),
    figure(`moves (migrate + confirm), ${AT_ONCE} at a time`, together, '/s', limit),
  ];
}

const figure = (what: string, ours: number, unit: string, peer: Figure['peer']): Figure => ({
  part: 'moves',
  what,
  ours,
  unit,
  peer,
});

function perOperation(name: keyof typeof NOVA, costs: readonly Cost[]): Figure[] {
  const of = (pick: (cost: Cost) => number): number => median(costs.map(pick));
  const nova = NOVA[name];
  return [
    figure(
      `${name}: statements, BEGIN and COMMIT included`,
      of((c) => c.statements),
      '',
      { name: 'Nova', value: nova.statements },
    ),
    figure(
      `${name}: calls to hosts`,
      of((c) => c.calls),
      '',
      { name: 'Nova, RPC + Placement', value: nova.calls },
    ),
    figure(
      `${name}: CPU`,
      of((c) => c.cpu),
      's',
      { name: 'Nova', value: nova.cpu },
    ),
  ];
}

/** Counts alone, which do not vary from one time to the next. */
async function volumeBacked(bench: Bench, server: string): Promise<Figure[]> {
  const costs: [keyof typeof NOVA, Cost][] = [
    ['migrate', await bench.cost(() => bench.migrate(server))],
    ['confirm', await bench.cost(() => bench.confirm(server))],
  ];
  await bench.migrate(server);
  costs.push(['revert', await bench.cost(() => bench.revert(server))]);
  return costs.map(([name, { statements }]) =>
    figure(`${name}, three volumes and two ports: statements`, statements, '', {
      name: 'Nova, one port and no volume',
      value: NOVA[name].statements,
    }),
  );
}

interface Cost {
  readonly statements: number;
  readonly calls: number;
  readonly cpu: number;
}

class Bench {
  readonly #system: System;
  /** A connection of our own, so that waiting is not counted. */
  readonly #watch: DatabaseSync;
  readonly #directory: string;
  commitsPerMove = 0;

  constructor(system: System, directory: string) {
    this.#system = system;
    this.#directory = directory;
    this.#watch = new DatabaseSync(join(directory, 'global.sqlite'), { readOnly: true });
  }

  async image(): Promise<string> {
    const id = randomUUID();
    const digest = (length: number): string => '0'.repeat(length);
    await this.#system.platform.stores.global
      .insertInto('images')
      .values({
        ...{ id, name: 'bench', status: 'active', visibility: 'public', owner: 'bench', disk_format: 'qcow2' },
        ...{ container_format: 'bare', size_bytes: 1024, virtual_bytes: 1024, min_disk_gb: 0, min_ram_mb: 0 },
        ...{ md5: digest(32), sha256: digest(64), sha512: digest(128), protected: 0, hidden: 0 },
        ...{ properties_json: '{}', tags_json: '[]', created_at: 0, updated_at: 0 },
      })
      .execute();
    return id;
  }

  async create(imageId: string): Promise<string> {
    const { platform } = this.#system;
    const network = await platform.stores.global
      .selectFrom('networks')
      .select('id')
      .where('shared', '=', 1)
      .executeTakeFirstOrThrow();
    const created = await createServer(platform, actor(), {
      ...{ name: 'bench', imageId, flavorId: '1', zone: null, networkIds: [network.id], keyName: null },
      ...{ metadata: {}, tags: [], description: null, diskConfig: 'AUTO' },
    });
    if (created.kind === 'refused') throw new Error(created.refusal.message);
    await this.#ended(created.serverId);
    return created.serverId;
  }

  /** With two ports; it boots from a volume made of the image, and has two data volumes. */
  async createVolumeBacked(imageId: string): Promise<string> {
    const { platform } = this.#system;
    const { global } = platform.stores;
    const shared = await global.selectFrom('networks').select('id').where('shared', '=', 1).executeTakeFirstOrThrow();
    const second = await createNetwork(global, actor(), { name: 'second', shared: false, now: Date.now() });
    if (second.kind !== 'ok') throw new Error(JSON.stringify(second));
    const subnet = { networkId: second.value.id, name: '', cidr: '10.43.0.0/24', now: Date.now() };
    const made = await createSubnet(global, actor(), subnet);
    if (made.kind !== 'ok') throw new Error(JSON.stringify(made));
    const common = { device: null, deleteOnTermination: true, tag: null, volumeType: null };
    const created = await createServer(platform, actor(), {
      ...{ name: 'volumes', imageId: null, flavorId: '1', zone: null, keyName: null, metadata: {}, tags: [] },
      ...{ networkIds: [shared.id, second.value.id], description: null, diskConfig: 'AUTO' },
      blockDevices: [
        { ...common, source: { kind: 'image', imageId, sizeGb: 1 }, bootIndex: 0 },
        { ...common, source: { kind: 'blank', sizeGb: 1 }, bootIndex: null },
        { ...common, source: { kind: 'blank', sizeGb: 1 }, bootIndex: null },
      ],
    });
    if (created.kind === 'refused') throw new Error(created.refusal.message);
    await this.#ended(created.serverId);
    return created.serverId;
  }

  /** To a host of the other cell. */
  async migrate(server: string): Promise<void> {
    const { platform } = this.#system;
    const hosts = this.#watch
      .prepare(
        'select h.name from hosts h join server_mappings m on m.cell_id <> h.cell_id where m.server_id = ? order by h.name',
      )
      .all(server);
    const host = String(hosts[server.charCodeAt(0) % hosts.length]?.['name']);
    accepted(await migrateServer(platform, actor(), server, { host }));
    await this.#ended(server);
  }

  async confirm(server: string): Promise<void> {
    accepted(await confirmResize(this.#system.platform, actor(), server));
    await this.#ended(server);
  }

  async revert(server: string): Promise<void> {
    accepted(await revertResize(this.#system.platform, actor(), server));
    await this.#ended(server);
  }

  async thereAndConfirm(server: string): Promise<void> {
    await this.migrate(server);
    await this.confirm(server);
  }

  async cost(work: () => Promise<void>): Promise<Cost> {
    const { stores, metrics } = this.#system;
    const [statements, calls, cpu] = [stores.statements(), await metrics.hostCalls(), process.cpuUsage()];
    await work();
    const used = process.cpuUsage(cpu);
    return {
      statements: stores.statements() - statements,
      calls: (await metrics.hostCalls()) - calls,
      cpu: (used.user + used.system) / 1e6,
    };
  }

  async seconds(work: () => Promise<void>): Promise<number> {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
  }

  /** Moves per second, with all these servers moving at once; each moves twice. */
  async rateOf(servers: readonly string[]): Promise<number> {
    const all = (): Promise<unknown> => Promise.all(servers.map((server) => this.thereAndConfirm(server)));
    await all(); // warm up
    return servers.length / (await this.seconds(async () => void (await all())));
  }

  /** What this disk does at most: transactions of one small write each, one after the other. */
  commitsPerSecond(): number {
    const sagas = this.#watch
      .prepare(
        "select journal_json from sagas where definition in ('resize', 'confirm') order by created_at desc limit 2",
      )
      .all();
    this.commitsPerMove = sagas.reduce((sum, row) => sum + 2 * JSON.parse(String(row['journal_json'])).length, 0);
    const db = new DatabaseSync(join(this.#directory, 'limit.sqlite'));
    db.exec('pragma journal_mode = wal; pragma synchronous = full; create table t (n integer)');
    const insert = db.prepare('insert into t values (?)');
    const count = 300;
    const start = performance.now();
    for (let n = 0; n < count; n += 1) insert.run(n);
    const rate = count / ((performance.now() - start) / 1000);
    db.close();
    return rate;
  }

  async #ended(server: string): Promise<void> {
    const active = this.#watch.prepare("select status, reason from sagas where key = ? and status <> 'done'");
    const giveUp = performance.now() + 30_000;
    for (;;) {
      const row = active.get(server);
      if (!row) return;
      if (row['status'] !== 'active') throw new Error(`${server}: ${row['status']}: ${row['reason']}`);
      if (performance.now() > giveUp) throw new Error(`${server}: its saga does not end`);
      await delay(1);
    }
  }
}

const actor = (): Actor => ({
  userId: 'b'.repeat(32),
  projectId: 'c'.repeat(32),
  roles: ['admin'],
  requestId: `req-${randomUUID()}`,
});

function accepted(refusal: Refusal | null): void {
  if (refusal) throw new Error(refusal.message);
}
