// The hosts of a deployment on this machine: one agent process each, or simulated agents inside this process.
//
// Theory of operation. An agent is started detached, so it outlives this process; one that serves its state directory
// already is adopted. A supervisor looks every second whether each agent is still there and starts it again if not.
// Guests belong to no agent's life: only `stop` with guests turns them off. Where an agent listens changes with every
// start; agent.json in its state directory says where.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { Agent } from '../host/agent.ts';
import { connectHost } from '../host/client.ts';
import type { Host } from '../host/contract.ts';
import { type AgentConfig, stopAllGuests } from '../host/main.ts';
import { isAlive } from '../host/qemu/proc.ts';
import { RecordFiles } from '../host/record-files.ts';
import { DurableRecords, MemoryRecords } from '../host/records.ts';
import { findRunningAgent } from '../host/serve-agent.ts';
import { SimulatedFabric, SimulatedHypervisor } from '../host/simulated.ts';
import { systemClock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { StorageAgent } from '../storage/agent.ts';
import type { StorageHost } from '../storage/contract.ts';
import { MemoryStorageRecords, ServerRecord, type StorageRecords, VolumeRecord } from '../storage/records.ts';
import { SimulatedStorage } from '../storage/simulated.ts';
import type { Deployment, HostPlan } from './deployment.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const LOOK_MS = 1000;
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 10_000;

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
  readonly onMoved?: (plan: HostPlan, url: string) => void;
}

export const startFleet = (options: FleetOptions): Promise<Fleet> =>
  options.deployment.hypervisor === 'simulated' && !options.elsewhere ? simulatedFleet(options) : processFleet(options);

export const stateDirectory = (deployment: Pick<Deployment, 'dataDirectory'>, host: string): string =>
  join(deployment.dataDirectory, 'hosts', host);

export const storageDirectory = (deployment: Pick<Deployment, 'dataDirectory'>, name: string): string =>
  join(deployment.dataDirectory, 'storage', name);

async function simulatedFleet({ deployment, log, forgetful }: FleetOptions): Promise<Fleet> {
  const fabric = new SimulatedFabric();
  const agents = new Map<string, Agent>();
  for (const plan of deployment.hosts) {
    const directory = join(stateDirectory(deployment, plan.name), 'records');
    if (!forgetful) mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { copyBytesPerSecond } = deployment;
    const agent = await Agent.open({
      name: plan.name,
      clock: systemClock,
      hypervisor: new SimulatedHypervisor({
        clock: systemClock,
        fabric,
        host: plan.name,
        copyBytesPerSecond,
        startFault: () => missingProgram(plan.qemuBinary),
      }),
      records: forgetful ? new MemoryRecords() : new DurableRecords(directory),
      resources: { vcpus: plan.vcpus, memoryMb: plan.memoryMb, diskGb: plan.diskGb },
      log: log.child({ host: plan.name }),
    });
    agents.set(plan.name, agent);
  }
  const storage = new Map<string, StorageAgent>();
  for (const { name } of deployment.storageHosts) {
    const agent = await StorageAgent.open({
      ...{ name, clock: systemClock, driver: new SimulatedStorage({ fabric, host: name }) },
      records: forgetful ? new MemoryStorageRecords() : storageRecords(storageDirectory(deployment, name)),
      log: log.child({ storageHost: name }),
    });
    storage.set(name, agent);
  }
  return {
    find: (name) => agents.get(name),
    findStorage: (name) => storage.get(name),
    urlOf: (name) => `simulated://${name}`,
    storageUrlOf: (name) => `simulated://${name}`,
    // Simulated guests live in this process: their records say that they run, and they are found so next time.
    stop: async () => {
      await Promise.all([...agents.values(), ...storage.values()].map((agent) => agent.close()));
    },
  };
}

function storageRecords(directory: string): StorageRecords {
  mkdirSync(join(directory, 'records'), { recursive: true, mode: 0o700 });
  return {
    volumes: new RecordFiles(join(directory, 'records', 'volumes'), VolumeRecord, ({ id }) => id),
    servers: new RecordFiles(join(directory, 'records', 'servers'), ServerRecord, ({ id }) => id),
  };
}

/**
 * A simulated host needs its hypervisor too when it is named by its path, so that a host whose hypervisor fails can be
 * simulated by taking the file away. Null: all is well.
 */
function missingProgram(program: string): string | null {
  if (!program.includes('/')) return null;
  try {
    accessSync(program, constants.X_OK);
    return null;
  } catch (error) {
    return `${program} cannot be run: ${messageOf(error)}`;
  }
}

