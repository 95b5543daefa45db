// What goes over the wire to Placement, and what its answers are taken for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { type Placement, PlacementRefused, placementOf } from './placement.ts';
import { type FakeOpenstack, fakeOpenstack } from './testing.ts';
import { ServiceDown } from './transport.ts';

const HOST = '5559244d-8156-4f8d-a9f7-30b3b0daf0cc';
const OTHER = '11111111-8156-4f8d-a9f7-30b3b0daf0cc';

const conflict = (code: string) => ({
  status: 409,
  body: { errors: [{ status: 409, title: 'Conflict', detail: 'it is so', code, request_id: 'req-1' }] },
});
const CONCURRENT = conflict('placement.concurrent_update');

const inPlacement = (name: string, body: (placement: Placement, fake: FakeOpenstack) => Promise<void>) =>
  test(name, async () => {
    await using fake = await fakeOpenstack(new VirtualClock());
    await body(placementOf(fake.session), fake);
  });

inPlacement(
  'candidates are asked for by amounts and traits, and are what one provider gives',
  async (placement, fake) => {
    const allocation_requests = [
      { allocations: { [HOST]: { resources: { VCPU: 1 } } } },
      { allocations: { [OTHER]: { resources: { VCPU: 1 } }, [HOST]: { resources: { DISK_GB: 1 } } } },
    ];
    fake.on('/placement/allocation_candidates?', () => ({ status: 200, body: { allocation_requests } }));
    const wish = { resources: { VCPU: 1, MEMORY_MB: 64, DISK_GB: 0 }, traits: ['A', '!B'], only: HOST, limit: 10 };
    const said = await placement.candidates(wish);
    assert.deepEqual(said.kind === 'ok' && said.body, [HOST]);
    const { path = '', headers } = fake.asked.at(-1) ?? {};
    assert.deepEqual(Object.fromEntries(new URLSearchParams(path.split('?')[1])), {
      ...{ resources: 'VCPU:1,MEMORY_MB:64', required: 'A,!B', in_tree: HOST, limit: '10' },
    });
    assert.equal(headers?.['openstack-api-version'], 'placement 1.31');
    const errors = [{ status: 400, title: 'Bad Request', detail: 'No such trait(s): A.' }];
    fake.on('/placement/allocation_candidates?', () => ({ status: 400, body: { errors } }));
    assert.deepEqual(await placement.candidates(wish), {
      kind: 'refused',
      status: 400,
      message: 'No such trait(s): A.',
    });
  },
);

inPlacement(
  'what consumers hold is read with their generation, and written in one request',
  async (placement, fake) => {
    const allocations = { [HOST]: { generation: 7, resources: { VCPU: 1 } } };
    const owner = { project_id: 'p', user_id: 'u' };
    fake.on('/placement/allocations/v', () => ({
      status: 200,
      body: { allocations, consumer_generation: 3, ...owner },
    }));
    fake.on('/placement/allocations/m', () => ({ status: 200, body: { allocations: {} } }));
    const server = await placement.consumption('v');
    assert.deepEqual(server, { held: { [HOST]: { VCPU: 1 } }, generation: 3, projectId: 'p', userId: 'u' });
    const migration = await placement.consumption('m');
    assert.deepEqual([migration.held, migration.generation], [{}, null]);
    const changes = new Map([
      ['v', { ...server, held: {} }],
      ['m', { ...server, generation: null }],
    ]);
    let answer: { status: number; body?: unknown } = { status: 204 };
    fake.on('/placement/allocations', () => answer);
    assert.equal(await placement.write(changes), 'done');
    assert.deepEqual(fake.asked.at(-1)?.body, {
      v: { allocations: {}, consumer_generation: 3, ...owner },
      m: { allocations: { [HOST]: { resources: { VCPU: 1 } } }, consumer_generation: null, ...owner },
    });
    answer = CONCURRENT;
    assert.equal(await placement.write(changes), 'changed');
    answer = conflict('placement.undefined_code');
    assert.deepEqual(await placement.write(changes), { refused: 'it is so' });
    answer = { status: 500 };
    await assert.rejects(placement.write(changes), ServiceDown);
  },
);

inPlacement(
  'a provider is made once, and its inventories are left to operators from then on',
  async (placement, fake) => {
    const said: string[] = [];
    let there: object = {};
    let hindered = true;
    fake.on('/placement/resource_providers', () => ({ status: 200 }));
    fake.on(`/placement/resource_providers/${HOST}`, () => ({ status: 200, body: { uuid: HOST, name: 'h' } }));
    fake.on(`/placement/resource_providers/${HOST}/inventories`, ({ method, body }) => {
      if (method === 'GET') return { status: 200, body: { inventories: there, resource_provider_generation: 4 } };
      if (hindered) {
        hindered = false;
        return CONCURRENT;
      }
      said.push(JSON.stringify(body));
      there = body.inventories;
      return { status: 200, body: {} };
    });
    const inventories = { VCPU: { total: 8, reserved: 0, allocation_ratio: 4 } };
    await placement.ensureProvider(HOST, 'h', inventories);
    assert.deepEqual(said, [JSON.stringify({ resource_provider_generation: 4, inventories })]);
    fake.on('/placement/resource_providers', () => conflict('placement.duplicate_name'));
    await placement.ensureProvider(HOST, 'h', inventories);
    assert.equal(said.length, 1);
    fake.on(`/placement/resource_providers/${HOST}`, () => ({ status: 404 }));
    await assert.rejects(placement.ensureProvider(HOST, 'h', inventories), PlacementRefused, 'another has the name');
  },
);

inPlacement('of traits only ours change; a provider goes, or is still in use', async (placement, fake) => {
  let traits = ['CUSTOM_THEIRS', 'OFF'];
  fake.on('/placement/traits/', () => ({ status: 201 }));
  fake.on(`/placement/resource_providers/${HOST}/traits`, ({ method, body }) => {
    if (method === 'PUT') traits = body.traits;
    return { status: 200, body: { traits, resource_provider_generation: 1 } };
  });
  await placement.setTraits(HOST, ['CUSTOM_OURS'], ['OFF']);
  assert.deepEqual(traits, ['CUSTOM_THEIRS', 'CUSTOM_OURS']);
  const before = fake.asked.length;
  await placement.setTraits(HOST, ['CUSTOM_OURS'], ['OFF']);
  assert.equal(fake.asked.length, before + 2, 'nothing is written that is there');
  fake.on(`/placement/resource_providers/${HOST}`, () => ({ status: 404 }));
  await placement.removeProvider(HOST);
  fake.on(`/placement/resource_providers/${HOST}`, () => conflict('placement.resource_provider.inuse'));
  await assert.rejects(placement.removeProvider(HOST), PlacementRefused);
});
