import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  type AggregateResult,
  addAggregateHost,
  createAggregate,
  deleteAggregate,
  findAggregate,
  listAggregates,
  removeAggregateHost,
  setAggregateMetadata,
  updateAggregate,
} from './aggregates.ts';
import { ensureCell } from './cells.ts';
import { registerHost } from './host-registration.ts';
import { type ImageWorld, imageWorld } from './images/testing.ts';

const INVENTORY = {
  cpuAllocationRatio: 1,
  ramAllocationRatio: 1,
  diskAllocationRatio: 1,
  reservedHostCpus: 0,
  reservedHostMemoryMb: 0,
  reservedHostDiskGb: 0,
};

describe('host aggregates', () => {
  let world: ImageWorld;
  before(async () => {
    world = await imageWorld({ inventory: INVENTORY, defaultZone: 'nova', hostDownSeconds: 60 });
    const cellId = await ensureCell(world.p, 'cell1');
    for (const name of ['h1', 'h2']) {
      const description = {
        agentId: 'a',
        hypervisorType: 'simulated',
        hypervisorVersion: 1,
        architecture: 'x86_64',
        vcpus: 8,
        memoryMb: 8192,
        diskGb: 100,
        accelerator: 'none',
        guests: [],
      };
      await registerHost(world.p, { name, cellId, url: `simulated://${name}`, description: description as never });
    }
  });
  after(() => world[Symbol.asyncDispose]());

  const idOf = (result: AggregateResult): number => (result.kind === 'ok' ? result.aggregate.id : -1);
  const codeOf = (result: AggregateResult): number => (result.kind === 'ok' ? 200 : result.refusal.code);

  it('have unique names and known hosts', async () => {
    const { p } = world;
    const one = idOf(await createAggregate(p, 'one', 'z1'));
    assert.equal(codeOf(await createAggregate(p, 'one', null)), 409);
    assert.equal(codeOf(await createAggregate(p, 'colon', 'z:1')), 400);
    assert.equal(codeOf(await addAggregateHost(p, one, 'h1')), 200);
    assert.equal(codeOf(await addAggregateHost(p, one, 'h1')), 409);
    assert.equal(codeOf(await addAggregateHost(p, one, 'nowhere')), 404);
    assert.equal(codeOf(await addAggregateHost(p, 999, 'h1')), 404);
    assert.deepEqual((await findAggregate(p, one))?.hosts, ['h1']);
  });

  it('leave each host in one zone', async () => {
    const { p } = world;
    const two = idOf(await createAggregate(p, 'two', 'z2'));
    assert.equal(codeOf(await addAggregateHost(p, two, 'h1')), 409);
    assert.equal(codeOf(await addAggregateHost(p, two, 'h2')), 200);
    const zoneless = idOf(await createAggregate(p, 'zoneless', null));
    assert.equal(codeOf(await addAggregateHost(p, zoneless, 'h1')), 200);
    assert.equal(codeOf(await updateAggregate(p, zoneless, { zone: 'z9' })), 400);
    assert.equal(codeOf(await setAggregateMetadata(p, zoneless, { availability_zone: 'z9' })), 400);
    assert.equal(codeOf(await updateAggregate(p, zoneless, { zone: 'z1' })), 200);
    assert.equal(codeOf(await updateAggregate(p, zoneless, { name: 'two' })), 409);
  });

  it('keep a zone that has servers', async () => {
    const { p } = world;
    const [two] = (await listAggregates(p)).filter((each) => each.name === 'two');
    assert.ok(two);
    const { id: providerId } = await p.stores.global
      .selectFrom('providers')
      .select('id')
      .where('name', '=', 'h2')
      .executeTakeFirstOrThrow();
    const consumer = { id: 's1', type: 'server', server_id: 's1', project_id: 'p1', user_id: 'u1', generation: 1 };
    await p.stores.global.insertInto('consumers').values(consumer).execute();
    const allocation = { consumer_id: 's1', provider_id: providerId, resource_class: 'VCPU', used: 1 };
    await p.stores.global.insertInto('allocations').values(allocation).execute();
    assert.equal(codeOf(await updateAggregate(p, two.id, { zone: 'z3' })), 400);
    assert.equal(codeOf(await removeAggregateHost(p, two.id, 'h2')), 409);
    assert.equal(codeOf(await updateAggregate(p, two.id, { name: 'deux' })), 200);
  });

  it('carry metadata, and go only when they are empty', async () => {
    const { p } = world;
    const one = (await listAggregates(p))[0]?.id ?? -1;
    assert.equal(codeOf(await setAggregateMetadata(p, one, { a: '1', b: '2' })), 200);
    assert.equal(codeOf(await setAggregateMetadata(p, one, { a: null })), 200);
    assert.deepEqual((await findAggregate(p, one))?.metadata, { b: '2' });
    assert.equal((await deleteAggregate(p, one))?.code, 400);
    assert.equal(codeOf(await removeAggregateHost(p, one, 'h1')), 200);
    assert.equal(codeOf(await removeAggregateHost(p, one, 'h1')), 404);
    assert.equal(await deleteAggregate(p, one), null);
    assert.equal((await deleteAggregate(p, one))?.code, 404);
  });
});
