// Every request that Tempest knows and that can be made again and again, at every microversion at which its answer changes.
//
// The answers are held against Tempest's schemas by the system itself (check.ts): one that Tempest would refuse is a 500.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { computeRoutes } from '../../../src/api/compute/routes.ts';
import type { Route } from '../../../src/api/http/route.ts';
import { blockStorageRoutes } from '../../../src/api/volume/routes.ts';
import { type Client, type TestSystem, testSystem, waitFor } from '../../api/system.ts';
import { type Expectations, type ExpectedCall, expectations, whyNoTempest } from './tempest.ts';

/** What stands for the id behind a segment of a path. */
type Ids = Readonly<Record<string, string | ((minor: number) => string)>>;

/** Bodies of requests that change nothing that another one needs, by method and path. */
const BODIES: Readonly<Record<string, (ids: Ids) => unknown>> = {
  'PUT compute/servers/*': () => ({ server: { name: 'renamed' } }),
  'PUT compute/servers/*/metadata': () => ({ metadata: { key: 'value' } }),
  'POST compute/servers/*/metadata': () => ({ metadata: { key: 'value' } }),
  'PUT compute/servers/*/metadata/*': () => ({ meta: { key: 'value' } }),
  'PUT compute/servers/*/tags': () => ({ tags: ['tag'] }),
  'PUT compute/servers/*/tags/*': () => undefined,
  'PUT compute/flavors/*': () => ({ flavor: { description: 'described' } }),
  'POST compute/flavors/*/os-extra_specs': () => ({ extra_specs: { 'hw:cpu_policy': 'shared' } }),
  'PUT compute/flavors/*/os-extra_specs/*': () => ({ 'hw:cpu_policy': 'shared' }),
  'PUT compute/os-aggregates/*': () => ({ aggregate: { name: 'renamed' } }),
  'PUT compute/os-quota-sets/*': () => ({ quota_set: { cores: 40 } }),
  'PUT compute/os-quota-class-sets/*': () => ({ quota_class_set: { cores: 40 } }),
  'PUT volume/volumes/*': () => ({ volume: { name: 'renamed' } }),
  'POST volume/volumes/*/metadata': () => ({ metadata: { key: 'value' } }),
  'PUT volume/volumes/*/metadata': () => ({ metadata: { key: 'value' } }),
  'PUT volume/volumes/*/metadata/*': () => ({ meta: { key: 'value' } }),
  'PUT volume/snapshots/*': () => ({ snapshot: { name: 'renamed' } }),
  'POST volume/snapshots/*/metadata': () => ({ metadata: { key: 'value' } }),
  'PUT volume/snapshots/*/metadata/*': () => ({ meta: { key: 'value' } }),
  'PUT volume/types/*': () => ({ volume_type: { description: 'described' } }),
  'POST volume/types/*/extra_specs': () => ({ extra_specs: { key: 'value' } }),
  'PUT volume/types/*/extra_specs/*': () => ({ key: 'value' }),
  'PUT volume/os-quota-sets/*': () => ({ quota_set: { volumes: 20 } }),
  'lock compute/servers/*/action': () => ({ lock: null }),
  'unlock compute/servers/*/action': () => ({ unlock: null }),
  'os-getConsoleOutput compute/servers/*/action': () => ({ 'os-getConsoleOutput': {} }),
  'os-getVNCConsole compute/servers/*/action': () => ({ 'os-getVNCConsole': { type: 'novnc' } }),
  'POST compute/servers/*/remote-consoles': () => ({ remote_console: { protocol: 'vnc', type: 'novnc' } }),
};

/** Removed from Nova, or not of this hypervisor. */
const GONE: readonly number[] = [410, 501];

describe('answers at every microversion', { skip: whyNoTempest }, () => {
  let world: TestSystem;
  let expected: Expectations;
  let ids: Ids;
  before(async () => {
    const found = await expectations();
    assert.ok(found);
    expected = found;
    world = await testSystem({ cells: 1, hostsPerCell: 2 });
    ids = await furnish(world);
  });
  after(() => world[Symbol.asyncDispose]());

  const nameOf = (call: ExpectedCall): string =>
    `${call.action ?? call.method} ${call.service}/${call.path.map((each) => each ?? '*').join('/')}`;

  it('are what Tempest expects', async () => {
    const failures: string[] = [];
    const answered = new Set<string>();
    for (const [name, calls] of Map.groupBy(expected.calls, nameOf)) {
      const [first] = calls;
      const route = first && routeOf(first);
      if (!first || !route) continue;
      const body = BODIES[name];
      if (first.method !== 'GET' && body === undefined) continue;
      for (const minor of new Set(calls.map((call) => call.from))) {
        const path = isThere(name, route, minor) ? pathOf(first, minor) : null;
        if (path === null) continue;
        const answer = await world.admin(first.method, path, body?.(ids), minor);
        if (answer.status < 400) answered.add(`${name} ${minor}`);
        if (answer.status < 400 || GONE.includes(answer.status)) continue;
        failures.push(`${name} at ${minor}: ${answer.status} ${answer.text.slice(0, 300)}`);
      }
    }
    assert.deepEqual(failures, []);
    assert.ok(answered.size > 400, `${answered.size} were asked`);
  });

  /** Null: nothing stands for an id in it. */
  function pathOf({ service, path }: ExpectedCall, minor: number): string | null {
    const base = BASES[service];
    let result = base;
    let before = '';
    for (const segment of path) {
      const id = ids[`${service}/${before}`] ?? ids[before];
      const part = segment ?? (typeof id === 'function' ? id(minor) : id);
      if (part === undefined) return null;
      before = segment ?? before;
      result += `/${part}`;
    }
    return result;
  }
});

