// The simulated world (src/simulation/world.ts), worked by hand: two cells with two hosts each; `silver` flavors run in
// cell1 only, `gold` ones in cell2 only.
//
// Nothing here runs by itself: conductors are stepped, the monitor is called, time passes when told. So a test says
// exactly what happens when, and a failure repeats. Faults come in at two seams: effects of sagas (see faults.ts) and
// calls to hosts (`SimHost.trouble`).
import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { pino } from 'pino';
import { type AuditReport, audit } from '../../src/audit/audit.ts';
import type { Settings } from '../../src/control/platform.ts';
import { findServer } from '../../src/control/servers.ts';
import { VirtualClock } from '../../src/lib/virtual-clock.ts';
import type { Refusal, Server } from '../../src/model/types.ts';
import { moveEffects } from '../../src/moves/conductor.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { monitorOnce } from '../../src/moves/monitor.ts';
import { REGISTRY, type Registry } from '../../src/moves/registry.ts';
import { type Conductor, conductor, type Op } from '../../src/saga/conductor.ts';
import type { Effects } from '../../src/saga/driver.ts';
import type { Row } from '../../src/saga/types.ts';
import type { SimHost } from '../../src/simulation/hosts.ts';
import { SimImages } from '../../src/simulation/images.ts';
import { FLAVORS, furnish, inhabit, LEASE_MS, SETTINGS, SMALL, type World } from '../../src/simulation/world.ts';
import { sagaOf, sqlSagaStore } from '../../src/store/sagas.ts';
import { openMemory } from './memory-databases.ts';

export { FLAVORS, LEASE_MS, type World };

const HEARTBEAT_MS = SETTINGS.heartbeatSeconds * 1000;
/** Virtual time within which everything that was begun must have come to an end. */
const PATIENCE_MS = 3_600_000;

const silent = pino({ level: process.env['WORLD_LOG'] ?? 'silent' });

/** Empty databases for the next world, and what they are being asked; test/postgres has others than in memory. */
export const worldDatabases = {
  open: openMemory,
  underWay: (): Promise<void> | null => null,
};

export async function openWorld(settings: Partial<Settings> = {}): Promise<World> {
  const parts = {
    stores: await worldDatabases.open(),
    clock: new VirtualClock(undefined, worldDatabases.underWay),
    log: silent,
    settings: { ...SETTINGS, ...settings },
    shape: SMALL,
    images: new SimImages(),
  };
  const world = await inhabit(parts, await furnish(parts));
  await beat(world);
  return world;
}

/** Has a world for as long as the use of it lasts. */
export async function withWorld(use: (world: World) => Promise<void>, settings: Partial<Settings> = {}): Promise<void> {
  const world = await openWorld(settings);
  try {
    await use(world);
  } finally {
    await world.close();
  }
}

/** The same, and at its end every invariant holds. */
export const withSoundWorld = (use: (world: World) => Promise<void>, settings: Partial<Settings> = {}): Promise<void> =>
  withWorld(async (world) => {
    await use(world);
    await assertSound(world);
  }, settings);

/** One round of the monitor: heartbeats, debts, requested deletes, overdue confirmations. */
export const beat = (world: World, round = 1): Promise<void> => world.clock.drive(monitorOnce(world.p, round));

/** One conductor, stepped by hand: it does in turn what the real driver's lanes do. */
export class Worker {
  readonly owner: string;
  readonly #world: World;
  readonly #effects: Effects;
  readonly #registry: Registry;
  #generator: Conductor;
  #answer: unknown;
  static #count = 0;

  constructor(world: World, effects?: Effects, registry: Registry = REGISTRY) {
    Worker.#count += 1;
    this.#registry = registry;
    this.#generator = conductor(registry.findDefinition);
    this.owner = `worker-${Worker.#count}`;
    this.#world = world;
    this.#effects = effects ?? moveEffects(world.p, registry);
  }

  /** Carries out one operation and says which. */
  async step(): Promise<Op['op']> {
    const { value: op } = this.#generator.next(this.#answer);
    try {
      this.#answer = await this.#world.clock.drive(this.#carryOut(op));
    } catch (error) {
      // As in the real driver: this saga is dropped, its lease runs out.
      this.#effects.unexpected(null, this.owner, error);
      this.#generator = conductor(this.#registry.findDefinition);
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
        return this.#effects.raise(op.row).then(() => true);
      case 'effect':
        return this.#effects.run(op.row, op.step, op.direction);
      case 'commit':
        return store.commit(op.row, op.patch, op.release ? 0 : LEASE_MS);
      case 'ended':
        return this.#effects.ended(op.row);
      case 'now':
        return Promise.resolve(clock.now());
      case 'wanted':
        return Promise.resolve(false);
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

/** A conductor works, and the monitor looks after things, until no saga is active and no delete is wanted any more. */
export async function settle(world: World): Promise<void> {
  if (await work(world, PATIENCE_MS)) return;
  const left = (await activeSagas(world)).map((saga) => ({ ...saga, journal: saga.journal.slice(-3) }));
  assert.fail(`no end: ${JSON.stringify(left, null, 1)}`);
}

/**
 * The same, for at most this much virtual time, with a heartbeat every `beatMs` while nothing is due. Returns whether
 * everything has come to rest.
 */
export async function work(world: World, ms: number, beatMs = HEARTBEAT_MS): Promise<boolean> {
  const { clock } = world;
  const until = clock.now() + ms;
  const worker = new Worker(world);
  for (;;) {
    if ((await worker.step()) === 'idle') {
      if (await isQuiet(world)) return true;
      await clock.pass(beatMs);
      await beat(world);
    }
    if (clock.now() > until) return false;
  }
}

async function isQuiet(world: World): Promise<boolean> {
  const { global } = world.p.stores;
  // Asked in every beat, of an index: to read rows, with their journals, takes twenty times as long.
  const sagas = global.selectFrom('sagas').select('id').limit(1);
  const active = await sagas.where('status', '=', sql.lit('active')).execute();
  if (active.length > 0) return false;
  const wanted = await global
    .selectFrom('server_mappings')
    .select('server_id')
    .where((eb) => eb.or([eb('delete_requested_at', 'is not', null), eb('soft_delete_requested_at', 'is not', null)]))
    .where('deleted_at', 'is', null)
    .execute();
  return wanted.length === 0;
}

export const USER_DATA = Buffer.from('#!/bin/sh\n').toString('base64');

/** A new server of the user's, which is ACTIVE. */
export async function newServer(world: World, flavorId: string = FLAVORS.small, name = 'one'): Promise<string> {
  const serverId = await requestServer(world, flavorId, name);
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  return serverId;
}

export async function requestServer(
  world: World,
  flavorId: string,
  name = 'one',
  group: { readonly groupId?: string } = {},
): Promise<string> {
  const created = await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name, imageId: world.imageId, flavorId, zone: null, networkIds: [world.networkId], keyName: null },
      ...{ metadata: { colour: 'blue' }, tags: ['t'], description: 'a server', diskConfig: 'AUTO' },
      ...group,
      ...{ userData: USER_DATA, configDrive: true, networkTags: ['front'] },
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
