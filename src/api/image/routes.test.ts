import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { deleteImage } from '../../control/images/records.ts';
import { type ImageWorld, imageWorld, member, qcow2 } from '../../control/images/testing.ts';
import { newId } from '../../lib/ids.ts';
import type { Principal } from '../../model/types.ts';
import { buildApp } from '../http/app.ts';
import { hostImageRoutes } from './data.ts';
import { imageRoutes } from './routes.ts';

const people: Record<string, Principal> = {
  admin: { userId: 'u0', projectId: 'p0', roles: ['admin'] },
  member: { userId: 'u1', projectId: 'p1', roles: ['member'] },
  stranger: { userId: 'u2', projectId: 'p2', roles: ['member'] },
  reader: { userId: 'u3', projectId: 'p1', roles: ['reader'] },
};
const SECRET = 'fleet-secret-for-tests';
const PATCH = 'application/openstack-images-v2.1-json-patch';

let world: ImageWorld;
let app: FastifyInstance;

before(async () => {
  world = await imageWorld();
  const tokens = { principalOf: async (token: string) => people[token] ?? null };
  const routes = [...imageRoutes, ...hostImageRoutes(SECRET)];
  app = await buildApp({ platform: world.p, tokens, routes, checkAnswers: true });
});
after(async () => {
  await app.close();
  await world[Symbol.asyncDispose]();
});

type Method = NonNullable<InjectOptions['method']>;
async function call(
  who: string,
  method: Method,
  path: string,
  payload?: object | Buffer,
  type = 'application/json',
  more: Readonly<Record<string, string>> = {},
) {
  const body = payload === undefined ? {} : { payload: Buffer.isBuffer(payload) ? payload : JSON.stringify(payload) };
  const headers = { 'x-auth-token': who, ...(payload === undefined ? {} : { 'content-type': type }), ...more };
  const answer = await app.inject({ method, url: `/image/v2/${path}`, headers, ...body });
  const isJson = String(answer.headers['content-type']).startsWith('application/json');
  return {
    status: answer.statusCode,
    headers: answer.headers,
    raw: answer.rawPayload,
    body: isJson ? answer.json() : null,
  };
}

