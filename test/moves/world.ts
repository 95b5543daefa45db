// A small deployment in one process: real moves, real stores (in memory), real agents over simulated hypervisors, one
// virtual clock. Two cells with two hosts each; `silver` flavors run in cell1 only, `gold` ones in cell2 only.
//
// Nothing here runs by itself: conductors are stepped, the monitor is called, time passes when told. So a test says
// exactly what happens when, and a failure repeats. Faults come in at two seams: effects of sagas (see faults.ts) and
// calls to hosts (`SimHost.trouble`).
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type AuditReport, audit } from '../../src/audit/audit.ts';
import { addAggregateHost, createAggregate, setAggregateMetadata } from '../../src/control/aggregates.ts';
import { createFlavor } from '../../src/control/flavors.ts';
import { ensureCell, registerHost } from '../../src/control/hosts.ts';
import { ensureSharedNetwork } from '../../src/control/network/records.ts';
import type { Platform, Settings } from '../../src/control/platform.ts';
import { findServer } from '../../src/control/servers.ts';
import { TEST_SETTINGS } from '../../src/control/test-support.ts';
import { Agent } from '../../src/host/agent.ts';
import type { Host, Reply } from '../../src/host/contract.ts';
import { MemoryRecords } from '../../src/host/records.ts';
import { METHODS } from '../../src/host/routes.ts';
import { SimulatedFabric, SimulatedHypervisor } from '../../src/host/simulated.ts';
import { newId } from '../../src/lib/ids.ts';
import { VirtualClock } from '../../src/lib/virtual-clock.ts';
import type { Actor, Refusal, Server } from '../../src/model/types.ts';
import { moveEffects } from '../../src/moves/conductor.ts';
import { createServer } from '../../src/moves/create.ts';
import { monitorOnce } from '../../src/moves/monitor.ts';
import { findDefinition } from '../../src/moves/registry.ts';
import { conductor, type Op } from '../../src/saga/conductor.ts';
import type { Effects } from '../../src/saga/driver.ts';
import type { Row } from '../../src/saga/types.ts';
import { sagaOf, sqlSagaStore } from '../../src/store/sagas.ts';
import { CellDown, openStores, type StoresAt } from '../../src/store/stores.ts';

export const FLAVORS = { small: 'small', medium: 'medium', big: 'big', plain: 'plain' } as const;
export const LEASE_MS = 15_000;
const HEARTBEAT_MS = 5_000;
/** Virtual time within which everything that was begun must have come to an end. */
const PATIENCE_MS = 3_600_000;

/** What befalls one call to a host: nothing, it never arrives, or its answer is lost. */
export type Trouble = 'none' | 'unreachable' | 'lost';

export class SimHost {
  readonly name: string;
  readonly cell: string;
  readonly records = new MemoryRecords();
  /** Asked at every call. */
  trouble: (method: keyof Host, serverId: string | undefined) => Trouble = () => 'none';
  /** Why a guest must fail to start; null: it starts. */
  startFault: string | null = null;
  readonly hypervisor: SimulatedHypervisor;
  #agent: Agent | null = null;
  readonly #clock: VirtualClock;

  private constructor(name: string, cell: string, clock: VirtualClock, fabric: SimulatedFabric) {
    this.name = name;
    this.cell = cell;
    this.#clock = clock;
    this.hypervisor = new SimulatedHypervisor({ clock, fabric, host: name, startFault: () => this.startFault });
  }

  static async open(name: string, cell: string, clock: VirtualClock, fabric: SimulatedFabric): Promise<SimHost> {
    const host = new SimHost(name, cell, clock, fabric);
    host.#agent = await host.#openAgent();
    return host;
  }

  get agent(): Agent {
    assert(this.#agent, 'an open host has an agent');
    return this.#agent;
  }

  #openAgent(): Promise<Agent> {
    return Agent.open({
      name: this.name,
      clock: this.#clock,
      hypervisor: this.hypervisor,
      records: this.records,
      resources: { vcpus: 8, memoryMb: 16_384, diskGb: 100 },
      log: silent,
    });
  }

  /** The agent's process is replaced by a new one; its guests go on running. */
  async restartAgent(): Promise<void> {
    await this.agent.close();
    this.#agent = await this.#openAgent();
  }

