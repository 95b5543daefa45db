import assert from 'node:assert/strict';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { DEFAULT_POLICIES } from '../../control/policies.ts';
import { networkList } from '../../lib/networks.ts';
import type { Principal } from '../../model/types.ts';
import { CellDown } from '../../store/stores.ts';
import { buildApp } from './app.ts';
import { clientAddress } from './client-address.ts';
import { ApiError } from './errors.ts';
import { type Route, route, versions } from './route.ts';

const logged: { readonly level: number; readonly err?: object; readonly msg: string }[] = [];
const platform = {
  ...{ log: pino({ level: 'warn' }, { write: (line) => logged.push(JSON.parse(line)) }), policies: DEFAULT_POLICIES },
  settings: { trustedProxies: networkList(['127.0.0.0/8', '10.0.0.0/24']) },
} as unknown as Platform;
const people: Record<string, Principal> = {
  admin: { userId: 'u1', projectId: 'p1', roles: ['admin'] },
  member: { userId: 'u2', projectId: 'p2', roles: ['member'] },
  reader: { userId: 'u3', projectId: 'p2', roles: ['reader'] },
  unscoped: { userId: 'u2', projectId: null, roles: [] },
};
const thing = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 10 }),
    size: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
  },
  { additionalProperties: false },
);
const routes: Route[] = [
  route({
    method: 'GET',
    url: '/compute/v2.1/things/:id',
    service: 'compute',
    summary: 'Show a thing',
    policy: 'os_compute_api:servers:show',
    params: Type.Object({ id: Type.String() }),
    query: Type.Object(
      { limit: Type.Optional(Type.Integer({ minimum: 0 })), fields: Type.Optional(Type.Array(Type.String())) },
      { additionalProperties: false },
    ),
    answers: { 200: Type.Object({ id: Type.String() }, { additionalProperties: false }) },
    handle: ({ params, query }) => {
      if (params.id === 'bug') throw new TypeError('secret detail');
      if (params.id === 'down') throw new CellDown('c1', new Error('for the test'));
      if (params.id === 'absent') throw new ApiError(404, 'Thing absent could not be found.');
      if (params.id === 'lie') return { status: 200, body: { id: 1 } };
      return { status: 200, body: { id: `${params.id}/${query.limit ?? '-'}/${(query.fields ?? []).join('+')}` } };
    },
  }),
  route({
    method: 'POST',
    url: '/compute/v2.1/things',
    service: 'compute',
    summary: 'Make a thing',
    policy: 'os_compute_api:servers:create',
    body: versions(
      [1, Type.Object({ thing }, { additionalProperties: false })],
      [56, Type.Object({ thing, host: Type.Optional(Type.String()) }, { additionalProperties: false })],
    ),
    answers: { 202: null },
    handle: ({ body }) => ({ status: 202, headers: { location: body.thing.name } }),
    tells: ['location'],
  }),
  route({
    method: 'DELETE',
    url: '/network/v2.0/things/:id',
    service: 'network',
    summary: 'Delete a thing',
    policy: 'delete_network',
    params: Type.Object({ id: Type.String() }),
    answers: { 204: null },
    handle: ({ params }) => ({ status: 204, ...(params.id === 'lie' ? { body: { id: 1 } } : {}) }),
  }),
  route({
    method: 'POST',
    url: '/network/v2.0/things',
    service: 'network',
    summary: 'Make a thing',
    policy: 'create_network',
    body: Type.Object({ thing }, { additionalProperties: false }),
    answers: { 201: null },
    handle: () => ({ status: 201 }),
  }),
  route({
    method: 'GET',
    url: '/compute/v2.1/late',
    service: 'compute',
    summary: 'Exists from 2.23',
    policy: 'os_compute_api:servers:index',
    since: 23,
    answers: { 200: Type.Object({}) },
    handle: ({ minor }) => ({ status: 200, body: { minor } }),
  }),
  route({
    method: 'GET',
    url: '/identity',
    service: 'identity',
    summary: 'Open to all',
    policy: 'public',
    answers: { 300: Type.Object({}) },
    handle: ({ p, request }) => ({ status: 300, body: { from: clientAddress(p, request) } }),
  }),
];