test('the walk of the openstack client: create, upload, show, list by name, delete', async () => {
  const made = await call('member', 'POST', 'images', {
    ...{ name: 'img1', container_format: 'bare', disk_format: 'qcow2', 'owner_specified.openstack.md5': '' },
    ...{ 'owner_specified.openstack.sha256': '', 'owner_specified.openstack.object': 'images/img1' },
  });
  assert.equal(made.status, 201);
  const { id } = made.body;
  assert.equal(made.headers['location'], `http://127.0.0.1:8774/image/v2/images/${id}`);
  assert.deepEqual(
    [made.body.status, made.body.visibility, made.body.owner, made.body.size, made.body.file, made.body.schema],
    ['queued', 'shared', 'p1', null, `/v2/images/${id}/file`, '/v2/schemas/image'],
  );
  assert.equal(made.body['owner_specified.openstack.object'], 'images/img1');
  assert.equal((await call('member', 'GET', `images/${id}/file`)).status, 204, 'no data yet');

  const data = qcow2();
  assert.equal((await call('member', 'PUT', `images/${id}/file`, data, 'application/octet-stream')).status, 204);
  const shown = (await call('member', 'GET', `images/${id}`)).body;
  assert.deepEqual(
    [shown.status, shown.size, shown.virtual_size, shown.checksum, shown.os_hash_algo, shown.os_hash_value],
    [
      ...['active', data.length, 1024 * 1024, createHash('md5').update(data).digest('hex')],
      ...['sha512', createHash('sha512').update(data).digest('hex')],
    ],
  );
  const got = await call('member', 'GET', `images/${id}/file`);
  assert.deepEqual(got.raw, data);
  assert.equal(got.headers['content-length'], String(data.length));
  assert.equal(got.headers['content-md5'], shown.checksum);
  const head = await call('member', 'HEAD', `images/${id}/file`);
  assert.deepEqual([head.status, head.headers['content-length'], head.raw.length], [200, String(data.length), 0]);

  const partOf = (range: string) => call('member', 'GET', `images/${id}/file`, undefined, undefined, { range });
  const part = await partOf('bytes=0-3');
  assert.deepEqual(
    [part.status, part.raw, part.headers['content-length'], part.headers['content-range']],
    [206, data.subarray(0, 4), '4', `bytes 0-3/${data.length}`],
  );
  assert.equal(part.headers['content-md5'], undefined);
  const beyond = await partOf(`bytes=${data.length}-`);
  assert.deepEqual([beyond.status, beyond.headers['content-range']], [416, `bytes */${data.length}`]);

  const named = await call('member', 'GET', 'images/img1');
  assert.deepEqual(
    [named.status, named.body],
    [404, { error: { code: 404, title: 'Not Found', message: 'No image found with ID img1' } }],
  );
  const list = await call('member', 'GET', 'images?name=img1&sort_key=name&sort_dir=asc&limit=5');
  assert.deepEqual([list.body.images.length, list.body.images[0].id, list.body.next], [1, id, undefined]);
  const other = (await call('member', 'POST', 'images', { name: 'img1', disk_format: 'raw', min_ram: 1 })).body.id;
  const sorted = async (order: string) => {
    const { status, body } = await call('member', 'GET', `images?name=img1&${order}`);
    return status === 200 ? body.images.map((each: { id: string }) => each.id) : [status, body.error.message];
  };
  assert.deepEqual(await sorted('sort_key=name&sort_key=id&sort_dir=asc'), [id, other].toSorted());
  assert.deepEqual(
    await sorted('sort_key=name&sort_key=id&sort_dir=asc&sort_dir=desc'),
    [id, other].toSorted().reverse(),
  );
  assert.deepEqual(await sorted('sort_dir=asc&sort_dir=asc'), [
    ...[400, 'Number of sort dirs does not match the number of sort keys'],
  ]);
  assert.deepEqual(await sorted('sort=name&sort_key=id'), [400, 'Old and new sorting syntax cannot be combined']);
  assert.equal((await call('member', 'DELETE', `images/${other}`)).status, 204);
  assert.equal((await call('stranger', 'GET', `images/${id}`)).status, 404);
  assert.equal((await call('stranger', 'GET', `images/${id}/file`)).status, 404);
  assert.equal((await call('member', 'DELETE', `images/${id}`)).status, 204);
  assert.equal((await call('member', 'GET', `images/${id}`)).status, 404);
  assert.equal((await call('member', 'DELETE', `images/${id}`)).status, 404);
});

test('hosts fetch data with the fleet secret, also of an image whose owner deleted it', async () => {
  const { id } = (await call('member', 'POST', 'images', { disk_format: 'raw', container_format: 'bare' })).body;
  const data = Buffer.alloc(70_000, 3);
  await call('member', 'PUT', `images/${id}/file`, data, 'application/octet-stream');
  const fetchIt = (authorization?: string, image = id) =>
    app.inject({
      url: `/crosscell/v1/images/${image}/data`,
      headers: authorization === undefined ? {} : { authorization },
    });
  for (const wrong of [undefined, '', 'Bearer ', `Bearer ${SECRET}x`, SECRET, `Basic ${SECRET}`])
    assert.equal((await fetchIt(wrong)).statusCode, 401, wrong ?? 'no header');
  const got = await fetchIt(`Bearer ${SECRET}`);
  assert.deepEqual([got.statusCode, got.headers['content-length']], [200, '70000']);
  assert.deepEqual(got.rawPayload, data);
  assert.equal(await deleteImage(world.p, member, id), null);
  assert.equal((await fetchIt(`Bearer ${SECRET}`)).statusCode, 200);
  assert.equal((await fetchIt(`Bearer ${SECRET}`, newId())).statusCode, 404);
  assert.equal((await fetchIt(`Bearer ${SECRET}`, '..%2F..%2Fetc%2Fpasswd')).statusCode, 404);
  // A deployment that forgot to set a secret lets nobody in.
  const open = await buildApp({
    platform: world.p,
    tokens: { principalOf: async () => null },
    routes: hostImageRoutes(''),
  });
  const answer = await open.inject({ url: `/crosscell/v1/images/${id}/data`, headers: { authorization: 'Bearer ' } });
  assert.equal(answer.statusCode, 401);
  await open.close();
});

