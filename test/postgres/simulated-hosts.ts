// A process of simulated hosts for processes.ts: one agent each, served over HTTP like any other; guests and disks are in
// this process, so that they can be copied between them. Any message is answered with what they have seen (Seen).
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { runAgent } from '../../src/host/main.ts';
import { SimulatedFabric } from '../../src/host/simulated-fabric.ts';

/** What the hosts have seen of their guests, whatever the control plane believes. */
export interface Seen {
  /** How often a guest of each server has been started. */
  readonly starts: Readonly<Record<string, number>>;
  /** Each time that two guests of a server ran at once. */
  readonly ranTwice: readonly string[];
  /** Disks that do not have what was written to them. */
  readonly broken: readonly string[];
}

const { directory, names, secret } = JSON.parse(process.argv[2] ?? '{}') as {
  directory: string;
  names: readonly string[];
  secret: string;
};
const fabric = new SimulatedFabric();
const starts: Record<string, number> = {};
fabric.runs.watch((serverId) => {
  starts[serverId] = (starts[serverId] ?? 0) + 1;
});
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
process.on('message', () =>
  process.send?.({ starts, ranTwice: fabric.ranTwice, broken: fabric.runs.broken } satisfies Seen),
);
process.on('disconnect', () => process.exit());
