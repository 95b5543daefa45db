// Simulated hosts and storage hosts: agents inside this process, over one fabric.
import { accessSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from '../host/agent.ts';
import { RecordFiles } from '../host/record-files.ts';
import { DurableRecords, MemoryRecords } from '../host/records.ts';
import { SimulatedHypervisor } from '../host/simulated.ts';
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import { systemClock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { StorageAgent } from '../storage/agent.ts';
import { MemoryStorageRecords, ServerRecord, type StorageRecords, VolumeRecord } from '../storage/records.ts';
import { SimulatedStorage } from '../storage/simulated.ts';
import { type Fleet, type FleetOptions, stateDirectory, storageDirectory } from './fleet.ts';

export async function simulatedFleet({ deployment, log, forgetful, secret }: FleetOptions): Promise<Fleet> {
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
        secret,
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
      ...{ name, clock: systemClock, driver: new SimulatedStorage({ fabric, host: name, secret }) },
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
    openConsole: async (name, serverId, request) =>
      (await agents.get(name)?.openConsole(serverId, request)) ?? { kind: 'unreachable', reason: `no host ${name}` },
    openTcp: async (name, serverId, request) =>
      (await agents.get(name)?.openTcp(serverId, request)) ?? { kind: 'unreachable', reason: `no host ${name}` },
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
