// The storage contract, held by the agent in the same process and behind HTTP, over the simulated driver; test/qemu runs
// the same suite over qemu-storage-daemon.
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import { silent } from '../host/test-support.ts';
import { systemClock } from '../lib/clock.ts';
import { StorageAgent } from './agent.ts';
import { connectStorage } from './client.ts';
import { storageContract } from './contract-suite.ts';
import { MemoryStorageRecords } from './records.ts';
import { createStorageServer } from './server.ts';
import { SimulatedStorage } from './simulated.ts';

const SECRET = 'a-secret-of-the-fleet';

async function openAgent(name: string) {
  const fabric = new SimulatedFabric();
  const driver = new SimulatedStorage({ fabric, host: name });
  const records = new MemoryStorageRecords();
  const open = () => StorageAgent.open({ name, clock: systemClock, driver, records, log: silent });
  const reach = async (connection: Parameters<typeof fabric.volumes.reach>[0]) =>
    fabric.volumes.reach(connection) !== null;
  return { open, reach };
}

storageContract('in process', async () => {
  const { open, reach } = await openAgent('direct');
  let agent = await open();
  return {
    host: () => agent,
    reach,
    restart: async () => {
      await agent.close();
      agent = await open();
    },
    close: () => agent.close(),
  };
});

storageContract('over HTTP', async () => {
  const { open, reach } = await openAgent('remote');
  let agent = await open();
  const serve = () => createStorageServer({ storage: agent, name: 'remote', secret: SECRET, log: silent });
  let app = serve();
  let url = await app.listen({ host: '127.0.0.1', port: 0 });
  const close = async () => {
    await app.close();
    await agent.close();
  };
  return {
    host: () => connectStorage({ url, secret: SECRET, name: 'remote' }),
    reach,
    restart: async () => {
      await close();
      agent = await open();
      app = serve();
      url = await app.listen({ host: '127.0.0.1', port: 0 });
    },
    close,
  };
});
