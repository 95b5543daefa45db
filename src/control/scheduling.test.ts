import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostStates } from './host-states.ts';
import { updateService } from './hosts.ts';
import { claim, providerStates } from './placement.ts';
import { type Choice, chooseHost } from './scheduling.ts';
import { addHost, FLAVOR, type TestPlatform, withPlatform } from './test-support.ts';

const CHOICE: Choice = {
  ...{ flavor: FLAVOR, imageProperties: {}, requestedZone: null, requestedHost: null, ignoredHosts: [] },
  homeCellId: null,
  crossCellAllowed: true,
  groupId: null,
};
const consumer = (id: string) => ({ id, type: 'server' as const, serverId: id, projectId: 'p', userId: 'u' });
const choose = (p: TestPlatform, id: string, change: Partial<Choice> = {}) =>
  chooseHost(p, { ...CHOICE, ...change }, consumer(id), (work) => p.stores.global.transaction().execute(work));

test('a host is chosen and its room claimed, in the home cell as long as it has room', () =>
  withPlatform(async (p, { c1, c2 }) => {
    await addHost(p, c1, 'a', 2);
    await addHost(p, c2, 'b', 4);
    assert.deepEqual(await choose(p, 's1', { homeCellId: c1 }), {
      kind: 'chosen',
      cellId: c1,
      host: 'a',
      zone: 'nova',
    });
    assert.deepEqual(await choose(p, 's2', { homeCellId: c1 }), {
      kind: 'chosen',
      cellId: c2,
      host: 'b',
      zone: 'nova',
    });
    const used = [...(await providerStates(p.stores.global)).values()].map((state) => state.used.VCPU);
    assert.deepEqual(used, [2, 2]);
  }));

test('hosts that are ignored, disabled, silent or full are left out, and the reason counts them', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'full', 1);
    await addHost(p, c1, 'ignored');
    await addHost(p, c1, 'disabled');
    await updateService(p, 'disabled', { disabled: true });
    await addHost(p, c1, 'down');
    await updateService(p, 'down', { forcedDown: true });
    const none = await choose(p, 's1', { ignoredHosts: ['ignored'] });
    assert(none.kind === 'none');
    assert.match(none.reason, /^No valid host was found\. .*Of 4 hosts, eliminated by/);
    assert.equal((await p.stores.global.selectFrom('consumers').selectAll().execute()).length, 0);
    assert.equal((await choose(p, 's1')).kind, 'chosen');
  }));

test('a host that lost its room since it was looked at is passed over for the next', () =>
  withPlatform(async (p, { c1 }) => {
    const [a, b] = [await addHost(p, c1, 'a', 3), await addHost(p, c1, 'b', 2)];
    let tries = 0;
    const chosen = await chooseHost(p, CHOICE, consumer('s1'), (work) =>
      p.stores.global.transaction().execute(async (trx) => {
        tries += 1;
        // Somebody else was quicker on the best host.
        if (tries === 1) await claim(trx, consumer('quick'), a, { VCPU: 2 });
        return work(trx);
      }),
    );
    assert.deepEqual([chosen.kind === 'chosen' && chosen.host, tries], ['b', 2]);
    assert.equal((await providerStates(p.stores.global, [b])).get(b)?.used.VCPU, 2);
  }));

test('what the scheduler sees of all hosts costs the same number of statements, however many there are', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h0');
    const count = async () => {
      const before = p.stores.statements();
      const states = await hostStates(p);
      return [states.length, p.stores.statements() - before];
    };
    const [one, few] = await count();
    for (let n = 1; n < 10; n += 1) await addHost(p, c1, `h${n}`);
    assert.deepEqual([one, ...(await count())], [1, 10, few]);
  }));