test('patches, tags and their errors', async () => {
  const { id } = (await call('member', 'POST', 'images', { name: 'p', os_type: 'linux' })).body;
  const patch = (ops: object, who = 'member', type = PATCH) => call(who, 'PATCH', `images/${id}`, ops, type);
  const done = await patch([
    { op: 'replace', path: '/name', value: 'q' },
    { op: 'add', path: '/a~1b~0c', value: 'v' },
    { op: 'remove', path: '/os_type' },
  ]);
  assert.equal(done.status, 200);
  assert.deepEqual([done.body.name, done.body['a/b~c'], done.body.os_type], ['q', 'v', undefined]);
  const refused: readonly [object, number, RegExp][] = [
    [[{ op: 'replace', path: '/nope', value: 'x' }], 409, /nope/],
    [[{ op: 'replace', path: '/status', value: 'active' }], 403, /status/],
    [[{ op: 'replace', path: '/name' }], 400, /value/],
    [[{ op: 'replace', path: '/tags/0', value: 'x' }], 400, /pointer/],
    [[{ op: 'test', path: '/name', value: 'x' }], 400, /op/],
    [[{ op: 'replace', path: 'name', value: 'x' }], 400, /path/],
    [[{ op: 'replace', path: '/visibility', value: 'public' }], 403, /publicize_image/],
    [{ op: 'replace' }, 400, /array/],
  ];
  for (const [ops, status, sentence] of refused) {
    const answer = await patch(ops);
    assert.equal(answer.status, status, JSON.stringify([ops, answer.body]));
    assert.match(answer.body.error.message, sentence);
  }
  assert.equal((await patch([], 'member', 'application/json')).status, 415);
  assert.equal((await patch([], 'reader')).status, 403);
  assert.equal((await patch([{ op: 'replace', path: '/visibility', value: 'public' }], 'admin')).status, 200);
  assert.equal((await patch([{ op: 'replace', path: '/name', value: 'x' }], 'stranger')).status, 403);
  assert.equal((await call('member', 'PUT', `images/${id}/tags/t1`)).status, 204);
  assert.deepEqual((await call('stranger', 'GET', `images/${id}`)).body.tags, ['t1']);
  assert.equal((await call('member', 'DELETE', `images/${id}/tags/t1`)).status, 204);
  assert.equal((await call('member', 'DELETE', `images/${id}/tags/t1`)).status, 404);
});

test('bodies and queries that are not as they must be', async () => {
  const bodies: readonly [object, number, RegExp][] = [
    [{ name: 7 }, 400, /name/],
    [{ name: 'x'.repeat(256) }, 400, /name/],
    [{ disk_format: 'tape' }, 400, /disk_format/],
    [{ container_format: 'box' }, 400, /container_format/],
    [{ visibility: 'secret' }, 400, /visibility/],
    [{ min_disk: -1 }, 400, /min_disk/],
    [{ min_ram: '7' }, 400, /min_ram/],
    [{ id: '../../etc/passwd' }, 400, /id/],
    [{ some_property: 7 }, 400, /some_property/],
    [{ some_property: 'x'.repeat(256) }, 400, /some_property/],
    [{ tags: ['a', 7] }, 400, /1|tags/],
    [{ status: 'active' }, 403, /status/],
    [{ size: '7' }, 403, /size/],
    [{ visibility: 'public' }, 403, /publicize_image/],
    [[], 400, /object/],
  ];
  const count = async () => (await world.p.stores.global.selectFrom('images').select('id').execute()).length;
  const before = await count();
  for (const [body, status, sentence] of bodies) {
    const answer = await call('member', 'POST', 'images', body);
    assert.equal(answer.status, status, JSON.stringify([body, answer.body]));
    assert.match(answer.body.error.message, sentence);
  }
  assert.equal(await count(), before);
  for (const query of ['limit=-1', 'limit=x', 'sort_key=password', 'sort_dir=up', 'sort=name:up', `marker=${newId()}`])
    assert.equal((await call('member', 'GET', `images?${query}`)).status, 400, query);
  const many = Array.from({ length: 1100 }, (_, i) => `p${i}=`).join('&');
  assert.equal((await call('member', 'GET', `images?${many}`)).status, 400, 'more conditions than a statement takes');
});

