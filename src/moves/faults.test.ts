// Injected faults around a step's effect, a cell's database and a host: each kind does what it says, as often as it says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import type { Host } from '../host/contract.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import type { Actor } from '../model/types.ts';
import { definition, rowOf } from '../saga/test-support.ts';
import type { Outcome } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';
import { CellDown, openStores } from '../store/stores.ts';
import { type ArmedFault, createFaults, type FaultRequest, STEP_FAULTS } from './faults.ts';

const actor: Actor = { userId: 'boss', projectId: 'p', roles: ['admin'], requestId: 'r' };
const RESIZE_ROW = rowOf({ ...definition(['a'], 0), name: 'resize' }, { key: 'server-1' });
const AT = { saga: 'resize', step: 'copy disk', phase: 'do' } as const;

async function bench() {
  const clock = new VirtualClock();
  const stores = await openStores(':memory:');
  await stores.global
    .insertInto('cells')
    .values({ id: 'c-1', name: 'cell1', disabled: 0, unreachable_since: null, created_at: 0 })
    .execute();
  let deaths = 0;
  const die = (): void => {
    deaths += 1;
  };
  const faults = createFaults({ stores, clock, log: pino({ level: 'silent' }), die });
  let effects = 0;
  const run = (
    step = 'copy disk',
    row = RESIZE_ROW,
    direction: 'do' | 'undo' = 'do',
    outcome: Outcome = { kind: 'done' },
  ) =>
    faults.around(row, step, direction, async () => {
      effects += 1;
      return outcome;
    });
  const arm = async (request: FaultRequest): Promise<ArmedFault> => {
    const armed = await faults.arm(actor, request);
    assert(armed.kind === 'armed', JSON.stringify(armed));
    return armed.fault;
  };
  return { clock, stores, faults, run, arm, deaths: () => deaths, effects: () => effects };
}

test('a fault of a step strikes there, as often as it was armed for, and counts', async () => {
  const b = await bench();
  await b.arm({ kind: 'error', ...AT, times: 2 });
  assert.equal((await b.run('grow disk')).kind, 'done');
  assert.equal((await b.run('copy disk', RESIZE_ROW, 'undo')).kind, 'done');
  assert.equal(b.effects(), 2);
  const failure = { kind: 'failed', reason: 'injected fault (error)', final: true };
  assert.deepEqual([await b.run(), await b.run(), (await b.run()).kind], [failure, failure, 'done']);
  assert.equal(b.effects(), 3);
  assert.deepEqual(
    b.faults.list().map(({ fired, times, armedBy }) => [fired, times, armedBy]),
    [[2, 2, 'boss']],
  );
  await b.stores.close();
});

test('error-after and lost-reply fail although the effect was had, and leave what is pending or failed alone', async () => {
  const b = await bench();
  await b.arm({ kind: 'error-after', ...AT });
  const pending: Outcome = { kind: 'pending', afterMs: 5 };
  assert.deepEqual(await b.run('copy disk', RESIZE_ROW, 'do', pending), pending);
  assert.deepEqual(await b.run(), { kind: 'failed', reason: 'injected fault (error-after)', final: true });
  assert.equal(b.effects(), 2);
  await b.arm({ kind: 'lost-reply', ...AT, server: 'another' });
  assert.equal((await b.run()).kind, 'done');
  await b.arm({ kind: 'lost-reply', ...AT, server: 'server-1' });
  assert.deepEqual(await b.run(), { kind: 'failed', reason: 'injected fault (lost-reply)', final: false });
  await b.stores.close();
});

test('crash-before dies without the effect, crash-after with it; nothing happens behind either', async () => {
  const b = await bench();
  let went = false;
  await b.arm({ kind: 'crash-before', ...AT });
  void b.run().then(() => {
    went = true;
  });
  await b.clock.pass(1000);
  assert.deepEqual([b.deaths(), b.effects()], [1, 0]);
  b.faults.disarm();
  await b.arm({ kind: 'crash-after', ...AT });
  void b.run().then(() => {
    went = true;
  });
  await b.clock.pass(1000);
  assert.deepEqual([b.deaths(), b.effects(), went], [2, 1, false]);
  await b.stores.close();
});

test('delay holds the effect up for so long, and ends when the system does or the fault is deleted', async () => {
  const b = await bench();
  await b.arm({ kind: 'delay', ...AT, delay_ms: 3000, times: 2 });
  const late = b.run();
  await b.clock.pass(2999);
  assert.equal(b.effects(), 0);
  await b.clock.pass(1);
  assert.equal((await late).kind, 'done');
  const cut = b.run();
  b.faults.close();
  assert.equal((await cut).kind, 'done');
  b.faults.disarm();
  const fault = await b.arm({ kind: 'delay', ...AT });
  const freed = b.run();
  b.faults.disarm(fault.id);
  assert.equal((await freed).kind, 'done');
  await b.stores.close();
});

