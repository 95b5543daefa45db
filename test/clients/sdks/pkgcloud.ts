// pkgcloud (npm) as a new user has it: a server and its volume, moved to another flavor and back out of the way.
//
// Takes the cloud from OS_* in the environment, and the library from under PKGCLOUD, a directory. Says each thing that it
// has done; fails loudly. pkgcloud folds statuses into its own words, so OpenStack's are read from `original`.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

interface Thing {
  readonly id: string;
  readonly name: string;
  readonly ram: number;
  readonly status: string;
  readonly original: { readonly status: string; readonly [key: string]: unknown };
}
type Client = Readonly<Record<string, (...args: unknown[]) => unknown>>;
type Factory = { createClient(options: object): Client };
type Library = Readonly<Record<'compute' | 'network' | 'blockstorage', Factory>>;

const LIMIT_MS = 60_000;
const POLL_MS = 200;
const { PKGCLOUD = '', OS_AUTH_URL = '', OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_REGION_NAME } = process.env;
const library = createRequire(join(PKGCLOUD, 'package.json'))('pkgcloud') as Library;
const options = {
  ...{ provider: 'openstack', keystoneAuthVersion: 'v3', authUrl: OS_AUTH_URL.replace(/\/v3$/, '') },
  ...{ username: OS_USERNAME, password: OS_PASSWORD, tenantName: OS_PROJECT_NAME, region: OS_REGION_NAME },
  ...{ domainName: 'Default', projectDomainName: 'Default' },
};
const compute = library.compute.createClient(options);
const network = library.network.createClient(options);
const volumes = library.blockstorage.createClient(options);

/** The method with a callback, as a promise. @throws what the library gives, in words */
async function ask<T>(client: Client, method: string, ...args: readonly unknown[]): Promise<T> {
  const call = client[method];
  if (!call) throw new Error(`pkgcloud has no ${method}`);
  try {
    const asked: (...all: readonly unknown[]) => Promise<unknown> = promisify(call.bind(client));
    return (await asked(...args)) as T;
  } catch (error) {
    throw new Error(`${method}: ${JSON.stringify(error)}`);
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + LIMIT_MS; Date.now() < end; await delay(POLL_MS)) if (await holds()) return;
  throw new Error(`${what} within the limit`);
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const first = <T>([thing]: readonly T[], what: string): T => {
  if (thing === undefined) throw new Error(`there is no ${what}`);
  return thing;
};

const flavors = (await ask<Thing[]>(compute, 'getFlavors')).toSorted((a, b) => a.ram - b.ram);
const [small, large] = [first(flavors, 'flavor'), first(flavors.slice(1), 'larger flavor')];
const image = first(await ask<Thing[]>(compute, 'getImages'), 'image');
const shared = first(
  (await ask<Thing[]>(network, 'getNetworks')).filter(({ name }) => name === 'shared'),
  'network shared',
);
say(`image ${image.name}, network ${shared.name}, flavors ${small.name} and ${large.name}`);

const wish = { name: 'pkgcloud', image: image.id, flavor: small.id, networks: [{ uuid: shared.id }] };
const { id } = await ask<Thing>(compute, 'createServer', wish);
const seen = async (): Promise<Thing['original']> => (await ask<Thing>(compute, 'getServer', id)).original;
const becomes = (status: string) => until(`server becomes ${status}`, async () => (await seen()).status === status);
await becomes('ACTIVE');
const before = await seen();
say(`server ${before.status} on ${before['OS-EXT-SRV-ATTR:host']}`);

const volume = await ask<Thing>(volumes, 'createVolume', { name: 'pkgcloud', description: 'a disk', size: 1 });
const volumeIs = (status: string) =>
  until(`volume becomes ${status}`, async () => (await ask<Thing>(volumes, 'getVolume', volume.id)).status === status);
await volumeIs('available');
const attachment = await ask<{ device: string }>(compute, 'attachVolume', id, volume.id);
await volumeIs('in-use');
say(`volume is ${attachment.device}`);

await ask(compute, 'resizeServer', id, large.id);
await becomes('VERIFY_RESIZE');
await ask(compute, 'confirmServerResize', id);
await becomes('ACTIVE');
const after = await seen();
if (after['OS-EXT-SRV-ATTR:host'] === before['OS-EXT-SRV-ATTR:host']) throw new Error('it has stayed where it was');
say(`resized to ${large.name} on ${after['OS-EXT-SRV-ATTR:host']}`);

await ask(compute, 'detachVolume', id, volume.id);
await volumeIs('available');
await ask(compute, 'destroyServer', id);
await until('the server is gone', async () =>
  (await ask<Thing[]>(compute, 'getServers')).every((server) => server.id !== id),
);
await ask(volumes, 'deleteVolume', volume.id);
say('all of it is gone');
