// One agent as a program: its state directory, lock, records, driver and HTTP server.
//
// Theory of operation. Start: take the lock, read the records, find the guests, listen, then write agent.json, which
// tells a supervisor that this agent serves and where. End: stop listening, end jobs and exports, give the lock back.
// Ending, in whatever way, never stops a guest; `stopAllGuests` does that, while no agent runs.
//   <state dir>/agent.json    {pid, startTime, url, name} of the agent that serves this directory, mode 0600
//   <state dir>/records/      one JSON file per server ever seen here (records.ts)
//   <state dir>/guests/ images/ logs/   the driver's (qemu/layout.ts)
import { chmod, mkdir, realpath } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { systemClock } from '../lib/clock.ts';
import { Agent, type HostResources } from './agent.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Lock, lockDirectory } from './lock.ts';
import { QemuHypervisor } from './qemu/driver.ts';
import { DurableRecords } from './records.ts';
import { type RunningAgent, serveAgent } from './serve-agent.ts';
import { createHostServer } from './server.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';

export interface AgentConfig {
  readonly name: string;
  /** Made when missing (mode 0711: the guests' user has to pass it). */
  readonly stateDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** The fleet secret: what callers must show, and what the agent shows when it fetches images. */
  readonly secret: string;
  readonly hypervisor?: 'qemu' | 'simulated';
  /** With `simulated`: what the hosts of one simulation share, so that they can copy from each other. */
  readonly fabric?: SimulatedFabric;
  /** Address under which other hosts read exports; the listen address when absent. */
  readonly dataAddress?: string;
  /** Absent values are the machine's own. */
  readonly resources?: { readonly vcpus?: number; readonly memoryMb?: number; readonly diskGb?: number };
  readonly qemuBinary?: string;
  readonly qemuImgBinary?: string;
  readonly qemuNbdBinary?: string;
  readonly accelerator?: 'auto' | 'kvm' | 'tcg';
  /** User for QEMU's programs when the agent is root; null: the agent's own. Default `nobody`. */
  readonly runAs?: string | null;
  /** Seconds after which a copy or download without progress fails. Default 60. */
  readonly stallSeconds?: number;
  /** Limit of each incoming copy in bytes per second. Default: none. */
  readonly copyBytesPerSecond?: number | null;
  /** Base images that no guest uses are kept up to this many bytes. Default 10 GiB. */
  readonly unusedImageBytes?: number;
  /** Where shares with volumes are mounted on this host, by name such as 10.0.0.5:/volumes. Default: there are none. */
  readonly shares?: Readonly<Record<string, string>>;
  readonly log: Logger;
}

const MIB = 1024 * 1024;
const DEFAULT_STALL_SECONDS = 60;
const DEFAULT_UNUSED_IMAGE_BYTES = 10 * 1024 ** 3;
const ANY_ADDRESS = ['0.0.0.0', '::'];

/** Starts an agent and resolves when it serves. Rejects when its state directory is in use or damaged. */
export async function runAgent(config: AgentConfig): Promise<RunningAgent> {
  const { name, secret, listen, log } = config;
  const { agent, stateDir, close: end } = await openAgent(config);
  agent.watch();
  const app = createHostServer({ host: agent, name, secret, log });
  return serveAgent({ app, name, secret, listen, stateDir, log, end });
}

/**
 * Stops all guests of a state directory that no agent serves: asks them, and pulls the plug after `graceSeconds`.
 * Records stay. Returns how many were running.
 */
export async function stopAllGuests(config: AgentConfig, graceSeconds: number): Promise<number> {
  const opened = await openAgent(config);
  try {
    return await opened.agent.stopAll(graceSeconds);
  } finally {
    await opened.close();
  }
}

interface OpenedAgent {
  readonly agent: Agent;
  readonly stateDir: string;
  close(): Promise<void>;
}

async function openAgent(config: AgentConfig): Promise<OpenedAgent> {
  await mkdir(config.stateDir, { recursive: true, mode: 0o711 });
  const stateDir = await realpath(config.stateDir);
  const lock = await lockDirectory(stateDir);
  if (lock === null) throw new Error(`another agent serves ${stateDir}`);
  try {
    return await openLocked(config, stateDir, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openLocked(config: AgentConfig, stateDir: string, lock: Lock): Promise<OpenedAgent> {
  const records = new DurableRecords(join(stateDir, 'records'));
  await mkdir(join(stateDir, 'records'), { recursive: true, mode: 0o700 });
  await chmod(join(stateDir, 'records'), 0o700);
  const hypervisor = await openHypervisor(config, stateDir);
  const { name, log } = config;
  const resources = resourcesOf(config);
  const agent = await Agent.open({ name, clock: systemClock, hypervisor, records, resources, log });
  return {
    agent,
    stateDir,
    close: async () => {
      await agent.close();
      await lock.release();
    },
  };
}

async function openHypervisor(config: AgentConfig, stateDir: string): Promise<Hypervisor> {
  const clock = systemClock;
  if (config.hypervisor === 'simulated')
    return new SimulatedHypervisor({
      ...{ clock, fabric: config.fabric ?? new SimulatedFabric(), host: config.name, secret: config.secret },
    });
  const dataAddress = config.dataAddress ?? config.listen.host;
  if (ANY_ADDRESS.includes(dataAddress)) throw new Error('dataAddress must be one address that other hosts can reach');
  return QemuHypervisor.open({
    stateDir,
    qemuBinary: config.qemuBinary ?? 'qemu-system-x86_64',
    qemuImgBinary: config.qemuImgBinary ?? 'qemu-img',
    qemuNbdBinary: config.qemuNbdBinary ?? 'qemu-nbd',
    accelerator: config.accelerator ?? 'auto',
    runAs: config.runAs === undefined ? 'nobody' : config.runAs,
    dataAddress,
    secret: config.secret,
    stallMs: (config.stallSeconds ?? DEFAULT_STALL_SECONDS) * 1000,
    copyBytesPerSecond: config.copyBytesPerSecond ?? null,
    unusedImageBytes: config.unusedImageBytes ?? DEFAULT_UNUSED_IMAGE_BYTES,
    shares: new Map(Object.entries(config.shares ?? {})),
    clock,
    log: config.log,
  });
}

function resourcesOf({ resources }: AgentConfig): HostResources {
  return {
    vcpus: resources?.vcpus ?? cpus().length,
    memoryMb: resources?.memoryMb ?? Math.floor(totalmem() / MIB),
    diskGb: resources?.diskGb ?? null,
  };
}
