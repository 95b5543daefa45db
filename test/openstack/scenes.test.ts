// The scenes of a resize on the services of a real OpenStack: create, resize across cells and confirm, resize and revert,
// delete. Runs where a Keystone is named: see real.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realSystem, skip, smallestImage } from './real.ts';

test('a server from an image of Glance crosses between cells, forth and back', { skip }, async () => {
  await using real = await realSystem(['identity', 'image']);
  const { call, reach, gone } = real;
  const imageRef = await smallestImage(real.session);
  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = (name: string): string => flavors.find((each: { name: string }) => each.name === name).id;
  const [small, medium, large] = ['m1.tiny', 'm1.small', 'm1.medium'].map(flavorRef);
  const { networks } = await call('GET', '/network/v2.0/networks');
  const { server } = await call('POST', '/compute/v2.1/servers', {
    server: { name: 'scenes', imageRef, flavorRef: small, networks: [{ uuid: networks[0].id }] },
  });
  const act = (body: object) => call('POST', `/compute/v2.1/servers/${server.id}/action`, body);
  const made = await reach(server.id, 'ACTIVE');
  await act({ resize: { flavorRef: medium } });
  const crossed = await reach(server.id, 'VERIFY_RESIZE');
  assert.notEqual(crossed['OS-EXT-SRV-ATTR:host'], made['OS-EXT-SRV-ATTR:host']);
  await act({ confirmResize: null });
  await reach(server.id, 'ACTIVE');
  await act({ resize: { flavorRef: large } });
  await reach(server.id, 'VERIFY_RESIZE');
  await act({ revertResize: null });
  const back = await reach(server.id, 'ACTIVE');
  assert.equal(back['OS-EXT-SRV-ATTR:host'], crossed['OS-EXT-SRV-ATTR:host']);
  await call('DELETE', `/compute/v2.1/servers/${server.id}`);
  await gone(server.id);
  await call('GET', '/image/v2/images', undefined, 404);
});
