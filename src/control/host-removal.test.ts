// Forgetting hosts: what holds one, and what is written off with one that will never return.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDebts, owe, payDebts } from './debts.ts';
import { deleteHost, forgetHost } from './host-removal.ts';
import { isHost } from './hosts.ts';
import { hostsWithRemains, listQuarantine, quarantine, release } from './quarantine.ts';
import { addHost, addServer, type TestPlatform, withPlatform } from './test-support.ts';

const OPERATOR = { userId: 'boss', projectId: 'p', roles: ['admin'], requestId: 'r' };
const debt = (host: string, serverId: string) => ({
  ...{ kind: 'destroy-guest' as const, host, serverId, generation: 1, sagaId: 'g', reason: 'source of a move' },
});
const guest = (host: string, serverId: string) => ({
  ...{ host, serverId, generation: 1, wasRunning: false, reason: 'evacuated' },
});
const fallSilent = (p: TestPlatform, name: string) =>
  p.stores.global.updateTable('hosts').set({ last_seen_at: null }).where('name', '=', name).execute();

test('a host on which something is owed, or a guest is kept, is not deleted, and the answer says what', () =>
  withPlatform(async (p, { c1 }) => {
    const id = await addHost(p, c1, 'h1');
    await quarantine(p, guest('h1', 's1'));
    assert.match((await deleteHost(p, id))?.message ?? '', /owed \(0\), or guests in quarantine \(1\)/);
    const [kept] = await listQuarantine(p, { limit: 9 });
    assert.equal(await release(p, OPERATOR, kept?.id ?? ''), null);
    await owe(p, debt('h1', 's2'));
    const refusal = await deleteHost(p, id);
    assert.equal(refusal?.code, 409);
    assert.match(refusal.message, /owed \(1\), or guests in quarantine \(0\).*crosscell hosts forget h1/);
    await p.stores.global.updateTable('debts').set({ paid_at: 1 }).execute();
    assert.equal(await deleteHost(p, id), null);
    assert.deepEqual(await hostsWithRemains(p.stores.global, 's1'), []);
    assert.equal((await deleteHost(p, id))?.code, 404);
  }));

test('a host that will never return is forgotten with all that is owed and kept there, and with nothing else', () =>
  withPlatform(async (p, { c1 }) => {
    const id = await addHost(p, c1, 'gone');
    await addHost(p, c1, 'h2');
    for (const host of ['gone', 'h2']) {
      await owe(p, debt(host, 's1'));
      await quarantine(p, guest(host, 's2'));
    }
    // Of the volume host of the same name.
    await owe(p, { ...debt('gone', 's3'), kind: 'revoke-volume', volumeId: 'v' });
    const refusalOf = async (name: string) => {
      const removal = await forgetHost(p, OPERATOR, name);
      return removal.kind === 'refused' ? removal.refusal : null;
    };
    assert.equal((await refusalOf('nowhere'))?.code, 404);
    assert.match((await refusalOf('gone'))?.message ?? '', /answers: it is there/);
    await fallSilent(p, 'gone');
    assert.equal((await deleteHost(p, id))?.code, 409);
    assert.deepEqual(await forgetHost(p, OPERATOR, 'gone'), { kind: 'removed', left: { debts: 1, quarantined: 1 } });
    assert.equal(await isHost(p, 'gone'), false);
    const left = ((await openDebts(p)) ?? []).map((each) => [each.kind, each.host]).sort();
    assert.deepEqual(left, [
      ['destroy-guest', 'h2'],
      ['revoke-volume', 'gone'],
    ]);
    assert.deepEqual(
      (await listQuarantine(p, { limit: 9 })).map((each) => each.host),
      ['h2'],
    );
  }));

test('a host that holds a server is not forgotten, whatever is said of it', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h1');
    await addServer(p, c1, { id: 's1', host: 'h1' });
    await fallSilent(p, 'h1');
    const removal = await forgetHost(p, OPERATOR, 'h1');
    assert.match(removal.kind === 'refused' ? removal.refusal.message : '', /hosting instances/);
  }));

test('what somebody owes on a host that has been forgotten is void', () =>
  withPlatform(async (p) => {
    await owe(p, debt('gone', 's1'));
    await p.clock.pass(11_000);
    assert.equal(await payDebts(p), 1);
    assert.deepEqual(await openDebts(p), []);
  }));