async function processFleet(options: FleetOptions): Promise<Fleet> {
  const { deployment, secret, log } = options;
  const urls = new Map<string, string>();
  const children = new Map<string, ChildProcess>();
  const own = deployment.hosts.filter((plan) => plan.url === null);
  for (const plan of deployment.hosts) if (plan.url !== null) urls.set(plan.name, plan.url);
  await Promise.all(own.map(async (plan) => urls.set(plan.name, await ensureAgent(options, plan, children))));
  const stopping = new AbortController();
  const supervising = supervise();

  async function supervise(): Promise<void> {
    while (!stopping.signal.aborted) {
      await systemClock.sleep(LOOK_MS, stopping.signal);
      for (const plan of own) {
        if (stopping.signal.aborted) return;
        try {
          const url = await ensureAgent(options, plan, children);
          if (url === urls.get(plan.name)) continue;
          log.warn({ host: plan.name, url }, 'agent started again');
          urls.set(plan.name, url);
          options.onMoved?.(plan, url);
        } catch (error) {
          log.error({ err: error, host: plan.name }, 'agent is not running and could not be started; trying again');
        }
      }
    }
  }

  return {
    find(name, trace) {
      const url = urls.get(name);
      if (url === undefined) return undefined;
      return connectHost({ url, secret, name, ...(trace ? { context: () => trace } : {}) });
    },
    findStorage: () => undefined,
    urlOf: (name) => urls.get(name) ?? '',
    storageUrlOf: () => '',
    async stop({ guestsWithinSeconds }) {
      stopping.abort();
      await supervising;
      if (guestsWithinSeconds === null) return;
      await Promise.all(own.map((plan) => stopHost(options, plan, children.get(plan.name), guestsWithinSeconds)));
    },
  };
}

/** The address of the host's agent, started if it does not run. */
async function ensureAgent(
  options: FleetOptions,
  plan: HostPlan,
  children: Map<string, ChildProcess>,
): Promise<string> {
  const directory = stateDirectory(options.deployment, plan.name);
  const running = await findRunningAgent(directory);
  if (running) return running.url;
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const child = spawnAgent(options, plan, directory);
  children.set(plan.name, child);
  const giveUp = systemClock.now() + START_LIMIT_MS;
  for (;;) {
    const started = await findRunningAgent(directory);
    if (started) return started.url;
    const dead = child.exitCode !== null || child.signalCode !== null;
    if (dead || systemClock.now() > giveUp) {
      throw new Error(
        `the agent of ${plan.name} ${dead ? 'ended at its start' : 'does not answer'}: see ${logFile(options, plan)}`,
      );
    }
    await systemClock.sleep(50);
  }
}

const logFile = ({ deployment }: FleetOptions, plan: HostPlan): string =>
  join(deployment.dataDirectory, 'logs', `${plan.name}.log`);

function spawnAgent(options: FleetOptions, plan: HostPlan, directory: string): ChildProcess {
  const { deployment, secretFile } = options;
  const log = openSync(logFile(options, plan), 'a', 0o600);
  const limit = deployment.copyBytesPerSecond;
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      MAIN,
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
    ],
    { detached: true, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  child.unref();
  return child;
}

async function stopHost(
  options: FleetOptions,
  plan: HostPlan,
  child: ChildProcess | undefined,
  guestsWithinSeconds: number,
): Promise<void> {
  const directory = stateDirectory(options.deployment, plan.name);
  const running = await findRunningAgent(directory);
  if (running) {
    process.kill(running.pid, 'SIGTERM');
    const giveUp = systemClock.now() + STOP_LIMIT_MS;
    while (isAlive(running)) {
      if (systemClock.now() > giveUp) {
        process.kill(running.pid, 'SIGKILL');
        break;
      }
      await systemClock.sleep(20);
    }
  }
  if (child && child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => {
      child.once('exit', resolve);
      child.ref();
    });
  }
  const stopped = await stopAllGuests(agentConfig(options, plan, directory), guestsWithinSeconds);
  options.log.info({ host: plan.name, guests: stopped }, 'host stopped');
}

const agentConfig = (options: FleetOptions, plan: HostPlan, directory: string): AgentConfig => ({
  name: plan.name,
  stateDir: directory,
  listen: { host: '127.0.0.1', port: 0 },
  secret: options.secret,
  resources: { vcpus: plan.vcpus, memoryMb: plan.memoryMb, diskGb: plan.diskGb },
  qemuBinary: plan.qemuBinary,
  log: options.log.child({ host: plan.name }),
});
