// A process of simulated hosts for processes.ts: one agent each, served over HTTP like any other; guests and disks are in
// this process, so that they can be copied between them.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { runAgent } from '../../src/host/main.ts';
import { SimulatedFabric } from '../../src/host/simulated-fabric.ts';

const { directory, names, secret } = JSON.parse(process.argv[2] ?? '{}') as {
  directory: string;
  names: readonly string[];
  secret: string;
};
const fabric = new SimulatedFabric();
const urls: Record<string, string> = {};
for (const name of names) {
  const stateDir = join(directory, name);
  await mkdir(stateDir, { recursive: true });
  const agent = await runAgent({
    ...{ name, stateDir, secret, fabric, hypervisor: 'simulated', listen: { host: '127.0.0.1', port: 0 } },
    resources: { vcpus: 64, memoryMb: 65_536, diskGb: 500 },
    log: pino({ level: 'silent' }),
  });
  urls[name] = agent.url;
}
process.send?.({ urls });
process.on('disconnect', () => process.exit());
