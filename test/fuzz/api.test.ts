// Bad input, in bulk: thousands of requests made from the API's own schemas, most of them broken somewhere. Whatever
// comes, the answer is never a 500, is in its service's shape, and a refused request leaves nothing behind.
// FUZZ_RUNS lengthens a run, PROPERTY_SEED tries other requests.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isVersioned, type Route, variantsNow } from '../../src/api/http/route.ts';
import { fc } from '../../src/lib/property-testing.ts';
import { MAX_MINOR, VOLUME_VERSIONS } from '../../src/model/microversion.ts';
import { broken, HOSTILE_TEXTS, validValue } from './generate.ts';
import { type FuzzWorld, fuzzWorld } from './world.ts';

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 5000);
const parameters = { numRuns: RUNS, endOnFailure: true };

interface Request {
  readonly method: Route['method'];
  readonly contentType: string;
  readonly who: string;
  readonly minor: number;
  readonly path: string;
  readonly body: unknown;
}

describe('bad input', () => {
  let world: FuzzWorld;
  let last: string;
  before(async () => {
    world = await fuzzWorld();
    last = await world.snapshot();
  });
  after(() => world[Symbol.asyncDispose]());

  it(`${RUNS} requests from the schemas: never a 500, nothing left behind by a refusal`, {
    timeout: 600_000,
  }, async () => {
    const known = fc.constantFrom(...(await knownTexts(world)));
    const requests = fc.constantFrom(...world.routes).chain((route) => requestFor(route, known));
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(requests, async (request) => {
        const response = await world.app.inject({
          method: request.method,
          url: request.path,
          headers: {
            'x-auth-token': request.who,
            'openstack-api-version': `compute 2.${request.minor}, volume 3.${Math.min(request.minor, VOLUME_VERSIONS.max)}`,
            ...(request.body === undefined ? {} : { 'content-type': request.contentType }),
          },
          ...(request.body === undefined ? {} : { payload: payloadOf(request) }),
        });
        const { statusCode, body } = response;
        statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1);
        assert.ok(
          statusCode < 500 || statusCode === 501 || statusCode === 503,
          `${statusCode}: ${body}\n${world.errors.at(-1)}`,
        );
        const now = await world.snapshot();
        if (statusCode >= 400) {
          assertErrorShape(request.path, statusCode, body);
          assert.equal(now, last, 'a refused request changed something');
        }
        last = now;
      }),
      parameters,
    );
    const count = (from: number, to: number): number =>
      [...statuses].filter(([status]) => status >= from && status < to).reduce((sum, [, n]) => sum + n, 0);
    // The generator is only worth something if both kinds get through.
    assert.ok(count(200, 400) > RUNS / 50, `too few requests were accepted: ${[...statuses]}`);
    assert.ok(count(400, 500) > RUNS / 10, `too few requests were refused: ${[...statuses]}`);
  });

  it('bodies that are no JSON, of any type, on any path', { timeout: 120_000 }, async () => {
    const urls = fc.constantFrom(...world.routes.map((route) => route.url));
    const garbage = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.constantFrom(
        '{',
        '[',
        '{"a":',
        '[[[[',
        '"',
        'null',
        '1',
        '{"a":1,"a":2}',
        `${'['.repeat(50_000)}`,
        '\u0000',
        '{"__proto__":{}}',
      ),
    );
    const types = fc.constantFrom(
      'application/json',
      'application/json; charset=utf-16',
      'text/plain',
      'application/xml',
      'application/octet-stream',
      '',
      ';;;',
      'multipart/form-data',
    );
    const methods = fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD');
    await fc.assert(
      fc.asyncProperty(
        methods,
        urls,
        garbage,
        types,
        fc.constantFrom(...HOSTILE_TEXTS),
        async (method, url, payload, type, id) => {
          const path = url.replaceAll(/:[a-z_]+/g, encodeURIComponent(id.toWellFormed()));
          const response = await world.app.inject({
            method: method as 'GET',
            url: path,
            headers: { 'x-auth-token': 'admin', 'content-type': type },
            ...(method === 'GET' || method === 'HEAD' ? {} : { payload }),
          });
          assert.ok(
            response.statusCode < 500 || [501, 503].includes(response.statusCode),
            `${method} ${path}: ${response.body}\n${world.errors.at(-1)}`,
          );
        },
      ),
      { ...parameters, numRuns: Math.ceil(RUNS / 5) },
    );
  });

  it('tokens and versions of every kind', { timeout: 120_000 }, async () => {
    const token = fc.oneof(
      fc.string({ maxLength: 300 }),
      fc.constantFrom('', '.', 'a.b', 'a.b.c', 'x'.repeat(9000), '__proto__'),
    );
    const version = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.constantFrom(
        'compute',
        'compute 2',
        'compute 2.',
        'compute 2.99999999999',
        'compute -1.1',
        'compute latest latest',
      ),
    );
    await fc.assert(
      fc.asyncProperty(token, version, fc.boolean(), async (rawToken, rawVersion, good) => {
        const clean = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '').trim();
        const response = await world.app.inject({
          method: 'GET',
          url: '/compute/v2.1/servers/detail',
          headers: { 'x-auth-token': good ? 'admin' : clean(rawToken), 'openstack-api-version': clean(rawVersion) },
        });
        assert.ok(response.statusCode < 500, response.body);
        if (!good) assert.ok([400, 401, 406].includes(response.statusCode), response.body);
      }),
      { ...parameters, numRuns: Math.ceil(RUNS / 10) },
    );
  });
});

