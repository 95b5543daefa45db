// The composition root: a deployment's parts, made and joined. Nothing else knows all of them.
//
// Order of a start: databases, secrets, hosts, the API's socket, registration and first-time data, and only then the
// conductors and the monitor, so that nothing is driven before everything is there. A stop goes the other way.
//
// On PostgreSQL several processes may share a deployment. Then nobody can say that leases or uploads of others are dead:
// they run out. The time is the database's.

import { chmodSync, mkdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import pino, { type Logger } from 'pino';
import { startGateway } from '../api/gateway/gateway.ts';
import { buildApp, type SeenAnswer } from '../api/http/app.ts';
import type { TokenChecker } from '../api/http/auth.ts';
import { allRoutes } from '../api/routes.ts';
import { askCell } from '../control/ask-cell.ts';
import { ensureCell } from '../control/cells.ts';
import { registerHost } from '../control/host-registration.ts';
import { derivedId, type IdentityConfig, seedIdentity } from '../control/identity/seeds.ts';
import { createIdentity, type Identity } from '../control/identity.ts';
import { forgetUploads } from '../control/images/collect.ts';
import { seedNetworks } from '../control/network/seed.ts';
import type { Platform } from '../control/platform.ts';
import { openPolicies } from '../control/policies.ts';
import { CINDER } from '../control/volumes/service.ts';
import { registerStorageHost } from '../control/volumes/storage-hosts.ts';
import type { Host } from '../host/contract.ts';
import { nobody } from '../host/nobody.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { urlHost } from '../lib/networks.ts';
import { type ConductorOptions, startConductor } from '../moves/conductor.ts';
import { createFaults } from '../moves/faults.ts';
import { monitorOnce, startMonitor } from '../moves/monitor.ts';
import type { RunningDriver } from '../saga/driver.ts';
import type { StorageHost } from '../storage/contract.ts';
import { DatabaseClock } from '../store/database-clock.ts';
import { voidLeases } from '../store/sagas.ts';
import { CellDown, openStores, type Stores } from '../store/stores.ts';
import { ConfigError } from './config.ts';
import type { Deployment, HostPlan, StoragePlan } from './deployment.ts';
import { type Fleet, startFleet } from './fleet.ts';
import { type SystemMetrics, systemMetrics } from './metrics.ts';
import { type Openstack, openOpenstack } from './openstack.ts';
import { openSecrets, type Secrets } from './secrets.ts';
import { seedFlavors } from './seed.ts';

export interface System {
  readonly platform: Platform;
  /** Null: Keystone does it, elsewhere. */
  readonly identity: Identity | null;
  readonly secrets: Secrets;
  /** The first user that is an administrator somewhere; null: there is none. */
  readonly administrator: Administrator | null;
  readonly fleet: Fleet;
  readonly metrics: SystemMetrics;
  /** Where the API is reached, without a trailing slash. */
  readonly url: string;
  readonly stores: Stores;
  /** `guestsWithinSeconds`: turn the guests off too; null: leave agents and guests running. */
  stop(options: { readonly guestsWithinSeconds: number | null }): Promise<void>;
}

export interface Administrator {
  readonly user: string;
  readonly userId: string;
  readonly project: string;
  readonly projectId: string;
  /** Null: only its hash is known. */
  readonly password: string | null;
}

export interface ComposeOptions {
  readonly log: Logger;
  readonly clock?: Clock;
  /** Keep the databases in memory alone. */
  readonly memoryDatabases?: boolean;
  /** Keep simulated hosts in memory alone. */
  readonly memoryHosts?: boolean;
  readonly checkAnswers?: boolean;
  readonly onAnswer?: (seen: SeenAnswer) => void;
  readonly conductor?: Partial<ConductorOptions>;
  /** Let administrators inject faults. */
  readonly allowFaults?: boolean;
  /** What this process does; everything unless said otherwise. */
  readonly role?: Role;
}

/** `api`: serves the API and drives nothing. `conductor`: drives sagas, runs the monitor, serves nobody. */
export type Role = 'all' | 'api' | 'conductor';

const IDLE_MS = 500;
const MEASURE_CLOCK_MS = 10_000;
const REGISTER_AGAIN_MS = 5_000;

export async function composeSystem(deployment: Deployment, options: ComposeOptions): Promise<System> {
  const { log, role = 'all' } = options;
  prepareDirectories(deployment);
  const secrets = await openSecrets(deployment.dataDirectory, deployment.adminPassword);
  const stores = await openStores(options.memoryDatabases ? ':memory:' : deployment.databases);
  const alone = options.memoryDatabases === true || deployment.databases.kind === 'sqlite';
  const own = options.clock ?? systemClock;
  const shared = alone ? null : await DatabaseClock.of(stores.global, own);
  const clock = shared ?? own;
  const stopping = new AbortController();
  if (shared) void keepMeasuring(shared, log, stopping.signal);
  const configured = withAdminPassword(deployment, secrets.adminPassword);
  const openstack = await openOpenstack(deployment.openstack, clock, log);
  const identity = openstack?.tokens
    ? null
    : createIdentity({
        ...{ db: stores.global, key: secrets.tokenKey, clock },
        tokenLifetimeSeconds: configured.tokenLifetimeSeconds,
      });
  if (identity && role !== 'conductor') await seedIdentity(identity.directory, configured);
  const moved: Moved = { hosts: new Set(), storageHosts: new Set() };
  const fleet = await startFleet({
    deployment,
    secret: secrets.fleet,
    secretFile: secrets.fleetFile,
    log,
    ...(options.memoryHosts ? { forgetful: true } : {}),
    elsewhere: role !== 'all',
    onMoved: (kind, name) => (kind === 'host' ? moved.hosts : moved.storageHosts).add(name),
  });

  const metrics = systemMetrics(stores);
  let conductor: RunningDriver | null = null;
  const settings = { ...deployment.settings, publicUrl: '', hostFacingUrl: '' };
  const faults = options.allowFaults ? createFaults({ stores, clock, log, die: killMyself }) : null;
  const hostOf = (name: string, host: Host): Host => metrics.counted(faults ? faults.host(name, host) : host);
  const storageOf = (name: string, host: StorageHost): StorageHost =>
    metrics.counted(faults ? faults.storage(name, host) : host);
  const cinder = (name: string): StorageHost | undefined =>
    name === CINDER ? openstack?.volumes?.storage(platform) : undefined;
  const platform: Platform = {
    clock,
    log,
    stores: faults ? faults.stores(stores) : stores,
    settings,
    policies: openPolicies(deployment.policyFile, log, clock),
    host: async (name, trace) => hostOf(name, fleet.find(name, trace) ?? NO_SUCH_HOST),
    storage: async (name, trace) => storageOf(name, cinder(name) ?? fleet.findStorage(name, trace) ?? NO_SUCH_STORAGE),
    nudge: () => conductor?.nudge(),
    ...(faults ? { around: faults.around } : {}),
    ...(openstack?.imageMirror ? { imageMirror: openstack.imageMirror } : {}),
    ...(openstack?.projects ? { projects: openstack.projects } : {}),
    ...(openstack?.network ? { network: openstack.network } : {}),
    ...(openstack?.volumes ? { volumes: openstack.volumes } : {}),
    ...(openstack?.placement ? { placement: openstack.placement } : {}),
  };
  if (faults) log.warn('faults can be injected: this control plane can be made to fail and to kill itself');

  const elsewhere = deployment.openstack?.services ?? [];
  const app =
    role === 'conductor'
      ? null
      : await buildApp({
          platform,
          tokens: tokensOf(identity, openstack),
          registry: metrics.registry,
          openConsole: fleet.openConsole,
          routes: allRoutes({ identity, fleetSecret: secrets.fleet, faults, elsewhere }),
          ...(options.checkAnswers ? { checkAnswers: true } : {}),
          ...(options.onAnswer ? { onAnswer: options.onAnswer } : {}),
        });
  // This process alone holds the data directory: uploads that a former one had under way are dead.
  if (alone) await forgetUploads(platform);
  await app?.listen({ host: deployment.listen.host, port: deployment.listen.port });
  const port = (app?.server.address() as AddressInfo | undefined)?.port ?? deployment.listen.port;
  const url = `http://${urlHost(deployment.listen.host)}:${port}`;
  settings.publicUrl = deployment.publicUrl ?? url;
  settings.hostFacingUrl = deployment.hostFacingUrl ?? url;

  const silent = await registerAll(platform, deployment.cells, deployment, fleet);
  void registerLater(platform, deployment.cells, silent, fleet, stopping.signal);
  if (platform.volumes) await registerStorageHosts(platform, [{ name: CINDER, url: '' }], fleet);
  if (!platform.network) await seedNetworks(stores.global, deployment, clock.now());
  await seedFlavors(platform, deployment.flavors);
  if (role !== 'api') await monitorOnce(platform, 1);
  // This process alone holds the data directory: whoever held leases before is dead.
  if (alone) await voidLeases(stores.global);
  if (role !== 'api') {
    conductor = startConductor(platform, {
      owner: `${hostname()}/${process.pid}@${clock.now()}`,
      lanes: deployment.conductor.lanes,
      leaseMs: deployment.conductor.leaseMs,
      idleMs: IDLE_MS,
      ...options.conductor,
    });
  }
  const monitor = role === 'api' ? null : startMonitor(platform);
  const gateway = role !== 'conductor' && deployment.gateway ? startGateway(platform, fleet.openTcp) : null;
  void registerMoved(platform, moved, fleet, stopping.signal);
  if (role === 'conductor') log.info({ role }, 'conductor works');
  else log.info({ url: settings.publicUrl, role }, 'control plane serves');

  return {
    platform,
    identity,
    secrets,
    administrator: identity === null ? null : administratorOf(configured),
    fleet,
    metrics,
    url: settings.publicUrl,
    stores,
    async stop({ guestsWithinSeconds }) {
      await gateway?.stop();
      await app?.close();
      stopping.abort();
      faults?.close();
      await monitor?.stop();
      await conductor?.stop();
      await openstack?.imageMirror?.close();
      await fleet.stop({ guestsWithinSeconds });
      await stores.close();
    },
  };
}

function tokensOf(identity: Identity | null, openstack: Openstack | null): TokenChecker {
  const tokens = identity ?? openstack?.tokens;
  invariant(tokens, 'tokens are judged here or by Keystone');
  return tokens;
}

/** As a crash would end it: nothing is flushed, closed or said. */
const killMyself = (): void => void process.kill(process.pid, 'SIGKILL');

/** Guests' users must be able to pass the data directory; everything private in it has its own mode. */
function prepareDirectories({ dataDirectory }: Deployment): void {
  mkdirSync(dataDirectory, { recursive: true });
  chmodSync(dataDirectory, 0o711);
  for (const private_ of ['images', 'logs', 'secrets']) {
    mkdirSync(join(dataDirectory, private_), { recursive: true, mode: 0o700 });
  }
  for (const passable of ['hosts', 'storage']) {
    mkdirSync(join(dataDirectory, passable), { recursive: true, mode: 0o711 });
  }
}

export const fileLogger = (deployment: Deployment): Logger => {
  prepareDirectories(deployment);
  const file = join(deployment.dataDirectory, 'logs', 'crosscell.log');
  return pino({ level: deployment.logLevel }, pino.destination({ dest: file, sync: true, mode: 0o600 }));
};

const withAdminPassword = ({ identity }: Deployment, password: string): IdentityConfig => ({
  ...identity,
  users: identity.users.map((user) =>
    user.name === 'admin' && user.password === undefined && user.passwordHash === undefined
      ? { ...user, password }
      : user,
  ),
});

function administratorOf(config: IdentityConfig): Administrator | null {
  for (const { id, name, password, roles } of config.users) {
    const project = config.projects.find((each) => roles[each.name]?.includes('admin'));
    if (project === undefined) continue;
    return {
      ...{ user: name, userId: id ?? derivedId('user', name), password: password ?? null },
      ...{ project: project.name, projectId: project.id ?? derivedId('project', project.name) },
    };
  }
  return null;
}

/** A host stays in its cell: its servers' records are there. @throws ConfigError */
async function refuseOtherCells(p: Platform, hosts: readonly HostPlan[]): Promise<void> {
  const known = await p.stores.global
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .select(['hosts.name', 'cells.name as cell'])
    .execute();
  const cellOf = new Map(known.map(({ name, cell }) => [name, cell]));
  for (const { name, cell } of hosts) {
    const its = cellOf.get(name) ?? cell;
    if (its === cell) continue;
    throw new ConfigError(
      `host ${name} is configured in cell ${cell}, and belongs to cell ${its}, where the records of its servers are: empty it and have it forgotten (crosscell hosts forget ${name}) before it joins another`,
    );
  }
}

/** Returns the hosts that did not say what they are, and so are not registered now. */
async function registerHosts(
  p: Platform,
  cells: readonly string[],
  hosts: readonly HostPlan[],
  fleet: Fleet,
): Promise<HostPlan[]> {
  const silent: HostPlan[] = [];
  const ids = new Map<string, string>();
  for (const cell of cells) {
    const id = await ensureCell(p, cell);
    // Its tables are made now. One that is down keeps nobody from starting, nor its hosts from being known.
    const opened = await askCell(p, id, async () => null);
    if (opened instanceof CellDown) p.log.error({ cell }, opened.message);
    ids.set(cell, id);
  }
  await refuseOtherCells(p, hosts);
  for (const plan of hosts) {
    const described = await (await p.host(plan.name)).describe();
    const cellId = ids.get(plan.cell);
    if (described.kind !== 'ok' || cellId === undefined) {
      p.log.error({ host: plan.name, described }, 'a host does not say what it is; it is not registered now');
      silent.push(plan);
      continue;
    }
    await registerHost(p, { name: plan.name, cellId, url: fleet.urlOf(plan.name), description: described.value });
  }
  return silent;
}

/** The same for storage hosts. */
async function registerStorageHosts(
  p: Platform,
  hosts: readonly StoragePlan[],
  fleet: Fleet,
): Promise<readonly StoragePlan[]> {
  const silent: StoragePlan[] = [];
  for (const plan of hosts) {
    const described = await (await p.storage(plan.name)).describe();
    if (described.kind === 'ok') {
      const url = fleet.storageUrlOf(plan.name);
      await registerStorageHost(p, { name: plan.name, url, description: described.value });
      continue;
    }
    p.log.error({ storageHost: plan.name, described }, 'a storage host does not say what it is; not registered now');
    silent.push(plan);
  }
  return silent;
}

interface Plans {
  readonly hosts: readonly HostPlan[];
  readonly storageHosts: readonly StoragePlan[];
}

/** Returns those that did not say what they are. */
const registerAll = async (p: Platform, cells: readonly string[], plans: Plans, fleet: Fleet): Promise<Plans> => ({
  hosts: await registerHosts(p, cells, plans.hosts, fleet),
  storageHosts: await registerStorageHosts(p, plans.storageHosts, fleet),
});

/** Registers hosts that could not be reached at the start, as soon as they can. */
async function registerLater(
  p: Platform,
  cells: readonly string[],
  silent: Plans,
  fleet: Fleet,
  stopping: AbortSignal,
): Promise<void> {
  let left = silent;
  while (left.hosts.length + left.storageHosts.length > 0) {
    await systemClock.sleep(REGISTER_AGAIN_MS, stopping);
    if (stopping.aborted) return;
    try {
      left = await registerAll(p, cells, left, fleet);
    } catch (error) {
      p.log.error({ err: error }, 'hosts could not be registered; trying again');
    }
  }
}

async function keepMeasuring(clock: DatabaseClock, log: Logger, stopping: AbortSignal): Promise<void> {
  for (;;) {
    await systemClock.sleep(MEASURE_CLOCK_MS, stopping);
    if (stopping.aborted) return;
    try {
      await clock.measure();
    } catch (error) {
      log.warn({ err: error }, "the database's time is not known anew; the difference before goes on");
    }
  }
}

interface Moved {
  readonly hosts: Set<string>;
  readonly storageHosts: Set<string>;
}

/** Writes down where agents that were started again listen now: for other processes, such as the auditor. */
async function registerMoved(p: Platform, moved: Moved, fleet: Fleet, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await p.clock.sleep(1000, stopping);
    await writeMoved(p, 'hosts', moved.hosts, (name) => fleet.urlOf(name));
    await writeMoved(p, 'storage_hosts', moved.storageHosts, (name) => fleet.storageUrlOf(name));
  }
}

async function writeMoved(
  p: Platform,
  table: 'hosts' | 'storage_hosts',
  names: Set<string>,
  urlOf: (name: string) => string,
): Promise<void> {
  for (const name of names) {
    names.delete(name);
    try {
      const { global } = p.stores;
      await global
        .updateTable(table)
        .set({ url: urlOf(name) })
        .where('name', '=', name)
        .execute();
    } catch (error) {
      p.log.error({ err: error, host: name }, 'the new address of an agent could not be written; trying again');
      names.add(name);
    }
  }
}

/** Hosts that nobody knows how to reach. */
const NO_SUCH_HOST = nobody<Host>('no agent of this host is known');
const NO_SUCH_STORAGE = nobody<StorageHost>('no agent of this storage host is known');
