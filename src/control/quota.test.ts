import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../model/quota.ts';
import { claim, transfer } from './placement.ts';
import { firstOver, forgetQuota, quotaOf, quotasFor, setQuota } from './quota.ts';
import { addHost, addServer, withPlatform } from './test-support.ts';

test('limits: the project’s own before the settings before Nova’s defaults', () =>
  withPlatform(
    async (p) => {
      await setQuota(p, { projectId: 'p1' }, { cores: 7 });
      await setQuota(p, { projectId: 'p1' }, { cores: 8, ram: -1 });
      await setQuota(p, { projectId: 'p1' }, {});
      assert.deepEqual((await quotaOf(p, 'p1')).limits, { ...DEFAULT_LIMITS, cores: 8, ram: -1, instances: 3 });
      assert.deepEqual((await quotaOf(p, 'p2')).limits, { ...DEFAULT_LIMITS, cores: 5, instances: 3 });
    },
    { quota: { cores: 5, instances: 3 } },
  ));

test('a user’s own limits within a project count besides the project’s; forgotten with them, or alone', () =>
  withPlatform(async (p, { c1 }) => {
    await addServer(p, c1, { userId: 'u1' });
    await addServer(p, c1, { userId: 'u2' });
    const of = (userId: string) => quotasFor(p, { projectId: 'p1', userId });
    const over = async (userId: string): Promise<string> =>
      firstOver(await of(userId), (limits, used) =>
        used.instances < limits.instances ? null : { code: 403, message: `${used.instances} of ${limits.instances}` },
      )?.message ?? 'none';
    await setQuota(p, 'everybody', { instances: 7, cores: 6 });
    await setQuota(p, { projectId: 'p1' }, { instances: 3 });
    await setQuota(p, { projectId: 'p1', userId: 'u1' }, { instances: 1 });
    assert.deepEqual([(await of('u1')).length, (await of('u2')).length], [2, 1]);
    assert.deepEqual([await over('u1'), await over('u2')], ['1 of 1', 'none']);
    assert.deepEqual((await of('u1'))[0].limits.cores, 6);
    await setQuota(p, { projectId: 'p1' }, { instances: 2 });
    assert.deepEqual([await over('u1'), await over('u2')], ['1 of 1', '2 of 2']);
    await forgetQuota(p, { projectId: 'p1', userId: 'u1' });
    assert.equal(await over('u1'), '2 of 2');
    await setQuota(p, { projectId: 'p1', userId: 'u1' }, { instances: 1 });
    await forgetQuota(p, { projectId: 'p1' });
    assert.deepEqual([await over('u1'), (await of('u1'))[0].limits.instances], ['none', 7]);
  }));

test('every server counts once, by the larger of what it and its move hold; deleted ones and other projects’ do not', () =>
  withPlatform(async (p, { c1 }) => {
    const host = await addHost(p, c1, 'h1', 64);
    const moving = await addServer(p, c1);
    const other = await addServer(p, c1, { projectId: 'p2' });
    await addServer(p, c1, { deletedAt: 5 });
    await addServer(p, c1, { host: null, vmState: 'error' });
    const of = (id: string, serverId: string, projectId: string, type: 'server' | 'migration' = 'server') => ({
      ...{ id, type, serverId, projectId, userId: 'u1' },
    });
    await p.stores.global.transaction().execute(async (trx) => {
      await claim(trx, of(moving.id, moving.id, 'p1'), host, { VCPU: 2, MEMORY_MB: 4096 });
      await transfer(trx, of(moving.id, moving.id, 'p1'), of('move', moving.id, 'p1', 'migration'));
      await claim(trx, of(moving.id, moving.id, 'p1'), host, { VCPU: 6, MEMORY_MB: 1024 });
      await claim(trx, of(other.id, other.id, 'p2'), host, { VCPU: 1, MEMORY_MB: 10 });
    });
    assert.deepEqual((await quotaOf(p, 'p1')).used, { instances: 2, cores: 6, ram: 4096 });
    assert.deepEqual((await quotaOf(p, 'p2')).used, { instances: 1, cores: 1, ram: 10 });
    assert.deepEqual((await quotaOf(p, 'p3')).used, { instances: 0, cores: 0, ram: 0 });
  }));