function requestFor(route: Route, known: fc.Arbitrary<string>): fc.Arbitrary<Request> {
  const schemas =
    route.body === undefined
      ? []
      : (variantsNow(route) ??
        (isVersioned(route.body) ? route.body.byVersion.map((each) => each.schema) : [route.body]));
  const body =
    schemas.length === 0
      ? fc.constant(undefined)
      : fc.oneof(...schemas.map((schema) => broken(validValue(schema, known) as never)));
  const id = fc.oneof({ weight: 4, arbitrary: known }, { weight: 1, arbitrary: fc.constantFrom(...HOSTILE_TEXTS) });
  const query = route.query
    ? fc.oneof(fc.constant({}), broken(validValue(route.query, known) as never))
    : fc.constantFrom({}, {}, { x: '1' });
  return fc
    .record({
      who: fc.constantFrom('admin', 'admin', 'admin', 'member', 'stranger', 'reader', 'unscoped', 'nobody'),
      minor: fc.oneof(fc.integer({ min: 1, max: MAX_MINOR }), fc.constantFrom(1, MAX_MINOR)),
      ids: fc.array(id, { minLength: 3, maxLength: 3 }),
      query,
      body,
    })
    .map(({ who, minor, ids, query: asked, body: content }) => {
      let index = 0;
      const path = route.url.replaceAll(/:[a-z_]+/g, () =>
        encodeURIComponent((ids[index++] ?? '').slice(0, 900).toWellFormed()),
      );
      return {
        method: route.method,
        contentType: contentTypeOf(route),
        who,
        minor,
        path: `${path}${queryText(asked)}`,
        body: content,
      };
    });
}

function queryText(query: unknown): string {
  if (typeof query !== 'object' || query === null) return '';
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const each of [value].flat())
      params.append(key, (typeof each === 'string' ? each : JSON.stringify(each)).slice(0, 2000));
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

const contentTypeOf = (route: Route): string => route.contentTypes?.[0] ?? 'application/json';
const payloadOf = (request: Request): string => JSON.stringify(request.body) ?? 'null';

/** Ids and names of what exists, so that requests get past the first look-up. */
async function knownTexts({ p, people }: FuzzWorld): Promise<string[]> {
  const db = p.stores.global;
  const columns = await Promise.all([
    db.selectFrom('server_mappings').select('server_id as text').execute(),
    db.selectFrom('server_mappings').select('server_id as text').execute(),
    db.selectFrom('images').select('id as text').execute(),
    db.selectFrom('networks').select('id as text').execute(),
    db.selectFrom('ports').select('id as text').execute(),
    db.selectFrom('hosts').select('id as text').execute(),
    db.selectFrom('hosts').select('name as text').execute(),
    db.selectFrom('flavors').select('flavor_id as text').execute(),
  ]);
  const ids = columns.flat().map((row) => row.text);
  return [
    ...ids,
    ...Object.values(people).map((each) => each.userId),
    'p1',
    'kp',
    'key',
    'shared',
    'defaults',
    'enable',
    'agg',
    'new-name',
    'ssh-rsa AAAA',
  ];
}

function assertErrorShape(path: string, status: number, body: string): void {
  if (body === '') return; // HEAD
  assert.ok(!/\n\s+at |node:internal|\.ts:\d+/.test(body), `a stack trace: ${body}`);
  const json = JSON.parse(body) as Record<string, unknown>;
  const service = path.split(/[/?]/)[1];
  const inner = Object.values(json)[0] as Record<string, unknown>;
  assert.equal(typeof inner['message'], 'string', body);
  assert.ok((inner['message'] as string).length > 0 && (inner['message'] as string).length < 4000, body);
  if (service !== 'network') assert.equal(inner['code'], status, body);
}
