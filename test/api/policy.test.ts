// Rules from a file, asked over HTTP: narrower than the defaults, about single records, and changed while it runs.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { openPolicies } from '../../src/control/policies.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type FuzzWorld, fuzzWorld } from '../fuzz/world.ts';

const directory = mkdtempSync(join(tmpdir(), 'crosscell-policy-'));
const file = join(directory, 'policy.yaml');
let now = 0;
let world: FuzzWorld;
let server: string;

before(async () => {
  writeFileSync(file, '{}');
  world = await fuzzWorld(openPolicies(file, pino({ level: 'silent' }), { ...systemClock, now: () => now }));
  world.people['boss'] = { userId: 'u8', projectId: 'p2', roles: ['boss', 'reader'] };
  const row = await world.p.stores.global.selectFrom('server_mappings').select('server_id').executeTakeFirstOrThrow();
  server = row.server_id;
});
after(async () => {
  await world[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

function rules(text: string): void {
  writeFileSync(file, text);
  now += 1000;
}

async function call(who: string, method: 'GET' | 'POST', path: string, payload?: object): Promise<[number, string]> {
  const response = await world.app.inject({
    method,
    url: path,
    headers: { 'x-auth-token': who, 'openstack-api-version': 'compute 2.90' },
    ...(payload ? { payload } : {}),
  });
  return [response.statusCode, response.body];
}
const show = (who: string) => call(who, 'GET', `/compute/v2.1/servers/${server}`);

test("a rule about the user is asked about the server's, not about the actor's own", async () => {
  rules('"os_compute_api:servers:show": "rule:context_is_admin or user_id:%(user_id)s"');
  assert.equal((await show('admin'))[0], 200);
  const [status, body] = await show('member');
  assert.equal(status, 403);
  assert.equal(JSON.parse(body).forbidden.message, "Policy doesn't allow os_compute_api:servers:show to be performed.");
  assert.equal((await show('stranger'))[0], 404);
});

test('an action of a server is asked by its own rule', async () => {
  rules('"os_compute_api:os-lock-server:lock": "!"');
  const act = (body: object) => call('member', 'POST', `/compute/v2.1/servers/${server}/action`, body);
  const [status, body] = await act({ lock: null });
  assert.equal(status, 403);
  assert.match(body, /os-lock-server:lock to be performed/);
  assert.equal((await act({ unlock: null }))[0], 202);
});

test('who is an administrator is the rules to say', async () => {
  rules('');
  assert.equal((await show('boss'))[0], 404);
  rules('"context_is_admin": "role:boss"');
  assert.equal((await show('boss'))[0], 200);
  assert.equal((await call('admin', 'GET', '/compute/v2.1/os-hypervisors'))[0], 403);
});

test('a changed file that is wrong changes nothing, and administrators see why', async () => {
  rules('"os_compute_api:servers:show": "!"');
  assert.equal((await show('member'))[0], 403);
  rules('"os_compute_api:servers:show": "rule:"');
  assert.equal((await show('member'))[0], 403);
  const [status, body] = await call('admin', 'GET', '/crosscell/v1/policy');
  assert.equal(status, 200);
  assert.match(JSON.parse(body).policy.refused, /servers:show: there is no rule ''/);
  rules('{}');
  assert.equal((await show('member'))[0], 200);
});

test('what compute does at another service asks the rules of that service, too', async () => {
  const row = await world.p.stores.global.selectFrom('images').select('id').executeTakeFirstOrThrow();
  const wish = { name: 'a', flavorRef: '1', imageRef: row.id };
  const volume = { source_type: 'blank', destination_type: 'volume', volume_size: 1 };
  const onDisk = { uuid: row.id, source_type: 'image', destination_type: 'local', boot_index: 0 };
  const network = await world.p.stores.global
    .selectFrom('networks')
    .select('id')
    .where('shared', '=', 1)
    .executeTakeFirstOrThrow();
  const action = `/servers/${server}/action`;
  const within: readonly (readonly [rule: string, path: string, body: object])[] = [
    ['create_port', '/servers', { server: { ...wish, networks: [{ uuid: network.id }] } }],
    ['create_port', '/servers', { server: { ...wish, networks: 'auto' } }],
    ['create_port', `/servers/${server}/os-interface`, { interfaceAttachment: { net_id: network.id } }],
    ['volume:create', '/servers', { server: { ...wish, networks: 'none', block_device_mapping_v2: [onDisk, volume] } }],
    ['update_port', action, { addSecurityGroup: { name: 'default' } }],
    ['update_port', action, { removeSecurityGroup: { name: 'default' } }],
    ['add_image', action, { createImage: { name: 'a' } }],
    ['upload_image', action, { createBackup: { name: 'a', backup_type: 'daily', rotation: 1 } }],
  ];
  for (const [rule, path, body] of within) {
    rules(`"${rule}": "!"`);
    const [status, answer] = await call('member', 'POST', `/compute/v2.1${path}`, body);
    assert.deepEqual([rule, path, status], [rule, path, 403]);
    assert.ok(JSON.parse(answer).forbidden.message.includes(rule), answer);
  }
  const behind = world.routes.filter((each) => each.behind !== undefined);
  assert.ok(behind.length > 20);
  for (const route of behind) {
    const ask = async (): Promise<number> =>
      (
        await world.app.inject({
          ...{
            method: route.method,
            url: route.url.replace('/servers/:id', `/servers/${server}`).replace(':id', row.id),
          },
          headers: { 'x-auth-token': 'member', 'openstack-api-version': `compute 2.${route.until ?? 90}` },
        })
      ).statusCode;
    rules(`"${route.behind?.rule}": "!"`);
    assert.equal(await ask(), 403, `${route.method} ${route.url}`);
    rules('{}');
    assert.notEqual(await ask(), 403, `${route.method} ${route.url}`);
  }
});

test('what is shown of flavors, hosts and volumes has rules of its own', async () => {
  const flavors = async (who: string) =>
    JSON.parse((await call(who, 'GET', '/compute/v2.1/flavors/detail'))[1]).flavors;
  const shown = async (who: string) => JSON.parse((await show(who))[1]).server;
  rules('{}');
  assert.ok('extra_specs' in (await flavors('member'))[0]);
  assert.ok('extra_specs' in (await shown('member')).flavor);
  assert.ok(!('host_status' in (await shown('member'))) && 'host_status' in (await shown('admin')));
  rules(`
"os_compute_api:os-flavor-extra-specs:index": "!"
"os_compute_api:servers:show:flavor-extra-specs": "rule:context_is_admin"
"os_compute_api:servers:show:host_status": "@"
`);
  assert.ok(!('extra_specs' in (await flavors('admin'))[0]));
  assert.ok(!('extra_specs' in (await shown('member')).flavor) && 'extra_specs' in (await shown('admin')).flavor);
  const server = await shown('member');
  assert.ok('host_status' in server && !('OS-EXT-SRV-ATTR:host' in server));
  rules(`
"os_compute_api:servers:show:host_status": "!"
"os_compute_api:servers:show:host_status:unknown-only": "@"
`);
  assert.ok(!('host_status' in (await shown('admin'))), 'its host is known');
});

test('a flavor without a disk is for whom its rule allows it', async () => {
  const { flavor } = JSON.parse(
    (
      await call('admin', 'POST', '/compute/v2.1/flavors', {
        flavor: { name: 'diskless', ram: 64, vcpus: 1, disk: 0 },
      })
    )[1],
  );
  const image = await world.p.stores.global.selectFrom('images').select('id').executeTakeFirstOrThrow();
  const create = () =>
    call('member', 'POST', '/compute/v2.1/servers', {
      server: { name: 'a', flavorRef: flavor.id, imageRef: image.id, networks: 'none' },
    });
  rules('{}');
  assert.match((await create())[1], /Only volume-backed servers are allowed for flavors with zero disk/);
  rules('"os_compute_api:servers:create:zero_disk_flavor": "@"');
  assert.equal((await create())[0], 202);
});
