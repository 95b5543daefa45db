// One table over every route there is: who gets in, and what an unknown key gets. A new route is tested without a word
// here.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Route, schemaAt, variantsNow } from '../../src/api/http/route.ts';
import { DEFAULT_POLICIES } from '../../src/control/policies.ts';
import { fc } from '../../src/lib/property-testing.ts';
import { ownTarget } from '../../src/model/policy/rules.ts';
import type { Actor } from '../../src/model/types.ts';
import { validValue } from '../fuzz/generate.ts';
import { type FuzzWorld, fuzzWorld } from '../fuzz/world.ts';

const STRANGER: Actor = { userId: 'u2', projectId: 'p2', roles: ['member'], requestId: '' };

/** By the defaults, and something of the actor's own; a route whose handler asks lets everybody come that far. */
function mayCall(route: Route, actor: Actor): boolean {
  const { policy, service, target } = route;
  if (policy === 'public' || policy === 'anyone' || target === 'handler') return true;
  const rules = typeof policy === 'string' ? [policy] : Object.values(policy.byBody);
  const what = target?.('x', actor) ?? ownTarget(actor);
  return rules.some((rule) => DEFAULT_POLICIES.allows(service, rule, actor, what));
}

/** Of nothing here. */
const SOMEBODY_ELSES = '5b7f6b8e-60cf-4f4c-9a3e-0f6cbb1e1a11';

describe('every route', () => {
  let world: FuzzWorld;
  let serverId: string;
  before(async () => {
    world = await fuzzWorld();
    const row = await world.p.stores.global.selectFrom('server_mappings').select('server_id').executeTakeFirstOrThrow();
    serverId = row.server_id;
  });
  after(() => world[Symbol.asyncDispose]());

  const minorOf = (route: Route): number => route.since ?? 1;
  const versionFor = (route: Route): string =>
    route.service === 'volume' ? `volume 3.${minorOf(route)}` : `compute 2.${minorOf(route)}`;
  /** Of a server that is there; application credentials are made by their own user alone. */
  const pathOf = ({ url }: Route): string =>
    url.replaceAll(/:[a-z_]+/g, (name) => {
      if (name !== ':id') return 'x';
      return url.includes('/servers/') ? serverId : url.includes('/application_credentials') ? 'u0' : 'x';
    });
  const call = (route: Route, token: string | null, body?: unknown) =>
    world.app.inject({
      method: route.method,
      url: pathOf(route),
      headers: {
        ...(token === null ? {} : { 'x-auth-token': token }),
        'openstack-api-version': versionFor(route),
        ...(body === undefined ? {} : { 'content-type': route.contentTypes?.[0] ?? 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });

  it('refuses without a token, and with an unknown one', async () => {
    for (const route of world.routes) {
      if (route.policy === 'public') continue;
      for (const token of [null, 'unknown']) {
        const response = await call(route, token);
        assert.equal(response.statusCode, 401, `${route.method} ${route.url}`);
        assert.match(String(response.headers['www-authenticate']), /Keystone/);
        assert.equal(response.json().error.code, 401);
      }
    }
  });

  it('refuses roles that are not enough, and tokens without a project', async () => {
    let refused = 0;
    for (const route of world.routes) {
      for (const name of ['reader', 'member', 'unscoped']) {
        const person = world.people[name];
        assert.ok(person);
        const actor = { ...person, projectId: person.projectId ?? '', requestId: '' };
        if (mayCall(route, actor)) continue;
        const response = await call(route, name);
        assert.equal(response.statusCode, 403, `${name}: ${route.method} ${route.url}: ${response.body}`);
        refused += 1;
      }
    }
    assert.ok(refused > 100);
  });

  it("answers 404 for another project's server, as if it were not there", async () => {
    const onServers = world.routes.filter(
      (route) => route.url.includes('/compute/v2.1/servers/:id') && !(410 in route.answers) && mayCall(route, STRANGER),
    );
    assert.ok(onServers.length > 15);
    for (const route of onServers) {
      const response = await call(route, 'stranger', bodyFor(route));
      assert.equal(response.statusCode, 404, `${route.method} ${route.url}: ${response.body}`);
      assert.equal(response.json().itemNotFound.message, `Instance ${serverId} could not be found.`);
    }
  });

  it('refuses a body with an unknown key, naming it', async () => {
    let tried = 0;
    for (const route of world.routes) {
      const body = bodyFor(route);
      if (typeof body !== 'object' || body === null || Array.isArray(body)) continue;
      // Images have properties of any name; what else a member's answer says is passed over, as Glance does.
      if (route.service === 'image' && (route.method === 'POST' || route.url.includes('/members/'))) continue;
      const response = await call(route, 'admin', { ...body, unheard_of: 1 });
      assert.equal(response.statusCode, 400, `${route.method} ${route.url}: ${response.body}`);
      tried += 1;
    }
    assert.ok(tried > 20);
  });

  const STRICT = 75;

  it('refuses an unknown query parameter, naming it', async () => {
    for (const route of world.routes) {
      if (route.url === '/' || route.rawBody || acceptsAnyQuery(route)) continue;
      const passesOver = showsOne(route);
      // Nova is strict from 2.75 on.
      if (route.service === 'compute' && (route.until ?? STRICT) < STRICT) continue;
      const url = pathOf(route);
      const body = bodyFor(route);
      const response = await world.app.inject({
        method: route.method,
        url: `${url}?unheard_of=1`,
        headers: {
          'x-auth-token': 'admin',
          'openstack-api-version':
            route.service === 'compute' ? `compute 2.${Math.max(STRICT, minorOf(route))}` : versionFor(route),
          ...(body === undefined ? {} : { 'content-type': route.contentTypes?.[0] ?? 'application/json' }),
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      });
      if (passesOver) {
        assert.doesNotMatch(response.body, /unheard_of/, `${route.method} ${route.url}: ${response.body}`);
        continue;
      }
      assert.equal(response.statusCode, 400, `${route.method} ${route.url}: ${response.body}`);
      assert.match(response.body, /unheard_of/, `${route.method} ${route.url}: ${response.body}`);
    }
  });

  it('is there once', () => {
    const names = world.routes.map((route) => `${route.method} ${route.url}`);
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
  });

  /** A body that the schema allows, the same in every run; undefined when the route takes none. */
  function bodyFor(route: Route): unknown {
    const schema = variantsNow(route)?.[0] ?? (route.body ? schemaAt(route.body, minorOf(route)) : null);
    return schema ? fc.sample(validValue(schema, fc.constant(SOMEBODY_ELSES)), { numRuns: 1, seed: 1 })[0] : undefined;
  }

  /** Where OpenStack looks at no query: what shows one thing, but for what Nova has a schema for. */
  const showsOne = ({ service, method, url, query }: Route): boolean =>
    method === 'GET' && /:\w+$/.test(url) && service !== 'crosscell' && (service !== 'compute' || query === undefined);

  const acceptsAnyQuery = (route: Route): boolean =>
    route.query !== undefined && (route.query as { additionalProperties?: unknown }).additionalProperties !== false;
});
