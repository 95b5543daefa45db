// What transactions that run side by side must not do to each other: fences and placement, with connections of their own.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { ensureCell } from '../../src/control/cells.ts';
import { createFlavor } from '../../src/control/flavors.ts';
import { registerHost } from '../../src/control/host-registration.ts';
import { bindPorts, fencePorts } from '../../src/control/network.ts';
import { claim } from '../../src/control/placement.ts';
import type { Platform } from '../../src/control/platform.ts';
import { DEFAULT_POLICIES } from '../../src/control/policies.ts';
import { addHost, addServer, TEST_SETTINGS } from '../../src/control/test-support.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { Fenced, globally, inCell, ownsSaga } from '../../src/moves/fencing.ts';
import { definition } from '../../src/saga/test-support.ts';
import { raiseInCell } from '../../src/store/cell-fences.ts';
import { sqlSagaStore, voidLeases } from '../../src/store/sagas.ts';
import { openStores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';

const server = await startPostgres();
if (server.kind === 'unavailable') test('races on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  after(() => server.stop());
  races(server);
}

function races(server: TestPostgres): void {
  /** Two control planes on the same databases. */
  const two = (name: string, body: (a: Platform, b: Platform, cellId: string) => Promise<void>) =>
    test(name, async () => {
      const at = await server.stores(['c1']);
      const all = [await openStores(at), await openStores(at)] as const;
      const [a, b] = all.map(
        (stores): Platform => ({
          ...{ stores, clock: systemClock, log: pino({ level: 'silent' }), settings: TEST_SETTINGS },
          host: () => assert.fail('no host is called here'),
          storage: () => assert.fail('no storage host is called here'),
          policies: DEFAULT_POLICIES,
          nudge: () => undefined,
        }),
      ) as [Platform, Platform];
      try {
        await body(a, b, await ensureCell(a, 'c1'));
      } finally {
        for (const stores of all) await stores.close();
      }
    });

  two('a write to the global database and a takeover: one comes before the other', async (a, b) => {
    const [old, next] = [sqlSagaStore(a.stores.global, systemClock), sqlSagaStore(b.stores.global, systemClock)];
    await old.create({ id: 's', definition: definition(['x'], 0), key: 'k', state: {}, requestId: 'r' });
    const held = await old.claim('old', 60_000);
    assert(held);
    const writer = { saga: { id: 's' }, generation: held.row.fence, serverId: 'k' };
    await voidLeases(b.stores.global);
    await globally(a.stores.global, writer, async (trx) => {
      // The writer has looked and not yet written: nobody takes its saga from it now.
      assert.equal(await next.claim('next', 60_000), null);
      await trx.insertInto('quotas').values({ project_id: 'p', user_id: '', resource: 'r', hard_limit: 1 }).execute();
    });
    const taken = await next.claim('next', 60_000);
    assert.equal(taken?.takenOver, true);
    await assert.rejects(
      globally(a.stores.global, writer, async () => assert.fail('it was overtaken')),
      Fenced,
    );
    const late = await a.stores.global
      .updateTable('quotas')
      .set({ hard_limit: 2 })
      .where(ownsSaga(a.stores.global, writer))
      .executeTakeFirst();
    assert.equal(late.numUpdatedRows, 0n);
  });

  two('a single statement of the overtaken waits for the takeover under way, and then writes nothing', async (a, b) => {
    const old = sqlSagaStore(a.stores.global, systemClock);
    await old.create({ id: 's', definition: definition(['x'], 0), key: 'k', state: {}, requestId: 'r' });
    const held = await old.claim('old', 60_000);
    assert(held);
    const writer = { saga: { id: 's' }, generation: held.row.fence, serverId: 'k' };
    await a.stores.global
      .insertInto('quotas')
      .values({ project_id: 'p', user_id: '', resource: 'r', hard_limit: 1 })
      .execute();
    let late: Promise<bigint> | undefined;
    await b.stores.global.transaction().execute(async (trx) => {
      await trx
        .updateTable('sagas')
        .set({ fence: held.row.fence + 1 })
        .where('id', '=', 's')
        .execute();
      late = a.stores.global
        .updateTable('quotas')
        .set({ hard_limit: 2 })
        .where(ownsSaga(a.stores.global, writer))
        .executeTakeFirst()
        .then((result) => result.numUpdatedRows);
      await waitsForLock(b);
    });
    assert.equal(await late, 0n);
  });

  two('a write in a cell and a raised fence: no writer slips between looking and writing', async (a, b, cellId) => {
    const [ours, theirs] = [await a.stores.cell(cellId), await b.stores.cell(cellId)];
    const writer = (generation: number) => ({ saga: { id: 's' }, generation, serverId: 'k' });
    // There is no row for the server yet: the first writer and the takeover still exclude each other.
    let raised: Promise<number> | undefined;
    let done = false;
    await inCell(ours, writer(1), async () => {
      raised = raiseInCell(theirs, writer(2).serverId, 2).then((highest) => {
        assert.equal(done, true, 'the fence was raised while a writer was at it');
        return highest;
      });
      await waitsForLock(b);
      done = true;
    });
    assert.equal(await raised, 2);
    await assert.rejects(
      inCell(ours, writer(1), async () => assert.fail('it was overtaken')),
      Fenced,
    );
    assert.equal(await raiseInCell(ours, writer(1).serverId, 1), 2);
    assert.equal(await inCell(ours, writer(3), async () => 'newer'), 'newer');
  });

  two('bindings of ports: an older generation writes nothing beside a newer one', async (a, b, cellId) => {
    await addHost(a, cellId, 'h1');
    const { id } = await addServer(a, cellId);
    await addPort(a, id);
    assert.equal(await bindPorts(a.stores.global, id, 'h1', 1), 'ok');
    const answers = await Promise.all([
      fencePorts(b.stores.global, id, 5),
      ...[1, 2, 3].map((generation) => bindPorts(a.stores.global, id, `h${generation}`, generation)),
    ]);
    assert.equal(answers[0], 'ok');
    assert.equal(await bindPorts(a.stores.global, id, 'late', 4), 'fenced');
    const highest = await a.stores.global
      .selectFrom('port_bindings')
      .select((eb) => eb.fn.max('generation').as('highest'))
      .executeTakeFirstOrThrow();
    assert.equal(highest.highest, 5);
  });

  two('many claims on one host never take more than it has', async (a, b, cellId) => {
    const provider = await addHost(a, cellId, 'h1', 8);
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, n) => {
        const id = newId();
        const consumer = { id, type: 'server', serverId: id, projectId: 'p', userId: 'u' } as const;
        const { global } = (n % 2 === 0 ? a : b).stores;
        return global.transaction().execute((trx) => claim(trx, consumer, provider, { VCPU: 1, MEMORY_MB: 64 }));
      }),
    );
    assert.equal(results.filter((taken) => taken).length, 8);
    const { used } = await a.stores.global
      .selectFrom('allocations')
      .select((eb) => eb.fn.sum<number>('used').as('used'))
      .where('resource_class', '=', 'VCPU')
      .executeTakeFirstOrThrow();
    assert.equal(used, 8);
  });

  two(
    'two that register the same host, or make the same flavor, at once: one does, and nothing breaks',
    async (a, b, cellId) => {
      const host = {
        ...{ name: 'h', cellId, url: 'http://h' },
        description: {
          ...{ name: 'h', hypervisorType: 'simulated', hypervisorVersion: 1, accelerator: 'none' as const },
          ...{ architecture: 'x86_64', vcpus: 1, memoryMb: 1024, diskGb: 1 },
        },
      } as const;
      await Promise.all([a, b, a, b].map((p) => registerHost(p, host)));
      assert.equal((await a.stores.global.selectFrom('providers').select('id').execute()).length, 1);
      const flavor = {
        ...{ flavorId: 'f', name: 'f', vcpus: 1, memoryMb: 64, rootGb: 1, ephemeralGb: 0, swapMb: 0, rxtxFactor: 1 },
        ...{ isPublic: true, description: null },
      };
      const made = await Promise.all([a, b, a, b].map((p) => createFlavor(p, flavor)));
      assert.deepEqual(made.map((each) => each.kind).sort(), ['ok', 'refused', 'refused', 'refused']);
    },
  );
}

