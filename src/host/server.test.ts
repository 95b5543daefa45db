// The HTTP edge: who is let in, what is refused, and what a client makes of answers that it does not get.
import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { after, before, describe, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { systemClock } from '../lib/clock.ts';
import { configDriveFiles, configDriveOf } from '../model/config-drive.ts';
import { Agent } from './agent.ts';
import { connectHost } from './client.ts';
import { MAX_PORTS } from './contract.ts';
import { MemoryRecords } from './records.ts';
import { createHostServer } from './server.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { IMAGE, OTHER_SERVER, ROOT, SECOND_PORT, SERVER, SPEC, silent, VOLUME } from './test-support.ts';
import { BODY_LIMIT, HOST_HEADER } from './wire.ts';
import { sameSecret } from './wire-server.ts';

const SECRET = 'a-secret-of-the-fleet';
const AUTH = { authorization: `Bearer ${SECRET}` };

describe('server', () => {
  let app: FastifyInstance;
  let agent: Agent;
  before(async () => {
    const hypervisor = new SimulatedHypervisor({ clock: systemClock, fabric: new SimulatedFabric(), host: 'h' });
    const resources = { vcpus: 4, memoryMb: 4096, diskGb: 100 };
    const records = new MemoryRecords();
    agent = await Agent.open({ name: 'h', clock: systemClock, hypervisor, records, resources, log: silent });
    app = createHostServer({ host: agent, name: 'h', secret: SECRET, log: silent });
  });
  after(async () => {
    await app.close();
    await agent.close();
  });
  const put = (call: string, payload: unknown, headers: Record<string, string> = AUTH) =>
    app.inject({ method: 'PUT', url: `/v1/guests/${SERVER}/${call}`, headers, payload: payload as object });

  test('without the secret nothing is answered', async () => {
    for (const authorization of ['', 'Bearer', `Bearer ${SECRET}x`, `Basic ${SECRET}`, SECRET]) {
      const response = await app.inject({ method: 'GET', url: '/v1/heartbeat', headers: { authorization } });
      assert.equal(response.statusCode, 401);
    }
    const fence = await put('fence', { generation: 99 }, {});
    assert.equal(fence.statusCode, 401);
    assert.equal((await put('fence', { generation: 1 })).statusCode, 200, 'the refused call had no effect');
    assert.equal(sameSecret('Bearer a', 'Bearer a'), true);
  });

  test('a call meant for another host is not obeyed', async () => {
    const response = await put('fence', { generation: 99 }, { ...AUTH, [HOST_HEADER]: 'other' });
    assert.equal(response.statusCode, 421);
    assert.equal((await put('fence', { generation: 1 }, { ...AUTH, [HOST_HEADER]: 'h' })).statusCode, 200);
  });

  const attach = (changes: object) => ({
    generation: 1,
    volume: { ...VOLUME, connection: { ...VOLUME.connection, ...changes } },
  });
  const define = { generation: 1, spec: SPEC, disk: 'fresh' };
  const bad: ReadonlyArray<readonly [string, string, unknown]> = [
    ['an unknown field', 'definition', { ...define, more: 1 }],
    ['an unknown field inside', 'definition', { ...define, spec: { ...SPEC, more: 1 } }],
    ['a number as text', 'fence', { generation: '1' }],
    ['generation zero', 'fence', { generation: 0 }],
    ['half a generation', 'fence', { generation: 1.5 }],
    ['no generation', 'power', { power: 'on', graceSeconds: 0 }],
    ['an unknown power', 'power', { generation: 1, power: 'reset', graceSeconds: 0 }],
    ['a patience of days', 'power', { generation: 1, power: 'off', graceSeconds: 999999 }],
    ['an absurd size', 'disk-size', { generation: 1, rootBytes: 1e300 }],
    ['a negative size', 'disk-size', { generation: 1, rootBytes: -1 }],
    ['a volume with options in its export', 'volume', attach({ exportName: 'a,file=/etc' })],
    ['a volume with options in its user', 'volume', attach({ user: 'a:b' })],
    ['a volume with a key that is none', 'volume', attach({ key: 'zz'.repeat(32) })],
    ['a volume as another device', 'volume', { generation: 1, volume: { ...VOLUME, device: '/dev/sda,x=y' } }],
    ['a volume with a path for an id', 'volume', { generation: 1, volume: { ...VOLUME, volumeId: '../../x' } }],
    ['no volume at all', 'no-volume', { generation: 1 }],
    [
      'an export with options in its host',
      'import',
      {
        generation: 1,
        source: { host: 'a,file=/etc', port: 1, name: '0'.repeat(32), sizeBytes: 1, allocatedBytes: 1 },
      },
    ],
    [
      'an image from a file',
      'definition',
      { ...define, spec: { ...SPEC, root: { ...ROOT, image: { ...IMAGE, url: 'file:///x' } } } },
    ],
    [
      'a digest with a path',
      'definition',
      { ...define, spec: { ...SPEC, root: { ...ROOT, image: { ...IMAGE, sha256: '../../x' } } } },
    ],
    ['no object', 'fence', [1]],
  ];
  for (const [what, call, payload] of bad) {
    test(`${what} is refused`, async () => {
      const response = await put(call, payload);
      assert.equal(response.statusCode, 400, response.body);
      assert.equal(response.json().kind, 'refused');
      assert.equal((await agent.guest(SERVER)).kind, 'absent');
    });
  }

  test('a malformed id, a path in an id, an unknown call and an overlong body are refused', async () => {
    const urls = [
      '/v1/guests/x',
      '/v1/guests/..%2f..%2fetc',
      `/v1/guests/${SERVER.toUpperCase()}X`,
      '/v1/nothing',
      '/',
    ];
    for (const url of urls) {
      const response = await app.inject({ method: 'GET', url, headers: AUTH });
      assert.ok([400, 414].includes(response.statusCode), `${url} ${response.statusCode}`);
    }
    const long = await put('definition', { ...define, spec: { ...SPEC, name: 'x'.repeat(BODY_LIMIT) } });
    assert.equal(long.statusCode, 413);
    const broken = await app.inject({
      method: 'PUT',
      url: `/v1/guests/${SERVER}/fence`,
      headers: { ...AUTH, 'content-type': 'application/json' },
      payload: '{"generation":',
    });
    assert.equal(broken.statusCode, 400);
  });

  test('the largest config drive that can be asked for is taken', async () => {
    // The API's own limit is 1 MiB for a request, of which user data is 64 KiB at most.
    const [userData, key] = ['x'.repeat(65_535 - 3), `ssh-rsa ${'A'.repeat(16 * 1024)}`];
    const metadata = Object.fromEntries(Array.from({ length: 2000 }, (_, item) => [`item ${item}`, 'x'.repeat(490)]));
    const ports = Array.from({ length: MAX_PORTS }, () => ({ ...SECOND_PORT, networkId: SERVER, tag: 'x'.repeat(60) }));
    const configDrive = configDriveFiles(
      configDriveOf({
        ...{ serverId: SERVER, name: 'n', hostname: 'n', projectId: 'p', zone: 'z', metadata, ports, volumes: [] },
        key: { name: 'k', publicKey: key },
      }),
      userData,
    );
    const url = `/v1/guests/${OTHER_SERVER}/definition`;
    const payload = { ...define, spec: { ...SPEC, configDrive } };
    const response = await app.inject({ method: 'PUT', url, headers: AUTH, payload });
    assert.equal(response.statusCode, 200, response.body);
  });

  test('an unexpected error of the host is a 500 that claims nothing', async () => {
    const original = agent.heartbeat;
    agent.heartbeat = () => Promise.reject(new Error('a defect with details'));
    const response = await app.inject({ method: 'GET', url: '/v1/heartbeat', headers: AUTH });
    agent.heartbeat = original;
    assert.equal(response.statusCode, 500);
    assert.equal(response.json().kind, 'unreachable');
    assert.doesNotMatch(response.body, /details/);
  });
});

describe('client', () => {
  async function against(listener: RequestListener, timeoutMs = 500) {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    try {
      return await connectHost({ url: `http://127.0.0.1:${port}`, secret: SECRET, timeoutMs }).heartbeat();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  const answers: Record<string, RequestListener> = {
    'an answer that never comes': () => undefined,
    'a connection that breaks': (request) => request.socket.destroy(),
    'an answer cut short': (_request, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('{"agentId":');
      setTimeout(() => response.destroy(), 20);
    },
    'an answer that is no JSON': (_request, response) => response.end('<html>'),
    'an answer that breaks the contract': (_request, response) => response.end('{"agentId":"a","now":1}'),
    'an answer with more than the contract': (_request, response) =>
      response.end('{"agentId":"a","now":1,"guests":[],"more":1}'),
    'a 404 that is not an agent’s': (_request, response) => response.writeHead(404).end('{"error":"not found"}'),
    'a redirect, which would take the secret along': (request, response) => {
      if (request.url === '/elsewhere') response.end('{"agentId":"a","now":1,"guests":[],"remains":[]}');
      else response.writeHead(307, { location: '/elsewhere' }).end();
    },
    'a 500': (_request, response) => response.writeHead(500).end('oops'),
  };
  for (const [what, listener] of Object.entries(answers)) {
    test(`${what} is unreachable`, async () => {
      assert.equal((await against(listener)).kind, 'unreachable');
    });
  }

  test('a heartbeat is not waited for as long as other calls', async () => {
    const began = performance.now();
    assert.equal((await against(() => undefined, 60_000)).kind, 'unreachable');
    assert.ok(performance.now() - began < 30_000);
  });

  test('nobody there is unreachable', async () => {
    const reply = await connectHost({ url: 'http://127.0.0.1:1', secret: SECRET }).heartbeat();
    assert.equal(reply.kind, 'unreachable');
    assert.match(reply.kind === 'unreachable' ? reply.reason : '', /ECONNREFUSED|bad port|fetch failed/);
  });

  test('a good answer is ok, and ids travel', async () => {
    let seen: unknown;
    const server = createServer((request, response) => {
      seen = [request.headers['x-request-id'], request.headers['x-saga-id']];
      response.end('{"agentId":"a","now":1,"guests":[],"remains":[]}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const context = () => ({ requestId: 'req-1', sagaId: 'saga-2' });
    const reply = await connectHost({ url: `http://127.0.0.1:${port}/`, secret: SECRET, context }).heartbeat();
    assert.equal(reply.kind, 'ok');
    assert.deepEqual(seen, ['req-1', 'saga-2']);
    server.closeAllConnections();
    server.close();
  });
});
