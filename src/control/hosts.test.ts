import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ensureCell, listCells } from './cells.ts';
import { registerHost } from './host-registration.ts';
import { hostIsUp, isUp, listHosts, updateService, zones } from './hosts.ts';
import { claim } from './placement.ts';
import { addHost, addServer, withPlatform } from './test-support.ts';

test('a host is up while its last heartbeat is young and nobody has forced it down', () => {
  const at = (last_seen_at: number | null, forced_down = 0) => isUp({ last_seen_at, forced_down }, 70_000);
  assert.equal(at(100_000), true);
  assert.equal(at(70_001), true);
  assert.equal(at(70_000), false);
  assert.equal(at(null), false);
  assert.equal(at(100_000, 1), false);
});

test('a host that is registered is up until it is silent for too long; an unknown one never is', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h1');
    assert.equal(await hostIsUp(p, 'h1'), true);
    await p.clock.pass(30_000);
    assert.equal(await hostIsUp(p, 'h1'), false);
    assert.equal(await hostIsUp(p, 'h2'), false);
  }));

test('registering again brings facts up to date, and leaves inventories as an operator set them', () =>
  withPlatform(async (p, { c1 }) => {
    const id = await addHost(p, c1, 'h1');
    await p.stores.global
      .updateTable('inventories')
      .set({ total: 3 })
      .where('resource_class', '=', 'VCPU')
      .where('provider_id', '=', id)
      .execute();
    assert.equal(await addHost(p, c1, 'h1', 99), id);
    const [host] = await listHosts(p);
    assert.equal(host?.vcpus, 99);
    const rows = await p.stores.global.selectFrom('inventories').selectAll().execute();
    assert.equal(rows.length, 3);
    assert.equal(rows.find((row) => row.resource_class === 'VCPU')?.total, 3);
  }));

test('hosts are listed by name with cell, zone, usage and what is reserved', () =>
  withPlatform(
    async (p, { c1, c2 }) => {
      await addHost(p, c2, 'b');
      const a = await addHost(p, c1, 'a');
      const server = { id: 's', type: 'server', serverId: 's', projectId: 'p', userId: 'u' } as const;
      await p.stores.global
        .transaction()
        .execute((trx) => claim(trx, server, a, { VCPU: 2, MEMORY_MB: 100, DISK_GB: 3 }));
      const hosts = await listHosts(p);
      assert.deepEqual(
        hosts.map((host) => [host.name, host.cellName, host.zone, host.up]),
        [
          ['a', 'c1', 'nova', true],
          ['b', 'c2', 'nova', true],
        ],
      );
      const [first] = hosts;
      assert.deepEqual(
        [first?.vcpusUsed, first?.memoryMbUsed, first?.diskGbUsed, first?.runningVms],
        [2, 100 + 512, 3, 1],
      );
    },
    {
      inventory: {
        ...{ cpuAllocationRatio: 4, ramAllocationRatio: 1, diskAllocationRatio: 1 },
        ...{ reservedHostCpus: 0, reservedHostMemoryMb: 512, reservedHostDiskGb: 0 },
      },
    },
  ));

test('an operator disables a host and forces it down; an unknown one is a 404', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h1');
    assert.equal(await updateService(p, 'h1', { disabled: true, disabledReason: 'fan' }), null);
    assert.equal(await updateService(p, 'h1', { forcedDown: true }), null);
    const [host] = await listHosts(p);
    assert.deepEqual([host?.disabled, host?.disabledReason, host?.forcedDown, host?.up], [true, 'fan', true, false]);
    assert.equal(await updateService(p, 'h1', { disabled: false, disabledReason: null, forcedDown: false }), null);
    assert.equal((await listHosts(p))[0]?.up, true);
    assert.deepEqual(await updateService(p, 'h2', {}), { code: 404, message: 'Compute host h2 could not be found.' });
  }));

test('a cell is made once, and counts its hosts and living servers', () =>
  withPlatform(async (p, { c1 }) => {
    assert.equal(await ensureCell(p, 'c1'), c1);
    await addHost(p, c1, 'h1');
    await addServer(p, c1);
    await addServer(p, c1, { deletedAt: 7 });
    assert.deepEqual(
      (await listCells(p)).map((cell) => [cell.name, cell.hosts, cell.servers, cell.disabled]),
      [
        ['c1', 1, 1, false],
        ['c2', 0, 0, false],
      ],
    );
    await assert.rejects(registerHost(p, { name: 'x', cellId: 'no cell', url: '', description: {} as never }));
    assert.equal((await listHosts(p)).length, 1);
  }));

test('a zone is that of an aggregate with one, or the default', () => {
  const zoneOf = zones(
    [
      { zone: null, hosts: ['a', 'b'] },
      { zone: 'east', hosts: ['b'] },
    ],
    'nova',
  );
  assert.deepEqual(['a', 'b', 'c'].map(zoneOf), ['nova', 'east', 'nova']);
});