/** Resolves when some session of the server waits for a lock of another. */
async function waitsForLock(p: Platform): Promise<void> {
  const giveUp = performance.now() + 10_000;
  while (performance.now() < giveUp) {
    const waiting = await p.stores.global
      .selectFrom('pg_stat_activity' as never)
      .select('pid' as never)
      .where('wait_event_type' as never, '=', 'Lock' as never)
      .execute();
    if (waiting.length > 0) return;
  }
  assert.fail('nobody waits');
}

async function addPort(p: Platform, serverId: string): Promise<void> {
  const { global } = p.stores;
  const row = { project_id: 'p', created_at: 1, updated_at: 1 };
  await global
    .insertInto('networks')
    .values({ ...row, id: 'n', name: 'n', shared: 1, mtu: 1500 })
    .execute();
  await global
    .insertInto('subnets')
    .values({
      ...{ ...row, id: 's', network_id: 'n', name: 's', cidr: '10.0.0.0/24', gateway_ip: '10.0.0.1' },
      pools_json: '[["10.0.0.2","10.0.0.9"]]',
    })
    .execute();
  await global
    .insertInto('ports')
    .values({
      ...{ ...row, id: 'port', name: '', network_id: 'n', mac: '02:00:00:00:00:01' },
      ...{ device_id: serverId, device_owner: 'compute:nova' },
    })
    .execute();
  await global
    .insertInto('port_addresses')
    .values({ port_id: 'port', position: 0, subnet_id: 's', ip: '10.0.0.2' })
    .execute();
}