  /** The whole machine restarts: no guest runs afterwards. */
  async reboot(): Promise<void> {
    await this.restartAgent();
    // Only now: a simulated hypervisor takes it that guests outlive what restarts.
    for (const { serverId } of await this.records.load()) this.hypervisor.crash(serverId);
  }

  /** The host as the control plane reaches it. */
  readonly remote: Host = Object.fromEntries(
    METHODS.map((method) => [method, (...args: readonly unknown[]) => this.#call(method, args)]),
  ) as unknown as Host;

  async #call(method: keyof Host, args: readonly unknown[]): Promise<Reply<unknown>> {
    const [serverId] = args;
    const trouble = this.trouble(method, typeof serverId === 'string' ? serverId : undefined);
    if (trouble === 'unreachable') return { kind: 'unreachable', reason: 'no route to host' };
    const act = this.agent[method].bind(this.agent) as (...args: readonly unknown[]) => Promise<Reply<unknown>>;
    const reply = await act(...args);
    return trouble === 'lost' ? { kind: 'unreachable', reason: 'the answer was lost' } : reply;
  }

  down(): void {
    this.trouble = () => 'unreachable';
  }

  up(): void {
    this.trouble = () => 'none';
  }
}

const silent = pino({ level: process.env['WORLD_LOG'] ?? 'silent' });

export interface World {
  readonly p: Platform;
  readonly clock: VirtualClock;
  readonly hosts: ReadonlyMap<string, SimHost>;
  /** Names of cells whose databases cannot be reached. */
  readonly cellsDown: Set<string>;
  readonly user: Actor;
  readonly admin: Actor;
  readonly imageId: string;
  readonly networkId: string;
  close(): Promise<void>;
}

/** The empty databases of the next world, and whether they are being asked; test/postgres has others than in memory. */
export const worldDatabases = {
  next: async (): Promise<StoresAt | string> => ':memory:',
  isBusy: (): boolean => false,
};

export async function openWorld(settings: Partial<Settings> = {}): Promise<World> {
  const clock = new VirtualClock(undefined, worldDatabases.isBusy);
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-world-'));
  const stores = await openStores(await worldDatabases.next());
  const fabric = new SimulatedFabric();
  const hosts = new Map<string, SimHost>();
  const cellsDown = new Set<string>();
  const cellNames = new Map<string, string>();
  const p: Platform = {
    clock,
    log: silent,
    stores: {
      ...stores,
      cell: async (cellId) => {
        if (cellsDown.has(cellNames.get(cellId) ?? '')) throw new CellDown(cellId, 'as the test wants it');
        return stores.cell(cellId);
      },
    },
    settings: { ...SETTINGS, imageDirectory: directory, ...settings },
    host: async (name) => {
      const host = hosts.get(name);
      assert(host, `no host ${name}`);
      return host.remote;
    },
    nudge: () => undefined,
  };
  for (const [cell, metal] of [
    ['cell1', 'silver'],
    ['cell2', 'gold'],
  ] as const) {
    const cellId = await ensureCell(p, cell);
    cellNames.set(cellId, cell);
    const aggregate = accepted(await createAggregate(p, metal, null)).aggregate.id;
    accepted(await setAggregateMetadata(p, aggregate, { metal }));
    for (const name of [`${cell}-a`, `${cell}-b`]) {
      const host = await SimHost.open(name, cell, clock, fabric);
      hosts.set(name, host);
      const described = await host.agent.describe();
      assert(described.kind === 'ok');
      await registerHost(p, { name, cellId, url: `http://${name}`, description: described.value });
      accepted(await addAggregateHost(p, aggregate, name));
    }
  }
  await addFlavor(p, FLAVORS.small, 1, 256, 1, 'silver');
  await addFlavor(p, FLAVORS.medium, 2, 512, 2, 'silver');
  await addFlavor(p, FLAVORS.big, 4, 1024, 3, 'gold');
  await addFlavor(p, FLAVORS.plain, 1, 256, 1, null);
  const imageId = await addImage(p);
  const { networkId } = await ensureSharedNetwork(stores.global, { cidr: '10.42.0.0/16', now: clock.now() });
  const world: World = {
    ...{ p, clock, hosts, cellsDown, imageId, networkId },
    user: { userId: 'user-1', projectId: 'project-1', roles: ['member'], requestId: 'req-user' },
    admin: { userId: 'user-0', projectId: 'project-0', roles: ['admin'], requestId: 'req-admin' },
    async close() {
      await Promise.all([...hosts.values()].map((host) => host.agent.close()));
      await stores.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await beat(world);
  return world;
}

const SETTINGS: Settings = { ...TEST_SETTINGS, imageDirectory: '', heartbeatSeconds: HEARTBEAT_MS / 1000 };

async function addFlavor(
  p: Platform,
  id: string,
  vcpus: number,
  memoryMb: number,
  rootGb: number,
  metal: string | null,
) {
  accepted(
    await createFlavor(p, {
      ...{ flavorId: id, name: id, vcpus, memoryMb, rootGb, ephemeralGb: 0, swapMb: 0, rxtxFactor: 1 },
      ...{ isPublic: true, description: null },
      extraSpecs: metal === null ? {} : { 'aggregate_instance_extra_specs:metal': metal },
    }),
  );
}

async function addImage(p: Platform): Promise<string> {
  const id = newId();
  const bytes = Buffer.from('an image');
  await writeFile(join(p.settings.imageDirectory, id), bytes);
  await p.stores.global
    .insertInto('images')
    .values({
      ...{ id, name: 'image', status: 'active', visibility: 'public', owner: 'project-0' },
      ...{ disk_format: 'raw', container_format: 'bare', size_bytes: bytes.length, virtual_bytes: 2 ** 20 },
      ...{ md5: null, sha256: 'ab'.repeat(32), sha512: null, min_disk_gb: 0, min_ram_mb: 0, protected: 0, hidden: 0 },
      ...{ properties_json: '{}', tags_json: '[]', created_at: p.clock.now(), updated_at: p.clock.now() },
    })
    .execute();
  return id;
}

function accepted<T extends { readonly kind: string }>(result: T): Exclude<T, { readonly kind: 'refused' }> {
  assert(result.kind !== 'refused', JSON.stringify(result));
  return result as Exclude<T, { readonly kind: 'refused' }>;
}

/** One round of the monitor: heartbeats, debts, requested deletes, overdue confirmations. */
export const beat = (world: World, round = 1): Promise<void> => world.clock.drive(monitorOnce(world.p, round));

/** A conductor's process may end at any instruction: this is how a test says so. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

/** One conductor, stepped by hand: it does in turn what the real driver's lanes do. */
export class Worker {
  readonly owner: string;
  readonly #world: World;
  readonly #effects: Effects;
  #generator = conductor(findDefinition);
  #answer: unknown;
  static #count = 0;

  constructor(world: World, effects: Effects = moveEffects(world.p)) {
    Worker.#count += 1;
    this.owner = `worker-${Worker.#count}`;
    this.#world = world;
    this.#effects = effects;
  }

  /** Carries out one operation and says which. @throws Crash when a fault says so: then this worker is dead */
  async step(): Promise<Op['op']> {
    const { value: op } = this.#generator.next(this.#answer);
    try {
      this.#answer = await this.#world.clock.drive(this.#carryOut(op));
    } catch (error) {
      if (error instanceof Crash) throw error;
      // As in the real driver: this saga is dropped, its lease runs out.
      this.#effects.unexpected(null, this.owner, error);
      this.#generator = conductor(findDefinition);
      this.#answer = undefined;
    }
    return op.op;
  }

  #carryOut(op: Op): Promise<unknown> {
    const { p, clock } = this.#world;
    const store = sqlSagaStore(p.stores.global, clock);
    switch (op.op) {
      case 'claim':
        return store.claim(this.owner, LEASE_MS);
      case 'raise':
        return this.#effects.raise(op.row);
      case 'effect':
        return this.#effects.run(op.row, op.step, op.direction);
      case 'commit':
        return store.commit(op.row, op.patch, op.release ? 0 : LEASE_MS);
      case 'ended':
        return this.#effects.ended(op.row);
      case 'now':
        return Promise.resolve(clock.now());
      case 'sleep':
        return clock.sleep(op.ms);
      case 'idle':
        return Promise.resolve();
    }
  }
}

/** Sagas that somebody has to go on with. */
export const activeSagas = async (world: World): Promise<Row[]> =>
  (await world.p.stores.global.selectFrom('sagas').selectAll().where('status', '=', 'active').execute()).map(sagaOf);

/**
 * Conductors work, and the monitor looks after things, until no saga is active and no delete is wanted any more.
 * @param effects those of the first conductor; when it dies, its successors have `later`
 */
export async function settle(world: World, effects?: Effects, later?: Effects): Promise<void> {
  if (await work(world, PATIENCE_MS, effects, later)) return;
  const left = (await activeSagas(world)).map((saga) => ({ ...saga, journal: saga.journal.slice(-3) }));
  assert.fail(`no end: ${JSON.stringify(left, null, 1)}`);
}

/** The same, for at most this much virtual time. Returns whether everything has come to rest. */
export async function work(world: World, ms: number, effects?: Effects, later?: Effects): Promise<boolean> {
  const { clock } = world;
  const until = clock.now() + ms;
  let worker = new Worker(world, effects);
  for (;;) {
    let op: Op['op'];
    try {
      op = await worker.step();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      worker = new Worker(world, later);
      continue;
    }
    if (op === 'idle') {
      if (await isQuiet(world)) return true;
      await clock.pass(HEARTBEAT_MS);
      await beat(world);
    }
    if (clock.now() > until) return false;
  }
}

async function isQuiet(world: World): Promise<boolean> {
  if ((await activeSagas(world)).length > 0) return false;
  const wanted = await world.p.stores.global
    .selectFrom('server_mappings')
    .select('server_id')
    .where('delete_requested_at', 'is not', null)
    .where('deleted_at', 'is', null)
    .execute();
  return wanted.length === 0;
}

/** A new server of the user's, which is ACTIVE. */
export async function newServer(world: World, flavorId: string = FLAVORS.small, name = 'one'): Promise<string> {
  const serverId = await requestServer(world, flavorId, name);
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  return serverId;
}

export async function requestServer(world: World, flavorId: string, name = 'one'): Promise<string> {
  const created = await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name, imageId: world.imageId, flavorId, zone: null, networkIds: [world.networkId], keyName: null },
      ...{ metadata: { colour: 'blue' }, tags: ['t'], description: 'a server', diskConfig: 'AUTO' },
    }),
  );
  assert(created.kind === 'created', JSON.stringify(created));
  return created.serverId;
}

