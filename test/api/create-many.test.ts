// Several servers at once, when something else fails on the way: what was asked for is there, or nothing is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hintsOf } from '../../src/api/compute/scheduler-hints.ts';
import { createServers } from '../../src/api/compute/server-create.ts';
import { type NetworkService, networkService } from '../../src/control/network/service.ts';
import type { Platform } from '../../src/control/platform.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import { testSystem, waitFor } from './system.ts';

/** A network service that is down from the nth server on. */
function downFrom(p: Platform, nth: number): Platform {
  const there = networkService(p);
  let asked = 0;
  const network: NetworkService = {
    ...there,
    take: async (platform, wish) => {
      asked += 1;
      if (asked >= nth) throw new ServiceDown('the network service does not answer');
      return there.take(platform, wish);
    },
  };
  return { ...p, network };
}

test('when fewer than min_count can be made because something fails, none is left', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 2 });
  const actor = { userId: s.alice.userId, projectId: s.alice.projectId, roles: ['member'], requestId: 'req-1' };
  const wish = { name: 'many', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const hints = hintsOf({});
  const names = async () =>
    (await s.alice('GET', '/compute/v2.1/servers')).json.servers.map(({ name }: { name: string }) => name).toSorted();
  const p = downFrom(s.system.platform, 3);
  await assert.rejects(createServers(p, actor, { ...wish, min_count: 3, max_count: 4 }, hints, 1), ServiceDown);
  for (const { id } of (await s.alice('GET', '/compute/v2.1/servers')).json.servers)
    await waitFor(s.alice, id, ['gone']);
  assert.deepEqual(await names(), []);

  await createServers(downFrom(s.system.platform, 3), actor, { ...wish, min_count: 2, max_count: 4 }, hints, 1);
  assert.deepEqual(await names(), ['many-1', 'many-2']);
});
