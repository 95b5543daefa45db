// The hosts and storage hosts of a deployment on this machine: one agent process each, or simulated ones inside this
// process (simulated-fleet.ts).
//
// Theory of operation. An agent is started detached, so it outlives this process; one that serves its state directory
// already is adopted. Each has a supervisor, which looks every second whether it is still there and starts it again if not;
// one that does not come up (a damaged record, a full disk) keeps neither the others nor this process from starting, unless
// none does.
// Guests and volumes belong to no agent's life: only `stop` with guests turns guests off, and then the daemons of volumes.
// Where an agent listens changes with every start; agent.json in its state directory says where.
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { connectHost } from '../host/client.ts';
import { connectConsole, connectTcp } from '../host/console-client.ts';
import type { ConsoleRequest, TcpRequest } from '../host/consoles.ts';
import type { Host, Reply } from '../host/contract.ts';
import { type AgentConfig, stopAllGuests } from '../host/main.ts';
import { systemClock } from '../lib/clock.ts';
import { connectStorage } from '../storage/client.ts';
import type { StorageHost } from '../storage/contract.ts';
import { stopServing } from '../storage/main.ts';
import { AgentProcess } from './agent-process.ts';
import type { Deployment, HostPlan, StoragePlan } from './deployment.ts';
import { simulatedFleet } from './simulated-fleet.ts';

const LOOK_MS = 1000;

export interface Trace {
  readonly requestId: string;
  readonly sagaId: string;
}

export interface Fleet {
  /** The same as `find`, of storage hosts. */
  findStorage(name: string, trace?: Trace): StorageHost | undefined;
  storageUrlOf(name: string): string;
  /** Undefined for a host that is not of this deployment or has no address yet. */
  find(name: string, trace?: Trace): Host | undefined;
  urlOf(name: string): string;
  /** A console of a guest on that host, as Consoles has it. */
  openConsole(name: string, serverId: string, request: ConsoleRequest): Promise<Reply<Duplex>>;
  /** A connection to a TCP port of such a guest. */
  openTcp(name: string, serverId: string, request: TcpRequest): Promise<Reply<Duplex>>;
  /** `guests`: turn them off too, within this many seconds. */
  stop(options: { readonly guestsWithinSeconds: number | null }): Promise<void>;
}

export interface FleetOptions {
  readonly deployment: Deployment;
  /** Bearer secret between control plane and agents, and the file that agents read it from. */
  readonly secret: string;
  readonly secretFile: string;
  readonly log: Logger;
  /** All hosts run elsewhere, simulated ones too. */
  readonly elsewhere?: boolean;
  /** Keep simulated hosts in memory alone. */
  readonly forgetful?: boolean;
  /** An agent was started anew and has another address. */
  readonly onMoved?: (kind: 'host' | 'storage host', name: string) => void;
}

export const startFleet = (options: FleetOptions): Promise<Fleet> =>
  options.deployment.hypervisor === 'simulated' && !options.elsewhere ? simulatedFleet(options) : processFleet(options);

export const stateDirectory = (deployment: Pick<Deployment, 'dataDirectory'>, host: string): string =>
  join(deployment.dataDirectory, 'hosts', host);

export const storageDirectory = (deployment: Pick<Deployment, 'dataDirectory'>, name: string): string =>
  join(deployment.dataDirectory, 'storage', name);

/** An agent that this process looks after. */
interface Kept {
  readonly kind: 'host' | 'storage host';
  readonly name: string;
  readonly process: AgentProcess;
  readonly urls: Map<string, string>;
}

async function processFleet(options: FleetOptions): Promise<Fleet> {
  const { deployment, secret, log } = options;
  const urls = new Map<string, string>();
  const storageUrls = new Map<string, string>();
  for (const { name, url } of deployment.hosts) if (url !== null) urls.set(name, url);
  for (const { name, url } of deployment.storageHosts) if (url !== null) storageUrls.set(name, url);
  const hosts = deployment.hosts.filter((plan) => plan.url === null);
  const storageHosts = deployment.storageHosts.filter((plan) => plan.url === null);
  const agents = hosts.map(
    (plan): Kept => ({ kind: 'host', name: plan.name, process: hostAgent(options, plan), urls }),
  );
  const storages = storageHosts.map(
    (plan): Kept => ({
      ...{ kind: 'storage host', name: plan.name, process: storageAgent(options, plan), urls: storageUrls },
    }),
  );
  const own = [...agents, ...storages];
  await startEach(own, log);
  const stopping = new AbortController();
  const supervising = Promise.all(own.map(supervise));

  async function supervise(kept: Kept): Promise<void> {
    for (;;) {
      await systemClock.sleep(LOOK_MS, stopping.signal);
      if (stopping.signal.aborted) return;
      await look(kept);
    }
  }

  async function look({ kind, name, process, urls: known }: Kept): Promise<void> {
    try {
      const url = await process.ensure();
      if (url === known.get(name)) return;
      log.warn({ host: name, url }, 'agent started again');
      known.set(name, url);
      options.onMoved?.(kind, name);
    } catch (error) {
      log.error({ err: error, host: name }, NOT_STARTED);
    }
  }

  return {
    find(name, trace) {
      const url = urls.get(name);
      if (url === undefined) return undefined;
      return connectHost({ url, secret, name, ...(trace ? { context: () => trace } : {}) });
    },
    findStorage(name, trace) {
      const url = storageUrls.get(name);
      if (url === undefined) return undefined;
      return connectStorage({ url, secret, name, ...(trace ? { context: () => trace } : {}) });
    },
    urlOf: (name) => urls.get(name) ?? '',
    openConsole: (name, serverId, request) =>
      connectConsole({ url: urls.get(name) ?? '', secret, name }, serverId, request),
    openTcp: (name, serverId, request) => connectTcp({ url: urls.get(name) ?? '', secret, name }, serverId, request),
    storageUrlOf: (name) => storageUrls.get(name) ?? '',
    async stop({ guestsWithinSeconds }) {
      stopping.abort();
      await supervising;
      if (guestsWithinSeconds === null) return;
      await Promise.all(own.map(({ process }) => process.end()));
      await Promise.all(hosts.map((plan) => stopGuests(options, plan, guestsWithinSeconds)));
      // Behind the guests, which write until they are off.
      await Promise.all(storageHosts.map((plan) => stopVolumes(options, plan)));
    },
  };
}