/** The server as its home records it. */
export async function serverOf(world: World, serverId: string): Promise<Server> {
  const found = await findServer(world.p, serverId);
  assert(found.kind === 'found', `server ${serverId} is ${found.kind}`);
  return found.server;
}

/** Runs a use case; fails when it is refused. */
export async function accept(world: World, request: Promise<Refusal | null>): Promise<void> {
  assert.equal(await world.clock.drive(request), null);
}

/** Runs a use case that must be refused; gives the refusal. */
export async function refuse(world: World, request: Promise<Refusal | null>): Promise<Refusal> {
  const refusal = await world.clock.drive(request);
  assert(refusal !== null, 'it was accepted');
  return refusal;
}

export const hostOf = (world: World, name: string | null): SimHost => {
  const host = world.hosts.get(name ?? '');
  assert(host, `no host ${name}`);
  return host;
};

/** Names of the hosts on which the server's guest runs. */
export const runningOn = (world: World, serverId: string): string[] =>
  [...world.hosts.values()].filter((host) => host.hypervisor.running(serverId)).map((host) => host.name);

/** Where a server lives, by the cell's name. */
export async function homeOf(world: World, serverId: string): Promise<string> {
  const row = await world.p.stores.global
    .selectFrom('server_mappings')
    .innerJoin('cells', 'cells.id', 'server_mappings.cell_id')
    .select('cells.name')
    .where('server_id', '=', serverId)
    .executeTakeFirstOrThrow();
  return row.name;
}

/** The auditor's report. */
export const auditWorld = (world: World): Promise<AuditReport> => world.clock.drive(audit(world.p));

/** Fails unless every invariant holds. To be called at rest: no server may be busy, for less is asked of those. */
export async function assertSound(world: World): Promise<void> {
  // What has ended in this very millisecond would count as busy.
  await world.clock.pass(1000);
  const report = await auditWorld(world);
  assert.equal(report.counts.busy, 0);
  const wrong = report.invariants.filter((each) => !each.held);
  assert.deepEqual(
    wrong.map((each) => [each.name, each.breaches.map((breach) => breach.what), each.unknown]),
    [],
  );
}