describe('the HTTP server', () => {
  let app: FastifyInstance;
  before(async () => {
    app = await buildApp({
      platform,
      tokens: { principalOf: async (token) => people[token] ?? null },
      routes,
      checkAnswers: true,
    });
  });
  after(() => app.close());

  const call = (
    method: string,
    url: string,
    options: { token?: string; body?: unknown; headers?: Record<string, string> } = {},
  ) =>
    app.inject({
      method: method as 'GET',
      url,
      headers: {
        ...(options.token === undefined
          ? { 'x-auth-token': 'admin' }
          : options.token === ''
            ? {}
            : { 'x-auth-token': options.token }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(options.body === undefined
        ? {}
        : { payload: typeof options.body === 'string' ? options.body : JSON.stringify(options.body) }),
    });

  it('answers with request ids and both version headers', async () => {
    const response = await call('GET', '/compute/v2.1/things/a', {
      headers: { 'x-openstack-nova-api-version': '2.60' },
    });
    assert.equal(response.statusCode, 200);
    assert.match(String(response.headers['x-openstack-request-id']), /^req-[0-9a-f-]{36}$/);
    assert.equal(response.headers['x-compute-request-id'], response.headers['x-openstack-request-id']);
    assert.equal(response.headers['openstack-api-version'], 'compute 2.60');
    assert.equal(response.headers['x-openstack-nova-api-version'], '2.60');
    assert.match(String(response.headers['vary']), /OpenStack-API-Version/);
  });

  it('believes trusted proxies, and them alone, when they say where a request comes from', async () => {
    const from = async (remoteAddress: string, told?: string): Promise<unknown> => {
      const headers = told === undefined ? {} : { 'x-forwarded-for': told };
      return (await app.inject({ method: 'GET', url: '/identity', remoteAddress, headers })).json().from;
    };
    assert.equal(await from('192.0.2.1'), '192.0.2.1');
    assert.equal(await from('192.0.2.1', '192.0.2.9'), '192.0.2.1');
    assert.equal(await from('127.0.0.1', '192.0.2.9'), '192.0.2.9');
    assert.equal(await from('::ffff:127.0.0.1', '192.0.2.9'), '192.0.2.9');
    // What the client wrote itself stands before what the proxies wrote.
    assert.equal(await from('127.0.0.1', '198.51.100.7, 192.0.2.9, 10.0.0.3'), '192.0.2.9');
    assert.equal(await from('127.0.0.1', '2001:db8::1'), '2001:db8::1');
    for (const nothing of [undefined, '', 'unknown', '10.0.0.3']) {
      assert.equal(await from('127.0.0.1', nothing), null);
    }
  });

  it('answers what no parser can read in the shape of the service, with a request id', async () => {
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    const answerTo = async (request: string): Promise<{ head: string; body: unknown }> => {
      const socket = connect(port, '127.0.0.1');
      socket.write(request);
      const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
      return { head, body: JSON.parse(body) };
    };
    const long = await answerTo(`GET /compute/v2.1/things/${'x'.repeat(20_000)} HTTP/1.1\r\nhost: a\r\n\r\n`);
    assert.match(long.head, /^HTTP\/1\.1 431 /);
    assert.match(long.head, /\r\nx-openstack-request-id: req-[0-9a-f-]{36}\r\nx-compute-request-id: req-/);
    assert.deepEqual(long.body, {
      computeFault: { code: 431, message: 'The path and headers of the request are too large.' },
    });
    const broken = await answerTo('GET /network/v2.0/things HTTP/1.1\r\nno header\r\n\r\n');
    assert.match(broken.head, /^HTTP\/1\.1 400 .*\r\n(.*\r\n)*x-openstack-request-id: req-/);
    assert.deepEqual(broken.body, {
      NeutronError: { type: 'HTTPBadRequest', message: 'Malformed request.', detail: '' },
    });
    assert.doesNotMatch(broken.head, /x-compute/);
    const garbage = await answerTo('\0\r\n\r\n');
    assert.deepEqual(garbage.body, { badRequest: { code: 400, message: 'Malformed request.' } });
  });

  it('refuses without a good token, in identity shape', async () => {
    for (const token of ['', 'nonsense', 'x'.repeat(5000)]) {
      const response = await call('GET', '/compute/v2.1/things/a', { token });
      assert.equal(response.statusCode, 401);
      assert.equal(response.json().error.title, 'Unauthorized');
    }
  });

  it('asks the rule that the route names', async () => {
    assert.equal((await call('GET', '/compute/v2.1/things/a', { token: 'reader' })).statusCode, 200);
    assert.equal((await call('GET', '/compute/v2.1/things/a', { token: 'unscoped' })).statusCode, 403);
    const body = { thing: { name: 'a' } };
    const denied = await call('POST', '/compute/v2.1/things', { token: 'reader', body });
    assert.equal(denied.statusCode, 403);
    assert.match(denied.json().forbidden.message, /^Policy doesn't allow os_compute_api:\S+ to be performed\.$/);
    const foreign = await call('DELETE', '/network/v2.0/things/1', { token: 'reader' });
    assert.deepEqual(foreign.json(), {
      NeutronError: { type: 'PolicyNotAuthorized', message: 'rule:delete_network is disallowed by policy', detail: '' },
    });
  });

  it('negotiates microversions as Nova does', async () => {
    const at = (headers: Record<string, string>) => call('GET', '/compute/v2.1/late', { headers });
    assert.equal((await at({})).statusCode, 404);
    assert.equal((await at({ 'openstack-api-version': 'compute 2.23' })).json().minor, 23);
    assert.equal((await at({ 'openstack-api-version': 'volume 3.1, compute 2.24' })).json().minor, 24);
    assert.equal((await at({ 'openstack-api-version': 'compute latest' })).statusCode, 200);
    assert.equal((await at({ 'openstack-api-version': 'compute 2.999' })).statusCode, 406);
    assert.equal((await at({ 'openstack-api-version': 'compute 3.1' })).statusCode, 406);
    const malformed = await at({ 'x-openstack-nova-api-version': '2.x' });
    assert.equal(malformed.statusCode, 400);
    assert.match(malformed.json().badRequest.message, /invalid format/);
  });

  it('names the field of a bad body, by the schema of the version', async () => {
    const message = async (body: unknown, version = '2.1') => {
      const response = await call('POST', '/compute/v2.1/things', {
        body,
        headers: { 'x-openstack-nova-api-version': version },
      });
      assert.equal(response.statusCode, 400);
      return response.json().badRequest.message;
    };
    assert.equal(await message({}), "'thing' is a required property");
    assert.equal(
      await message({ thing: { name: 'a' }, x: 1 }),
      "Additional properties are not allowed ('x' was unexpected)",
    );
    assert.equal(
      await message({ thing: {} }),
      "Invalid input for field/attribute thing. Value: {}. 'name' is a required property",
    );
    assert.equal(
      await message({ thing: { name: '' } }),
      "Invalid input for field/attribute name. Value: . '' is too short",
    );
    assert.equal(
      await message({ thing: { name: 5 } }),
      "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'",
    );
    assert.equal(
      await message({ thing: { name: 'a', size: true } }),
      "Invalid input for field/attribute size. Value: True. True is not of type 'integer', 'null'",
    );
    assert.ok((await message({ thing: { name: 'n'.repeat(100_000) } })).length < 600);
    assert.match(await message({ thing: { name: 'a' }, host: 'h' }), /'host' was unexpected/);
    const later = await call('POST', '/compute/v2.1/things', {
      body: { thing: { name: 'a' }, host: 'h' },
      headers: { 'x-openstack-nova-api-version': '2.56' },
    });
    assert.equal(later.statusCode, 202);
  });

  it('coerces query parameters; passes over unknown ones of compute until 2.74, refuses them later and elsewhere', async () => {
    assert.equal((await call('GET', '/compute/v2.1/things/a?limit=3&fields=x&fields=y')).json().id, 'a/3/x+y');
    assert.equal((await call('GET', '/compute/v2.1/things/a?fields=x')).json().id, 'a/-/x');
    const bad = await call('GET', '/compute/v2.1/things/a?limit=-1');
    assert.equal(
      bad.json().badRequest.message,
      'Invalid input for query parameters limit. Value: -1. -1 is less than the minimum of 0',
    );
    const unknown = (minor: number) =>
      call('GET', '/compute/v2.1/things/a?other=1', { headers: { 'x-openstack-nova-api-version': `2.${minor}` } });
    assert.deepEqual([(await unknown(74)).statusCode, (await unknown(75)).statusCode], [200, 400]);
  });

  it('answers malformed, mistyped and oversized bodies', async () => {
    assert.equal(
      (await call('POST', '/compute/v2.1/things', { body: '{"thing":' })).json().badRequest.message,
      'Malformed request body',
    );
    assert.equal((await call('POST', '/compute/v2.1/things', { body: '{"__proto__":{"a":1}}' })).statusCode, 400);
    assert.equal((await call('POST', '/compute/v2.1/things')).statusCode, 400);
    const xml = { body: '<thing/>', headers: { 'content-type': 'application/xml' } };
    assert.equal((await call('POST', '/compute/v2.1/things', xml)).statusCode, 415);
    const big = await call('POST', '/compute/v2.1/things', { body: { thing: 'x'.repeat(1_100_000) } });
    assert.equal(big.statusCode, 413);
    assert.equal(big.json().overLimit.code, 413);
  });

  it('takes JSON without a content type, and with one that the service takes for it', async () => {
    const at = async (url: string, type?: string) =>
      (
        await app.inject({
          ...{ method: 'POST', url, payload: Buffer.from('{"thing":{"name":"a"}}') },
          headers: { 'x-auth-token': 'admin', ...(type === undefined ? {} : { 'content-type': type }) },
        })
      ).statusCode;
    const form = 'application/x-www-form-urlencoded';
    const things = '/compute/v2.1/things';
    for (const type of [undefined, 'text/plain; charset=utf-8', 'application/vnd.openstack.compute+json'])
      assert.equal(await at(things, type), 202, String(type));
    for (const type of [form, 'application/vnd.openstack.volume+json']) assert.equal(await at(things, type), 415, type);
    // Neutron does not look at the type.
    for (const type of [undefined, form, 'text/plain'])
      assert.equal(await at('/network/v2.0/things', type), 201, String(type));
    // A body that nobody asked for has no type, either.
    const headers = { 'x-auth-token': 'admin' };
    const removed = { method: 'DELETE', url: '/network/v2.0/things/1', headers, payload: Buffer.from('{}') } as const;
    assert.equal((await app.inject(removed)).statusCode, 204);
  });

  it('takes the character NUL in no text: no resource is named so, and no query or body has it', async () => {
    assert.equal((await call('GET', '/compute/v2.1/things/a%00b')).json().itemNotFound.code, 404);
    assert.equal((await call('DELETE', '/network/v2.0/things/%00?x=%00')).json().NeutronError.type, 'HTTPNotFound');
    assert.equal((await call('GET', '/compute/v2.1/things/a?fields=%00')).json().badRequest.code, 400);
    assert.equal((await call('GET', '/compute/v2.1/things/a?fields=x&%00=x')).json().badRequest.code, 400);
    assert.equal((await call('GET', '/compute/v2.1/things/a?fields=%2500')).statusCode, 200);
    const body = (name: string) => call('POST', '/compute/v2.1/things', { body: `{"thing":{"name":"${name}"}}` });
    for (const bad of ['\\u0000', 'a\\u0000', '\\\\\\u0000', '\\n\\u0000'])
      assert.equal((await body(bad)).json().badRequest.message, 'Malformed request: the character NUL is in it.', bad);
    for (const good of ['u0000', '\\\\u0000']) assert.equal((await body(good)).statusCode, 202, good);
  });

  it('takes no JSON that is nested without end, which would be written and could not be read', async () => {
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const message = async (levels: number) =>
      (await call('POST', '/compute/v2.1/things', { body: nested(levels) })).json().badRequest.message;
    assert.match(await message(64), /is not of type 'object'$/);
    for (const levels of [65, 10_000, 500_000])
      assert.equal(await message(levels), 'Malformed request body: it has more than 64 levels.');
  });

  it('tells an absent path from an absent method', async () => {
    assert.equal((await call('GET', '/compute/v2.1/nothing')).json().itemNotFound.code, 404);
    const wrong = await call('PUT', '/compute/v2.1/things');
    assert.equal(wrong.statusCode, 405);
    assert.equal(wrong.headers['allow'], 'POST');
    assert.equal((await call('GET', '/compute/v2.1/%ff%')).statusCode, 400);
    assert.equal((await call('GET', '/identity/nothing')).json().error.code, 404);
    assert.equal((await call('GET', '/image/nothing')).json().error.code, 404);
  });

  it('keeps the text of an unexpected error to itself', async () => {
    for (const id of ['bug', 'lie']) {
      const response = await call('GET', `/compute/v2.1/things/${id}`);
      assert.equal(response.statusCode, 500);
      const { message } = response.json().computeFault;
      assert.ok(message.includes(String(response.headers['x-openstack-request-id'])));
      assert.ok(!message.includes('secret'));
    }
  });

  it('logs defects with their stack; that a cell is down is expected', async () => {
    const loggedBy = async (id: string, status: number) => {
      logged.length = 0;
      assert.equal((await call('GET', `/compute/v2.1/things/${id}`)).statusCode, status);
      return logged.map(({ level, err }) => [level, err !== undefined]);
    };
    assert.deepEqual(await loggedBy('bug', 500), [[50, true]]);
    assert.deepEqual(await loggedBy('down', 503), [[40, false]]);
    assert.match(logged[0]?.msg ?? '', /cell c1 cannot be reached/);
    assert.deepEqual(await loggedBy('absent', 404), []);
  });

  it('finds a body that no schema is stated for, where answers are checked', async () => {
    const url = '/network/v2.0/things';
    assert.equal((await call('DELETE', `${url}/1`, { token: 'admin' })).statusCode, 204);
    assert.equal((await call('DELETE', `${url}/lie`, { token: 'admin' })).statusCode, 500);
  });

  it('describes itself and counts', async () => {
    const document = (await call('GET', '/openapi.json', { token: '' })).json();
    assert.ok(document.paths['/compute/v2.1/things'].post.requestBody);
    assert.match(
      (await call('GET', '/metrics', { token: '' })).body,
      /crosscell_api_requests_total\{method="POST",route="\/compute\/v2.1\/things"/,
    );
    assert.equal((await call('GET', '/healthz', { token: '' })).statusCode, 200);
  });

  it('answers public routes without a token', async () => {
    assert.equal((await call('GET', '/identity/', { token: '' })).statusCode, 300);
  });
});