test('pages meet and are linked the way Glance links them', async () => {
  for (let i = 0; i < 5; i += 1) await call('stranger', 'POST', 'images', { name: `paged${i}` });
  const walked: string[] = [];
  let path: string | undefined = 'images?limit=2&owner=p2&sort=name:asc';
  for (let pages = 0; path !== undefined; pages += 1) {
    assert.ok(pages < 4, 'three pages are enough');
    const { body } = await call('stranger', 'GET', path);
    walked.push(...body.images.map((image: { name: string }) => image.name));
    assert.match(body.first, /^\/v2\/images\?limit=2&/);
    path = body.next?.slice('/v2/'.length);
  }
  assert.deepEqual(walked, ['paged0', 'paged1', 'paged2', 'paged3', 'paged4']);
});

test('schemas say what an image looks like', async () => {
  const { name, properties, ...rest } = (await call('member', 'GET', 'schemas/image')).body;
  assert.equal(name, 'image');
  // python-glanceclient makes an image bit by bit, and checks each.
  assert.deepEqual(rest, { type: 'object', additionalProperties: { type: 'string' } });
  assert.deepEqual(properties.size, { type: ['integer', 'null'], readOnly: true });
  assert.deepEqual([properties.disk_format.type, properties.disk_format.enum[0]], [['string', 'null'], null]);
  assert.equal((await call('member', 'GET', 'schemas/images')).body.name, 'images');
});

test('lists are filtered by several values of a field, and by times', async () => {
  const make = async (name: string): Promise<{ id: string; created_at: string }> => {
    const { status, body, headers } = await call('member', 'POST', 'images', { name, disk_format: 'raw' });
    assert.equal(status, 201);
    assert.match(String(headers['openstack-image-import-methods']), /^glance-direct/);
    return body;
  };
  const one = await make('filtered:1');
  world.advance(5000);
  const two = await make('filtered, 2');
  const namesOf = async (query: string): Promise<string[]> => {
    const { status, body } = await call('member', 'GET', `images?owner=p1&sort=created_at:asc&${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.images.map(({ name }: { name: string }) => name).filter((name: string) => name?.startsWith('filtered'));
  };
  const both = ['filtered:1', 'filtered, 2'];
  for (const [query, expected] of [
    ['name=filtered:1', ['filtered:1']],
    ['name=eq:filtered:1', ['filtered:1']],
    [`name=in:${encodeURIComponent('filtered:1,"filtered, 2"')}`, both],
    [`id=in:${one.id},${two.id}`, both],
    ['status=in:queued,active', both],
    ['status=in:', []],
    ['disk_format=in:raw,qcow2', both],
    ['disk_format=in:qcow2', []],
    ['min_ram=0&min_disk=0', both],
    ['min_disk=1', []],
    ['checksum=none', []],
    [`created_at=gt:${one.created_at}`, ['filtered, 2']],
    [`created_at=gte:${one.created_at}`, both],
    [`created_at=lte:${one.created_at}`, ['filtered:1']],
    [`created_at=lt:${one.created_at}`, []],
    [`created_at=${one.created_at}`, ['filtered:1']],
    [`updated_at=neq:${one.created_at}`, ['filtered, 2']],
  ] as const) {
    assert.deepEqual(await namesOf(query), expected, query);
  }
  assert.equal((await call('member', 'GET', 'images?created_at=foo')).status, 400);
});

test('a member answers an image that is shared with it, as the openstack client sends that', async () => {
  const { id } = (await call('member', 'POST', 'images', { name: 'shared', visibility: 'shared' })).body;
  assert.equal((await call('member', 'POST', `images/${id}/members`, { member: 'p2' })).status, 200);
  const answered = await call('stranger', 'PUT', `images/${id}/members/p2`, { status: 'accepted', member: 'p2' });
  assert.deepEqual([answered.status, answered.body.status], [200, 'accepted']);
  assert.equal((await call('stranger', 'PUT', `images/${id}/members/p2`, { status: 'perhaps' })).status, 400);
  assert.equal((await call('member', 'DELETE', `images/${id}`)).status, 204);
});
