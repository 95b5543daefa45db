import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  createFlavor,
  deleteExtraSpec,
  deleteFlavor,
  describeFlavor,
  findFlavor,
  flavorAccess,
  grantFlavor,
  listFlavors,
  type NewFlavor,
  revokeFlavor,
  setExtraSpecs,
  visibleFlavor,
} from './flavors.ts';
import { admin, type ImageWorld, imageWorld, member, stranger } from './images/testing.ts';

const small: NewFlavor = {
  flavorId: 'small',
  name: 'small',
  vcpus: 1,
  memoryMb: 128,
  rootGb: 1,
  ephemeralGb: 0,
  swapMb: 0,
  rxtxFactor: 1,
  isPublic: true,
  description: null,
};

describe('flavors', () => {
  let world: ImageWorld;
  before(async () => {
    world = await imageWorld();
  });
  after(() => world[Symbol.asyncDispose]());

  const codeOf = (result: { kind: string; refusal?: { code: number } }) =>
    result.kind === 'ok' ? 200 : result.refusal?.code;

  it('are created once per id and name, with names and ids as Nova has them', async () => {
    const { p } = world;
    assert.equal(codeOf(await createFlavor(p, small)), 200);
    assert.equal(codeOf(await createFlavor(p, { ...small, name: 'other' })), 409);
    assert.equal(codeOf(await createFlavor(p, { ...small, flavorId: 'other' })), 409);
    assert.equal(codeOf(await createFlavor(p, { ...small, flavorId: 'a/b', name: 'slash' })), 400);
    assert.equal(codeOf(await createFlavor(p, { ...small, flavorId: null, name: ' blank ' })), 400);
    const generated = await createFlavor(p, { ...small, flavorId: null, name: 'generated' });
    assert.match(generated.kind === 'ok' ? generated.flavor.flavorId : '', /^[0-9a-f-]{36}$/);
    assert.deepEqual(
      (await listFlavors(p)).map((each) => each.name),
      ['small', 'generated'],
    );
  });

  it('keep extra specs', async () => {
    const { p } = world;
    assert.equal(codeOf(await setExtraSpecs(p, 'small', { 'a:b': '1', c: '2' })), 200);
    assert.equal(codeOf(await setExtraSpecs(p, 'small', { c: '3' })), 200);
    assert.deepEqual((await findFlavor(p, 'small'))?.extraSpecs, { 'a:b': '1', c: '3' });
    assert.equal(codeOf(await deleteExtraSpec(p, 'small', 'c')), 200);
    assert.equal(codeOf(await deleteExtraSpec(p, 'small', 'c')), 404);
    assert.equal(codeOf(await deleteExtraSpec(p, 'small', 'toString')), 404);
    assert.equal(codeOf(await setExtraSpecs(p, 'absent', { c: '3' })), 404);
    assert.equal(codeOf(await setExtraSpecs(p, 'small', { 'ä/': '3' })), 400);
    const many = Object.fromEntries(Array.from({ length: 130 }, (_, index) => [`k${index}`, 'v']));
    assert.equal(codeOf(await setExtraSpecs(p, 'small', many)), 400);
    assert.deepEqual((await findFlavor(p, 'small'))?.extraSpecs, { 'a:b': '1' });
  });

  it('that are private are seen by those who were given them', async () => {
    const { p } = world;
    await createFlavor(p, { ...small, flavorId: 'secret', name: 'secret', isPublic: false });
    const seen = async (actor: typeof member) => (await visibleFlavor(p, 'secret', actor)) !== null;
    assert.deepEqual([await seen(admin), await seen(member), await seen(stranger)], [true, false, false]);
    assert.equal(await grantFlavor(p, 'secret', member.projectId), null);
    assert.equal((await grantFlavor(p, 'secret', member.projectId))?.code, 409);
    assert.equal((await grantFlavor(p, 'small', member.projectId))?.code, 409);
    assert.equal((await grantFlavor(p, 'absent', member.projectId))?.code, 404);
    assert.deepEqual([await seen(member), await seen(stranger)], [true, false]);
    assert.deepEqual((await findFlavor(p, 'secret'))?.projectIds, [member.projectId]);
    assert.equal(await revokeFlavor(p, 'secret', member.projectId), null);
    assert.equal((await revokeFlavor(p, 'secret', member.projectId))?.code, 404);
    assert.equal(await seen(member), false);
  });

  it('are described and deleted, their access with them', async () => {
    const { p } = world;
    assert.equal(codeOf(await describeFlavor(p, 'secret', 'for friends')), 200);
    assert.equal((await findFlavor(p, 'secret'))?.description, 'for friends');
    assert.equal(codeOf(await describeFlavor(p, 'absent', null)), 404);
    await grantFlavor(p, 'secret', member.projectId);
    assert.equal(await deleteFlavor(p, 'secret'), true);
    assert.equal(await deleteFlavor(p, 'secret'), false);
    assert.deepEqual(await flavorAccess(p, 'secret'), []);
  });
});