/** Rejects when not one agent starts: then it is the machine, or what was configured. */
async function startEach(own: readonly Kept[], log: Logger): Promise<void> {
  const starts = await Promise.allSettled(own.map(({ process }) => process.ensure()));
  const failed = starts.filter((start) => start.status === 'rejected');
  if (failed.length === own.length) for (const { reason } of failed) throw reason;
  for (const [index, { name, urls }] of own.entries()) {
    const start = starts[index];
    if (start?.status === 'fulfilled') urls.set(name, start.value);
    else log.error({ err: start?.reason, host: name }, NOT_STARTED);
  }
}

const NOT_STARTED = 'agent is not running and could not be started; trying again';

const logFile = ({ deployment }: FleetOptions, name: string): string =>
  join(deployment.dataDirectory, 'logs', `${name}.log`);

function hostAgent(options: FleetOptions, plan: HostPlan): AgentProcess {
  const { deployment, secretFile } = options;
  const directory = stateDirectory(deployment, plan.name);
  const limit = deployment.copyBytesPerSecond;
  return new AgentProcess({
    ...{ title: `the agent of ${plan.name}`, directory, logFile: logFile(options, plan.name) },
    command: [
      'agent',
      ...['--name', plan.name],
      ...['--state-dir', directory],
      ...['--listen', '127.0.0.1:0'],
      ...['--secret-file', secretFile],
      ...['--vcpus', String(plan.vcpus)],
      ...['--memory-mb', String(plan.memoryMb)],
      ...['--disk-gb', String(plan.diskGb)],
      ...['--qemu-binary', plan.qemuBinary],
      ...(limit === null ? [] : ['--copy-bytes-per-second', String(limit)]),
      ...Object.entries(plan.shares).flatMap(([name, path]) => ['--share', `${name}=${path}`]),
    ],
  });
}

function storageAgent(options: FleetOptions, plan: StoragePlan): AgentProcess {
  const directory = storageDirectory(options.deployment, plan.name);
  return new AgentProcess({
    ...{ title: `the storage agent of ${plan.name}`, directory, logFile: logFile(options, `storage-${plan.name}`) },
    command: [
      'storage',
      ...['--name', plan.name],
      ...['--state-dir', directory],
      ...['--listen', '127.0.0.1:0'],
      ...['--secret-file', options.secretFile],
    ],
  });
}

async function stopGuests(options: FleetOptions, plan: HostPlan, withinSeconds: number): Promise<void> {
  const stopped = await stopAllGuests(agentConfig(options, plan), withinSeconds);
  options.log.info({ host: plan.name, guests: stopped }, 'host stopped');
}

async function stopVolumes(options: FleetOptions, plan: StoragePlan): Promise<void> {
  const stopped = await stopServing({
    ...{ name: plan.name, stateDir: storageDirectory(options.deployment, plan.name), secret: options.secret },
    ...{ listen: { host: '127.0.0.1', port: 0 }, log: options.log.child({ storageHost: plan.name }) },
  });
  options.log.info({ storageHost: plan.name, volumes: stopped }, 'storage host stopped');
}

const agentConfig = (options: FleetOptions, plan: HostPlan): AgentConfig => ({
  name: plan.name,
  stateDir: stateDirectory(options.deployment, plan.name),
  listen: { host: '127.0.0.1', port: 0 },
  secret: options.secret,
  resources: { vcpus: plan.vcpus, memoryMb: plan.memoryMb, diskGb: plan.diskGb },
  qemuBinary: plan.qemuBinary,
  shares: plan.shares,
  log: options.log.child({ host: plan.name }),
});