const BASES = { compute: '/compute/v2.1', volume: '/volume/v3' } as const;
const ROUTES = [...computeRoutes, ...blockStorageRoutes];

/** Undefined: there is no such thing here. */
function routeOf({ service, method, path }: ExpectedCall): Route | undefined {
  const url = [BASES[service], ...path.map((segment) => segment ?? ':')].join('/');
  return ROUTES.find((route) => route.method === method && route.url.replaceAll(/:\w+/g, ':') === url);
}

function isThere(name: string, { since = 0, until = Number.POSITIVE_INFINITY }: Route, minor: number): boolean {
  return minor >= since && minor <= until && !(name.startsWith('os-getVNCConsole') && minor >= 6);
}

/** One of everything. */
async function furnish(world: TestSystem): Promise<Ids> {
  const { admin, imageId, networkId } = world;
  const make = async (path: string, body: unknown, minor?: number) => {
    const made = await admin('POST', path, body, minor);
    assert.ok(made.status < 300, `${path}: ${made.text}`);
    return made.json;
  };
  const COMPUTE = '/compute/v2.1';
  const { keypair } = await make(`${COMPUTE}/os-keypairs`, { keypair: { name: 'key' } });
  const group = await make(`${COMPUTE}/os-server-groups`, { server_group: { name: 'g', policies: ['affinity'] } });
  const serverId = await newServer(admin, imageId, networkId, group.server_group.id);
  const { volume } = await make('/volume/v3/volumes', { volume: { size: 1, name: 'v', metadata: { key: 'value' } } });
  await until(admin, `/volume/v3/volumes/${volume.id}`, (json) => json.volume.status === 'available');
  const snapshot = await make('/volume/v3/snapshots', {
    snapshot: { volume_id: volume.id, name: 's', metadata: { key: 'value' } },
  });
  await until(admin, `/volume/v3/snapshots/${snapshot.snapshot.id}`, (json) => json.snapshot.status === 'available');
  await make(`${COMPUTE}/servers/${serverId}/os-volume_attachments`, { volumeAttachment: { volumeId: volume.id } });
  await until(admin, `/volume/v3/volumes/${volume.id}`, (json) => json.volume.status === 'in-use');
  await make(`${COMPUTE}/servers/${serverId}/action`, { resize: { flavorRef: '2' } });
  await waitFor(admin, serverId, ['VERIFY_RESIZE']);
  await make(`${COMPUTE}/servers/${serverId}/action`, { confirmResize: null });
  await waitFor(admin, serverId, ['ACTIVE']);
  const flavor = { name: 'own', ram: 64, vcpus: 1, disk: 1, 'os-flavor-access:is_public': false };
  const { flavor: ownFlavor } = await make(`${COMPUTE}/flavors`, { flavor });
  await make(`${COMPUTE}/flavors/${ownFlavor.id}/os-extra_specs`, { extra_specs: { 'hw:cpu_policy': 'shared' } });
  const { aggregate } = await make(`${COMPUTE}/os-aggregates`, { aggregate: { name: 'a' } });
  const { volume_type } = await make('/volume/v3/types', {
    volume_type: { name: 't', extra_specs: { key: 'value' }, 'os-volume-type-access:is_public': false },
  });
  const get = async (path: string, minor?: number) => (await admin('GET', path, undefined, minor)).json;
  const numbered = (await get(`${COMPUTE}/os-hypervisors`)).hypervisors[0];
  const named = (await get(`${COMPUTE}/os-hypervisors`, 53)).hypervisors[0];
  const actions = (await get(`${COMPUTE}/servers/${serverId}/os-instance-actions`)).instanceActions;
  const ports = (await get(`${COMPUTE}/servers/${serverId}/os-interface`)).interfaceAttachments;
  return {
    servers: serverId,
    metadata: 'key',
    tags: 'tag',
    ips: 'shared',
    flavors: ownFlavor.id,
    'os-extra_specs': 'hw:cpu_policy',
    extra_specs: 'key',
    'os-keypairs': keypair.name,
    'os-server-groups': group.server_group.id,
    'os-aggregates': aggregate.id,
    'os-hypervisors': (minor) => String(minor < 53 ? numbered.id : named.id),
    'os-hosts': numbered.hypervisor_hostname,
    'os-quota-sets': admin.projectId,
    'os-quota-class-sets': 'default',
    'os-simple-tenant-usage': admin.projectId,
    'os-instance_usage_audit_log': '2026-01-01 00:00:00',
    'os-instance-actions': actions[0].request_id,
    'os-interface': ports[0].port_id,
    'os-volume_attachments': volume.id,
    'volume/volumes': volume.id,
    'os-volumes': volume.id,
    'volume/snapshots': snapshot.snapshot.id,
    'os-snapshots': snapshot.snapshot.id,
    'volume/types': volume_type.id,
    extensions: 'os-keypairs',
  };
}

async function newServer(admin: Client, imageRef: string, network: string, group: string): Promise<string> {
  const server = {
    ...{ name: 's', imageRef, flavorRef: '1', networks: [{ uuid: network }] },
    ...{ metadata: { key: 'value' }, tags: ['tag'], description: 'd', key_name: 'key' },
  };
  const made = await admin('POST', '/compute/v2.1/servers', { server, 'os:scheduler_hints': { group } }, 52);
  assert.equal(made.status, 202, made.text);
  await waitFor(admin, made.json.server.id, ['ACTIVE']);
  return made.json.server.id;
}

// biome-ignore lint/suspicious/noExplicitAny: answers of every shape
async function until(admin: Client, path: string, reached: (json: any) => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!reached((await admin('GET', path)).json)) {
    assert.ok(Date.now() < deadline, path);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
