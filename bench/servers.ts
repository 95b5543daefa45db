// Servers made, moved and looked at through the compute API, of any deployment that a benchmark asks.
import { setTimeout } from 'node:timers/promises';
import type { Answer, Asked, Cloud } from '../test/clients/compare/cloud.ts';
import { ask } from './simulated.ts';

/** Servers that are made with one request, at most. */
export const BATCH = 50;
const WAIT_LIMIT_MS = 600_000;

export interface Setting {
  readonly image: string;
  readonly network: string;
  readonly flavor: string;
  readonly larger: string;
}

/** The smallest two flavors, an image, the shared network; quotas that do not stand in the way. */
export async function prepare(cloud: Cloud): Promise<Setting> {
  const get = async <T>(service: Asked['service'], path: string): Promise<T> =>
    (await ask(cloud, { service, method: 'GET', path })).json as T;
  const quota = { instances: -1, cores: -1, ram: -1 };
  await ask(cloud, {
    ...{ service: 'compute', method: 'PUT', path: `/os-quota-sets/${cloud.projectId}` },
    body: { quota_set: quota },
  });
  const port = { service: 'network', method: 'PUT', path: `/quotas/${cloud.projectId}` } as const;
  await cloud.ask({ ...port, body: { quota: { port: -1 } } });
  const { flavors } = await get<{ flavors: readonly { id: string }[] }>('compute', '/flavors?sort_key=memory_mb');
  const { images } = await get<{ images: readonly { id: string }[] }>('image', '/images?status=active&limit=1');
  const { networks } = await get<{ networks: readonly { id: string }[] }>('network', '/networks?name=shared');
  const [flavor, larger, image, network] = [flavors[0]?.id, flavors[1]?.id, images[0]?.id, networks[0]?.id];
  if (!flavor || !larger || !image || !network)
    throw new Error('there must be two flavors, an image, a network shared');
  return { flavor, larger, image, network };
}

/** Makes so many servers with one request; resolves with their ids when all are ACTIVE. */
export async function create(
  cloud: Cloud,
  { flavor, image, network }: Setting,
  count: number,
  pollMs: number,
): Promise<string[]> {
  const server = {
    ...{ name: 'bench', flavorRef: flavor, imageRef: image, networks: [{ uuid: network }] },
    ...{ min_count: count, max_count: count, return_reservation_id: true },
  };
  const answer = await ask(cloud, { service: 'compute', method: 'POST', path: '/servers', body: { server } });
  const { reservation_id } = answer.json as { reservation_id: string };
  const path = `/servers/detail?reservation_id=${reservation_id}&limit=${BATCH}`;
  const deadline = Date.now() + WAIT_LIMIT_MS;
  while (Date.now() < deadline) {
    const { servers } = (await ask(cloud, { service: 'compute', method: 'GET', path })).json as {
      servers: readonly { id: string; status: string }[];
    };
    if (servers.some(({ status }) => status === 'ERROR')) {
      for (const { id } of servers) await cloud.ask({ service: 'compute', method: 'DELETE', path: `/servers/${id}` });
      throw new Error('a server could not be made');
    }
    if (servers.length === count && servers.every(({ status }) => status === 'ACTIVE'))
      return servers.map(({ id }) => id);
    await setTimeout(pollMs);
  }
  throw new Error(`${count} servers are not made within the limit`);
}

export const act = (cloud: Cloud, id: string, body: unknown): Promise<Answer> =>
  ask(cloud, { service: 'compute', method: 'POST', path: `/servers/${id}/action`, body });

export async function until(cloud: Cloud, id: string, wanted: string, pollMs: number): Promise<void> {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  while (Date.now() < deadline) {
    const answer = await ask(cloud, { service: 'compute', method: 'GET', path: `/servers/${id}` });
    const { status } = (answer.json as { server: { status: string } }).server;
    if (status === wanted) return;
    if (status === 'ERROR') throw new Error(`server ${id} is in ERROR`);
    await setTimeout(pollMs);
  }
  throw new Error(`server ${id} does not become ${wanted}`);
}
