// Definitions of metadata, over HTTP.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type TestSystem, testSystem } from './system.ts';

/** Of an error of the image service. */
const messageOf = (json: { readonly error?: { readonly message: string } }): string => json.error?.message ?? '';

const NS = '/image/v2/metadefs/namespaces';
const PROPERTY = { name: 'cpu', title: 'CPU', type: 'string', enum: ['one', 'two'], default: 'one' };

let s: TestSystem;
before(async () => {
  s = await testSystem({ cells: 1, hostsPerCell: 1 });
});
after(() => s[Symbol.asyncDispose]());

const created = async (name: string, more: object = {}) => {
  const made = await s.admin('POST', NS, { namespace: name, visibility: 'public', ...more });
  assert.equal(made.status, 201, made.text);
  return made.json;
};
const names = (list: readonly { readonly name: string }[]): string[] => list.map((each) => each.name).toSorted();

test('a namespace is made with all that it holds, shown, changed and deleted', async () => {
  const whole = {
    ...{ display_name: 'Whole', description: 'all of it' },
    resource_type_associations: [{ name: 'OS::Nova::Flavor', prefix: 'hw:' }, { name: 'My::Own::Type' }],
    properties: { cpu: { title: 'CPU', type: 'string' } },
    objects: [
      { name: 'box', required: ['size'], properties: { size: { title: 'Size', type: 'integer', minimum: 1 } } },
    ],
    tags: [{ name: 'one' }],
  };
  const made = await created('whole', whole);
  assert.deepEqual(
    [made.owner, made.protected, made.self],
    [s.admin.projectId, false, '/v2/metadefs/namespaces/whole'],
  );
  const shown = (await s.alice('GET', `${NS}/whole`)).json;
  assert.deepEqual(shown, made);
  assert.deepEqual(shown.objects[0].properties, whole.objects[0]?.properties);
  const prefixed = (await s.alice('GET', `${NS}/whole?resource_type=OS::Nova::Flavor`)).json;
  assert.deepEqual(Object.keys(prefixed.properties), ['hw:cpu']);
  assert.deepEqual(
    [prefixed.objects[0].required, Object.keys(prefixed.objects[0].properties)],
    [['hw:size'], ['hw:size']],
  );
  const types = names((await s.alice('GET', '/image/v2/metadefs/resource_types')).json.resource_types);
  assert.ok(types.includes('My::Own::Type') && types.includes('OS::Glance::Image'));

  const changed = await s.admin('PUT', `${NS}/whole`, { namespace: 'renamed', protected: true });
  assert.deepEqual([changed.status, changed.json.visibility, changed.json.display_name], [200, 'private', undefined]);
  assert.equal((await s.admin('GET', `${NS}/whole`)).status, 404);
  assert.equal((await s.admin('GET', `${NS}/renamed`)).json.tags.length, 1);
  const kept = await s.admin('DELETE', `${NS}/renamed`);
  assert.deepEqual(
    [kept.status, messageOf(kept.json)],
    [403, 'Metadata definition namespace renamed is protected and cannot be deleted.'],
  );
  assert.equal((await s.admin('DELETE', `${NS}/renamed/tags`)).status, 403);
  assert.equal((await s.admin('PUT', `${NS}/renamed`, { namespace: 'renamed' })).status, 200);
  assert.equal((await s.admin('DELETE', `${NS}/renamed`)).status, 204);
  assert.equal((await s.admin('DELETE', `${NS}/renamed`)).status, 404);
});

