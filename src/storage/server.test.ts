// What a storage host's HTTP server takes from anybody: nothing but requests that keep the contract, from who may.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import { GIB, IMAGE, silent, value } from '../host/test-support.ts';
import { HOST_HEADER } from '../host/wire.ts';
import { systemClock } from '../lib/clock.ts';
import { fc } from '../lib/property-testing.ts';
import { StorageAgent } from './agent.ts';
import { connectStorage } from './client.ts';
import { MemoryStorageRecords } from './records.ts';
import { STORAGE_METHODS, STORAGE_ROUTES } from './routes.ts';
import { createStorageServer } from './server.ts';
import { SimulatedStorage } from './simulated.ts';
import { ATTACHMENT, SERVER_ID, SNAPSHOT_ID, VOLUME_ID } from './test-support.ts';

const SECRET = 'a-secret-of-the-fleet';
const AUTH = { authorization: `Bearer ${SECRET}` };
const IDS = { volumeId: VOLUME_ID, snapshotId: SNAPSHOT_ID, attachmentId: ATTACHMENT, serverId: SERVER_ID };
const urlOf = (path: string, ids: Readonly<Record<string, string>> = IDS) =>
  path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(ids[name] ?? ''));

describe('a storage host over HTTP', () => {
  let agent: StorageAgent;
  let app: FastifyInstance;
  before(async () => {
    const driver = new SimulatedStorage({ fabric: new SimulatedFabric(), host: 's' });
    const records = new MemoryStorageRecords();
    agent = await StorageAgent.open({ name: 's', clock: systemClock, driver, records, log: silent });
    app = createStorageServer({ storage: agent, name: 's', secret: SECRET, log: silent });
  });
  after(async () => {
    await app.close();
    await agent.close();
  });
  const put = (url: string, payload: unknown, headers: Record<string, string> = AUTH) =>
    app.inject({ method: 'PUT', url, headers, payload: payload as object });
  const untouched = async () => assert.deepEqual(value(await agent.heartbeat()).volumes, []);

  for (const method of STORAGE_METHODS) {
    const { verb, path } = STORAGE_ROUTES[method];
    test(`${method} wants the secret, and the host that is meant`, async () => {
      for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
        const response = await app.inject({ method: verb, url: urlOf(path), headers });
        assert.equal(response.statusCode, 401);
      }
      const other = await app.inject({ method: verb, url: urlOf(path), headers: { ...AUTH, [HOST_HEADER]: 'other' } });
      assert.equal(other.statusCode, 421);
    });

    test(`${method} takes no ids but UUIDs, and no body but its own`, async () => {
      for (const id of ['x', '../../etc', `${VOLUME_ID}/..`, VOLUME_ID.toUpperCase().replace('0', 'G')]) {
        const hostile = Object.fromEntries(Object.keys(IDS).map((name) => [name, id]));
        const response = await app.inject({ method: verb, url: urlOf(path, hostile), headers: AUTH, payload: {} });
        if (path.includes(':')) assert.equal(response.statusCode, 400, response.body);
      }
      if (verb === 'GET') return;
      await fc.assert(
        fc.asyncProperty(fc.jsonValue(), async (body) => {
          const response = await put(urlOf(path), JSON.parse(JSON.stringify({ body })));
          assert.equal(response.statusCode, 400);
          assert.equal(response.json().kind, 'refused');
        }),
        { numRuns: 20 },
      );
      await untouched();
    });
  }

  const create = { generation: 1, sizeBytes: GIB, source: { kind: 'blank' } };
  const bad: ReadonlyArray<readonly [string, keyof typeof STORAGE_ROUTES, unknown]> = [
    ['an unknown field', 'create', { ...create, more: 1 }],
    ['a source of no kind', 'create', { ...create, source: { kind: 'file', path: '/etc/passwd' } }],
    ['an image from a file', 'create', { ...create, source: { kind: 'image', image: { ...IMAGE, url: 'file:///x' } } }],
    ['a digest with a path', 'create', { ...create, source: { kind: 'image', image: { ...IMAGE, sha256: '../x' } } }],
    ['a source with a path', 'create', { ...create, source: { kind: 'volume', volumeId: '../../x' } }],
    ['a negative size', 'create', { ...create, sizeBytes: -512 }],
    ['an absurd size', 'extend', { generation: 1, sizeBytes: 1e300 }],
    ['generation zero', 'delete', { generation: 0 }],
    ['an unknown mode', 'grant', { serverId: SERVER_ID, generation: 1, mode: 'rwx' }],
    ['a server with a path', 'grant', { serverId: '../x', generation: 1, mode: 'rw' }],
  ];
  for (const [what, method, payload] of bad) {
    test(`${what} is refused`, async () => {
      const response = await put(urlOf(STORAGE_ROUTES[method].path), payload);
      assert.equal(response.statusCode, 400, response.body);
      await untouched();
    });
  }

  test('nobody there is unreachable', async () => {
    const nobody = connectStorage({ url: 'http://127.0.0.1:1', secret: SECRET });
    assert.equal((await nobody.fence(SERVER_ID, { generation: 1 })).kind, 'unreachable');
  });
});
