// Allocations in a real Placement: what ours say at each rest of a resize across cells, confirmed and reverted, and at the end
// nothing. Runs where a Keystone is named: see real.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placementOf } from '../../src/openstack/placement.ts';
import { allocationsOf } from './allocations.ts';
import { eventually, realSystem, skip, smallestImage } from './real.ts';

test('a server that crosses between cells holds in Placement what it holds here', { skip }, async () => {
  await using real = await realSystem(['identity', 'image', 'placement']);
  const { call, reach, gone, stores } = real;
  const placement = placementOf(real.session);
  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = (name: string): string => flavors.find((each: { name: string }) => each.name === name).id;
  const providers = await stores.global.selectFrom('providers').select(['id', 'name']).execute();
  assert.equal(providers.length, 2);
  const agreed = allocationsOf(real);

  const { server } = await call('POST', '/compute/v2.1/servers', {
    server: {
      name: 'placed',
      imageRef: await smallestImage(real.session),
      flavorRef: flavorRef('m1.tiny'),
      networks: 'auto',
    },
  });
  const act = (body: object) => call('POST', `/compute/v2.1/servers/${server.id}/action`, body);
  await reach(server.id, 'ACTIVE');
  assert.equal(await agreed(), 1);
  await act({ resize: { flavorRef: flavorRef('m1.small') } });
  await reach(server.id, 'VERIFY_RESIZE');
  assert.equal(await agreed(), 2, 'the migration holds the room on the source');
  await act({ confirmResize: null });
  await reach(server.id, 'ACTIVE');
  assert.equal(await agreed(), 1);
  await act({ resize: { flavorRef: flavorRef('m1.medium') } });
  await reach(server.id, 'VERIFY_RESIZE');
  assert.equal(await agreed(), 2);
  await act({ revertResize: null });
  await reach(server.id, 'ACTIVE');
  assert.equal(await agreed(), 1);

  // A host that an operator keeps for something else is not offered: there is nowhere to go.
  const { held } = await placement.consumption(server.id);
  const other = providers.find(({ id }) => !Object.hasOwn(held, id));
  assert.ok(other);
  await placement.setTraits(other.id, ['COMPUTE_STATUS_DISABLED'], []);
  await act({ resize: { flavorRef: flavorRef('m1.medium') } });
  const stayed = await reach(server.id, 'ACTIVE');
  assert.equal((stayed['flavor'] as { original_name: string }).original_name, 'm1.small');
  assert.equal(await agreed(), 1);

  await call('DELETE', `/compute/v2.1/servers/${server.id}`);
  await gone(server.id);
  await eventually(async () => ((await agreed()) === 0 ? true : null));
});