test('cell-down and host-down last until they are deleted', async () => {
  const b = await bench();
  const stores = b.faults.stores(b.stores);
  const real = { heartbeat: async () => ({ kind: 'absent' }) } as unknown as Host;
  const host = b.faults.host('h1', real);
  const fault = await b.arm({ kind: 'cell-down', cell: 'cell1' });
  await assert.rejects(stores.cell('c-1'), CellDown);
  await assert.rejects(stores.cell('c-1'), CellDown);
  assert.ok(await stores.cell('c-2'));
  assert.equal(b.faults.list()[0]?.fired, 2);
  assert.equal(b.faults.disarm(fault.id), 1);
  assert.equal(b.faults.disarm(fault.id), 0);
  assert.ok(await stores.cell('c-1'));

  assert.equal((await host.heartbeat()).kind, 'absent');
  assert.equal((await b.faults.arm(actor, { kind: 'host-down', host: 'h1' })).kind, 'refused');
  const columns = { id: 'h', name: 'h1', cell_id: 'c-1', url: '', disabled: 0, disabled_reason: null, forced_down: 0 };
  await b.stores.global
    .insertInto('hosts')
    .values({
      ...columns,
      ...{
        last_seen_at: null,
        agent_id: null,
        reconciled: 1,
        hypervisor_type: '',
        hypervisor_version: 1,
        architecture: '',
      },
      ...{ vcpus: 1, memory_mb: 1, disk_gb: 1, created_at: 0, updated_at: 0 },
    })
    .execute();
  const storage = b.faults.storage('s1', { heartbeat: async () => ({ kind: 'absent' }) } as unknown as StorageHost);
  assert.equal((await b.faults.arm(actor, { kind: 'host-down', host: 's1' })).kind, 'refused');
  await b.stores.global
    .insertInto('storage_hosts')
    .values({
      ...{ id: 's', name: 's1', url: '', disabled: 0, last_seen_at: null, agent_id: null, driver: '' },
      ...{ total_gb: 1, free_gb: 1, created_at: 0, updated_at: 0 },
    })
    .execute();
  const lost = await b.arm({ kind: 'host-down', host: 's1' });
  assert.deepEqual(await storage.heartbeat(), { kind: 'unreachable', reason: 'injected fault' });
  assert.equal((await host.heartbeat()).kind, 'absent');
  b.faults.disarm(lost.id);
  await b.arm({ kind: 'host-down', host: 'h1' });
  assert.deepEqual(await host.heartbeat(), { kind: 'unreachable', reason: 'injected fault' });
  assert.equal(b.faults.disarm(), 1);
  assert.equal((await host.heartbeat()).kind, 'absent');
  await b.stores.close();
});

test('what is not whole, not known or too much is refused with a sentence', async () => {
  const b = await bench();
  const refusals: readonly [FaultRequest, RegExp][] = [
    [{ kind: 'error' }, /needs 'saga'/],
    [{ kind: 'error', saga: 'resize', step: 'copy disk' }, /needs 'phase'/],
    [{ kind: 'error', ...AT, saga: 'fly' }, /no saga 'fly'/],
    [{ kind: 'error', ...AT, step: 'fly' }, /no step 'fly'/],
    [{ kind: 'error', ...AT, step: 'keep target', phase: 'undo' }, /behind its pivot 'switch home' and never undone/],
    [{ kind: 'error', ...AT, saga: 'create', step: 'reserve room and ports' }, /transaction that makes the saga/],
    [{ kind: 'error', ...AT, delay_ms: 5 }, /has no 'delay_ms'/],
    [{ kind: 'cell-down' }, /needs 'cell'/],
    [{ kind: 'cell-down', cell: 'nowhere' }, /no cell 'nowhere'/],
    [{ kind: 'cell-down', cell: 'cell1', times: 1 }, /has no 'times'/],
    [{ kind: 'host-down', host: 'nowhere' }, /no host 'nowhere'/],
  ];
  for (const [request, sentence] of refusals) {
    const armed = await b.faults.arm(actor, request);
    assert(armed.kind === 'refused', JSON.stringify(request));
    assert.match(armed.refusal.message, sentence);
    assert.equal(armed.refusal.code, 400);
  }
  for (let n = 0; n < 100; n += 1) await b.arm({ kind: STEP_FAULTS[n % STEP_FAULTS.length] ?? 'error', ...AT });
  const surplus = await b.faults.arm(actor, { kind: 'error', ...AT });
  assert.ok(surplus.kind === 'refused' && surplus.refusal.code === 409);
  await b.stores.close();
});
