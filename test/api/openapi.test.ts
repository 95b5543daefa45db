// The OpenAPI document: valid by a validator that is not ours, and complete, held against the routes.
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { ApiError } from '../../src/api/http/errors.ts';
import { openApiDocument, pathOf } from '../../src/api/http/openapi.ts';
import { bodySchemas, isVersioned, type Route } from '../../src/api/http/route.ts';
import { checkText, mismatch } from '../../src/api/http/validation.ts';
import { versionsOf } from '../../src/api/http/versions.ts';
import { allRoutes } from '../../src/api/routes.ts';
import type { Identity } from '../../src/control/identity.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly security: readonly Record<string, unknown>[];
  readonly parameters: readonly { readonly in?: string; readonly name?: string; readonly $ref?: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Stated }>> };
  readonly responses: Readonly<Record<string, { readonly headers?: object; readonly content?: object }>>;
  readonly 'x-openstack': Readonly<Record<string, string>>;
}
interface Stated {
  readonly anyOf?: readonly Stated[];
  readonly 'x-openstack': Readonly<Record<string, string>>;
}

describe('the OpenAPI document', () => {
  // No handler is called: the identity service is not asked.
  const routes = allRoutes({ identity: {} as Identity, fleetSecret: 'secret' });
  let document: Record<string, unknown>;
  let paths: Record<string, Record<string, Operation>>;
  before(() => {
    document = JSON.parse(JSON.stringify(openApiDocument(routes)));
    paths = document['paths'] as typeof paths;
  });
  const operationOf = (route: Route): Operation => {
    const operation = paths[pathOf(route.url)]?.[route.method.toLowerCase()];
    assert.ok(operation, `${route.method} ${route.url}`);
    return operation;
  };

  it('is valid', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors, null, 1)?.slice(0, 4000));
  });

  it('has every route and no other, each with its parameters, its answers and what errors look like', () => {
    let operations = 0;
    for (const route of routes) {
      const operation = operationOf(route);
      const named = operation.parameters.filter((each) => each.in === 'path').map(({ name }) => name);
      assert.deepEqual(
        named,
        [...route.url.matchAll(/:(\w+)/g)].map(([, name]) => name),
        route.url,
      );
      const asked = operation.parameters.flatMap((each) => (each.in === 'query' ? [each.name] : []));
      for (const name of Object.keys((route.query as { properties?: object } | undefined)?.properties ?? {})) {
        assert.ok(asked.includes(name), `${route.url}: ${name}`);
      }
      const unauthorized = route.policy !== 'public' || route.method === 'POST' || route.summary.includes('hosts');
      const answers = [...Object.keys(route.answers), ...(unauthorized ? ['401'] : [])].toSorted();
      assert.deepEqual(Object.keys(operation.responses), [...answers, 'default']);
      assert.equal(operation.security.length, route.policy === 'public' && !route.summary.includes('hosts') ? 0 : 1);
      operations += 1;
    }
    const there = Object.values(paths).flatMap((each) => Object.values(each));
    assert.equal(there.length, operations);
    assert.equal(new Set(there.map(({ operationId }) => operationId)).size, operations);
  });

  it('has a schema for every body of an answer', () => {
    const bare = routes.filter(({ method, answers }) => method !== 'DELETE' && answers[200] === null);
    // Other than JSON. What else has no schema answers without a body, which every test of a route checks (app.ts).
    assert.deepEqual(bare.map(({ url }) => url).toSorted(), [
      '/console/assets/:file',
      '/console/serial',
      '/console/vnc',
      '/crosscell/v1/images/:id/data',
      '/image/v2/images/:id/file',
    ]);
  });

  it('says how to log in where a 401 may be', () => {
    const { responses } = document['components'] as { responses: Operation['responses'] };
    assert.deepEqual(Object.keys(responses['unauthorized']?.headers ?? {}), ['www-authenticate']);
    for (const path of ['/identity/v3/auth/tokens', '/compute/v2.1/servers'])
      assert.deepEqual(paths[path]?.['post']?.responses['401'], { $ref: '#/components/responses/unauthorized' });
  });

  it('says in which headers a token is shown and told, and what data is', () => {
    const [token, data] = [paths['/identity/v3/auth/tokens'], paths['/image/v2/images/{id}/file']];
    assert.deepEqual(Object.keys(token?.['post']?.responses['201']?.headers ?? {}), ['x-subject-token']);
    assert.ok(token?.['get']?.parameters.some((each) => each.in === 'header' && each.name === 'x-subject-token'));
    for (const status of ['200', '206'])
      assert.deepEqual(Object.keys(data?.['get']?.responses[status]?.content ?? {}), ['application/octet-stream']);
  });

  it('says what an answer looks like that is always a refusal, and one that offers choices', () => {
    const gone = paths['/compute/v2.1/os-fping']?.['get']?.responses['410'];
    assert.deepEqual(gone, { $ref: '#/components/responses/computeError' });
    assert.ok(paths['/volume']?.['get']?.responses['300']?.content);
  });

  it('has only schemas that something can be checked against', () => {
    const compiles = (what: string, check: () => unknown): void => {
      try {
        check();
      } catch (error) {
        // What is checked need not be right.
        if (!(error instanceof ApiError)) throw new Error(what, { cause: error });
      }
    };
    for (const route of routes) {
      const what = `${route.method} ${route.url}`;
      for (const schema of [route.params, route.query]) if (schema) compiles(what, () => checkText(schema, {}));
      const variants = (route.variants ?? []).map(({ schema }) => schema);
      const answers = Object.values(route.answers).filter((schema) => schema !== null);
      for (const schema of [...bodySchemas(route), ...variants, ...answers]) {
        compiles(what, () => mismatch(schema, null));
      }
    }
  });

  it('says of every body, and of each of its schemas, at which microversions it counts', () => {
    let stated = 0;
    for (const route of routes) {
      const content = operationOf(route).requestBody?.content;
      assert.equal(content !== undefined, route.body !== undefined || route.rawBody === true, route.url);
      if (content === undefined || route.rawBody || versionsOf(route.service) === null) continue;
      for (const { schema } of Object.values(content)) {
        const several = schema['x-openstack']['discriminator'] !== undefined;
        for (const each of several ? (schema.anyOf ?? []) : [schema]) {
          assert.match(each['x-openstack']['min-ver'] ?? '', /^[23]\.[0-9]+$/, `${route.method} ${route.url}`);
          stated += 1;
        }
        if (route.body && isVersioned(route.body)) assert.equal(schema.anyOf?.length, route.body.byVersion.length);
      }
    }
    assert.ok(stated > 100, String(stated));
  });

  it('has each action at each of its microversions once', () => {
    const action = paths['/compute/v2.1/servers/{id}/action']?.['post'];
    const schemas = action?.requestBody?.content['application/json']?.schema.anyOf ?? [];
    const ranges = Map.groupBy(schemas, (each) => each['x-openstack']['action-name']);
    assert.deepEqual(
      ranges.get('os-getVNCConsole')?.map((each) => each['x-openstack']),
      [{ 'action-name': 'os-getVNCConsole', 'min-ver': '2.1', 'max-ver': '2.5' }],
    );
    assert.deepEqual(
      ranges.get('migrate')?.map((each) => [each['x-openstack']['min-ver'], each['x-openstack']['max-ver']]),
      [
        ['2.1', '2.55'],
        ['2.56', undefined],
      ],
    );
    for (const [name, each] of ranges) assert.ok(each.length <= 8, `${name} has ${each.length} schemas`);
  });
});