test('properties, objects and tags are made, listed, changed and deleted, each by its name', async () => {
  await created('parts');
  for (const [kind, body, changed] of [
    ['properties', PROPERTY, { ...PROPERTY, title: 'Processor' }],
    ['objects', { name: 'cpu', description: 'a' }, { name: 'cpu', description: 'b' }],
  ] as const) {
    const url = `${NS}/parts/${kind}`;
    const made = await s.admin('POST', url, body);
    assert.equal(made.status, 201, made.text);
    const again = await s.admin('POST', url, body);
    assert.equal(again.status, 409);
    assert.match(messageOf(again.json), /with name=cpu already exists in namespace=parts\.$/);
    assert.equal((await s.admin('PUT', `${url}/cpu`, changed)).status, 200);
    const { json } = await s.alice('GET', `${url}/cpu`);
    assert.deepEqual({ ...json, ...changed }, json);
    assert.equal((await s.admin('PUT', `${url}/cpu`, { ...changed, name: 'other' })).status, 200);
    assert.equal((await s.alice('GET', `${url}/cpu`)).status, 404);
    assert.equal((await s.admin('DELETE', `${url}/other`)).status, 204);
    assert.equal((await s.admin('DELETE', `${url}/other`)).status, 404);
    assert.equal((await s.admin('POST', url, body)).status, 201);
    assert.equal((await s.admin('DELETE', url)).status, 204);
    assert.equal(Object.keys((await s.alice('GET', url)).json[kind]).length, 0);
  }
  const tags = `${NS}/parts/tags`;
  assert.equal((await s.admin('POST', `${tags}/First`)).status, 201);
  const same = await s.admin('POST', `${tags}/first`);
  assert.match(messageOf(same.json), /tag names are case insensitive/);
  assert.equal((await s.admin('POST', tags, { tags: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] })).status, 201);
  assert.deepEqual(names((await s.alice('GET', tags)).json.tags), ['a', 'b', 'c']);
  assert.deepEqual((await s.alice('GET', `${tags}?sort_key=name&sort_dir=asc&marker=a&limit=1`)).json.tags, [
    { name: 'b' },
  ]);
  assert.equal((await s.alice('GET', `${tags}?marker=none`)).status, 404);
  assert.equal((await s.admin('PUT', `${tags}/b`, { name: 'd' })).json.name, 'd');
  assert.equal((await s.admin('PUT', `${tags}/d`, { name: 'A' })).status, 409);
});

test('associations are made and ended; a property is found by its prefix', async () => {
  await created('linked', { properties: { cpu: { title: 'CPU', type: 'string' } } });
  const url = `${NS}/linked/resource_types`;
  assert.equal((await s.admin('POST', url, { name: 'OS::Glance::Image', prefix: 'hw_' })).status, 201);
  assert.equal((await s.admin('POST', url, { name: 'OS::Glance::Image' })).status, 409);
  const by = (name: string) => s.alice('GET', `${NS}/linked/properties/${name}?resource_type=OS::Glance::Image`);
  assert.equal((await by('hw_cpu')).json.name, 'cpu');
  assert.match(messageOf((await by('cpu')).json), /does not start with the expected .* prefix of 'hw_'/);
  assert.equal((await s.admin('DELETE', `${url}/OS::Glance::Image`)).status, 204);
  const gone = await s.admin('DELETE', `${url}/OS::Glance::Image`);
  assert.deepEqual(
    [gone.status, messageOf(gone.json)],
    [404, 'Failed to find resource type OS::Glance::Image to delete'],
  );
});

test('private ones are there for their project, public ones for all; administrators alone write', async () => {
  await created('secret', { visibility: 'private' });
  await created('open');
  const seen = async (client: typeof s.alice) =>
    (await client('GET', NS)).json.namespaces.map((each: { namespace: string }) => each.namespace);
  assert.ok((await seen(s.admin)).includes('secret'));
  const others = await seen(s.alice);
  assert.ok(others.includes('open') && !others.includes('secret'));
  assert.equal((await s.alice('GET', `${NS}/secret`)).status, 404);
  assert.equal((await s.alice('GET', `${NS}/secret/objects`)).status, 404);
  assert.equal((await s.alice('POST', NS, { namespace: 'mine' })).status, 403);
  assert.equal((await s.alice('POST', `${NS}/open/tags/a`)).status, 403);
  assert.equal((await s.admin('POST', NS, { namespace: 'open' })).status, 409);
  assert.equal((await s.admin('POST', NS, { namespace: 'x', surprise: 1 })).status, 400);
  const page = (await s.admin('GET', `${NS}?limit=1&sort_dir=asc&visibility=public`)).json;
  assert.equal(page.namespaces.length, 1);
  assert.match(page.next, /^\/v2\/metadefs\/namespaces\?.*marker=/);
  const next = (await s.admin('GET', `/image${page.next}`)).json;
  assert.notEqual(next.namespaces[0].namespace, page.namespaces[0].namespace);
});
