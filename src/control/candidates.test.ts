import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../lib/ids.ts';
import { fc } from '../lib/property-testing.ts';
import type { ScheduleRequest } from '../model/hosts.ts';
import { schedule, type WeighedHost } from '../model/scheduling.ts';
import { GROUP_POLICIES } from '../model/server-groups.ts';
import { addAggregateHost, createAggregate } from './aggregates.ts';
import { candidatePages } from './candidates.ts';
import { setCellDisabled } from './cell-health.ts';
import { hostStates } from './host-states.ts';
import { updateService } from './hosts.ts';
import { claim } from './placement.ts';
import { chooseAmongAll } from './scheduling.ts';
import { addHost, type TestPlatform, withPlatform } from './test-support.ts';

const few = fc.integer({ min: 0, max: 4 });
const aHost = fc.record({
  ...{ inSecondCell: fc.boolean(), vcpus: fc.integer({ min: 1, max: 4 }), used: few },
  ...{ ratio: fc.constantFrom(1, 1.5, 0.3), reserved: few, disabled: fc.boolean(), down: fc.boolean() },
  ...{ silent: fc.boolean(), unknown: fc.boolean(), zone: fc.constantFrom(null, 'z1', 'z2', 'nova'), members: few },
});
const aRequest = fc.record({
  ...{ vcpus: fc.integer({ min: 1, max: 3 }), zone: fc.constantFrom(null, 'z1', 'nova', 'nowhere') },
  ...{ host: fc.constantFrom(null, 'h1', 'nobody'), ignored: fc.subarray(['h0', 'h2']) },
  ...{ home: fc.constantFrom(null, 'c1', 'c2'), mayCross: fc.boolean() },
  ...{ policy: fc.constantFrom(null, ...GROUP_POLICIES), startAt: fc.uuid() },
});
type AHost = Parameters<Parameters<typeof aHost.map>[0]>[0];
type ARequest = Parameters<Parameters<typeof aRequest.map>[0]>[0];

/** Mostly well: a fleet of which nothing is left would show little. */
const seldom = (all: readonly AHost[]): AHost[] =>
  all.map((each, n) => ({
    ...each,
    ...{ disabled: each.disabled && n % 3 === 0, down: each.down && n % 4 === 0, silent: each.silent && n % 5 === 0 },
    unknown: each.unknown && n % 6 === 0,
  }));

/** Its aggregates name no hosts but candidates, so hosts are not compared whole. */
const ranked = ({ host, weight }: WeighedHost) => [host.hostName, weight];

async function fill(p: TestPlatform, cells: readonly [string, string], hosts: readonly AHost[]): Promise<string[]> {
  const ids: string[] = [];
  const db = p.stores.global;
  for (const [n, host] of hosts.entries()) {
    const name = `h${n}`;
    const id = await addHost(p, cells[host.inSecondCell ? 1 : 0], name, host.vcpus);
    ids.push(id);
    const inventory = { allocation_ratio: host.ratio, reserved: Math.min(host.reserved, host.vcpus) };
    const vcpus = db.updateTable('inventories').set(inventory).where('provider_id', '=', id);
    if (host.used > 0) {
      const consumer = { id: newId(), type: 'server' as const, serverId: newId(), projectId: 'p', userId: 'u' };
      await db.transaction().execute((trx) => claim(trx, consumer, id, { VCPU: host.used }));
    }
    // Behind the claim: a host may have more in use than it now has.
    await vcpus.where('resource_class', '=', 'VCPU').execute();
    if (host.disabled) await updateService(p, name, { disabled: true });
    if (host.down) await updateService(p, name, { forcedDown: true });
    if (host.silent) await db.updateTable('hosts').set({ last_seen_at: null }).where('id', '=', id).execute();
    if (host.unknown) await db.updateTable('hosts').set({ reconciled: 0 }).where('id', '=', id).execute();
    if (host.zone !== null) await putInZone(p, host.zone, name);
  }
  return ids;
}

async function putInZone(p: TestPlatform, zone: string, host: string): Promise<void> {
  await createAggregate(p, zone, zone);
  const { id } = await p.stores.global
    .selectFrom('aggregates')
    .select('id')
    .where('name', '=', zone)
    .executeTakeFirstOrThrow();
  await addAggregateHost(p, id, host);
}

function requestFor(a: ARequest, hosts: readonly AHost[], ids: readonly string[], cells: ReadonlyMap<string, string>) {
  const members = new Map(ids.flatMap((id, n) => ((hosts[n]?.members ?? 0) > 2 ? [[id, 1] as const] : [])));
  return {
    ...{ resources: { VCPU: a.vcpus, MEMORY_MB: 1 }, extraSpecs: {}, imageProperties: {}, zone: a.zone },
    ...{ requestedHost: a.host, ignoreHosts: a.ignored, crossCellAllowed: a.mayCross },
    homeCellId: a.home === null ? null : (cells.get(a.home) ?? null),
    group: a.policy === null ? null : { policy: a.policy, maxServerPerHost: 1, members },
  } satisfies ScheduleRequest;
}

test('the choice among candidates is the choice among all hosts; with small pages a host is found if there is one', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(aHost, { maxLength: 9 }).map(seldom),
      aRequest,
      fc.constantFrom(1, 2, 200),
      fc.boolean(),
      (hosts, a, maxCandidates, cellDisabled) =>
        withPlatform(
          async (p, { c1, c2 }) => {
            const ids = await fill(p, [c1, c2], hosts);
            if (cellDisabled && hosts.length % 2 === 0) await setCellDisabled(p, 'c2', true);
            const cells = new Map([
              ['c1', c1],
              ['c2', c2],
            ]);
            const request = requestFor(a, hosts, ids, cells);
            const expected = schedule(request, await hostStates(p), p.settings.weights);
            const passing = new Set(expected.kind === 'none' ? [] : expected.hosts.map(({ host }) => host.hostId));
            const pages = await Array.fromAsync(candidatePages(p, request, a.startAt));
            const offered = new Set(pages.flat().map(({ hostId }) => hostId));
            assert.deepEqual(passing.difference(offered), new Set(), 'a host that passes was left out');
            const found = await chooseAmongAll(p, request, a.startAt);
            if (expected.kind === 'none') return assert.deepEqual(found, expected);
            assert(found.kind === 'selected');
            if (maxCandidates === 200) return assert.deepEqual(found.hosts.map(ranked), expected.hosts.map(ranked));
            for (const { host } of found.hosts) assert.ok(passing.has(host.hostId));
          },
          { maxCandidates },
        ),
    ),
    { numRuns: 60 },
  ));

test('servers begin at different hosts, pages go round, and no host comes twice', () =>
  withPlatform(
    async (p, { c1 }) => {
      for (let n = 0; n < 7; n += 1) await addHost(p, c1, `h${n}`);
      const all = (await hostStates(p)).map(({ hostId }) => hostId).sort();
      const request = requestFor(
        { vcpus: 1, zone: null, host: null, ignored: [], home: null, mayCross: true, policy: null, startAt: '' },
        ...([[], [], new Map()] as const),
      );
      for (const [n, startAt] of all.entries()) {
        const pages: string[][] = [];
        for await (const page of candidatePages(p, request, startAt))
          pages.push(page.map(({ hostId }) => hostId).sort());
        assert.deepEqual(
          pages.map((page) => page.length),
          [3, 3, 1],
        );
        const [first = []] = pages;
        const expected = [1, 2, 3].map((step) => all[(n + step) % 7]);
        assert.deepEqual(first, expected.sort());
        assert.deepEqual(pages.flat().sort(), all);
      }
    },
    { maxCandidates: 3 },
  ));

test('a choice among many hosts reads few of them', () =>
  withPlatform(
    async (p, { c1 }) => {
      for (let n = 0; n < 12; n += 1) await addHost(p, c1, `h${n}`);
      const request = requestFor(
        { vcpus: 1, zone: null, host: null, ignored: [], home: null, mayCross: true, policy: null, startAt: '' },
        ...([[], [], new Map()] as const),
      );
      const found = await chooseAmongAll(p, request, newId());
      assert.equal(found.kind === 'selected' && found.hosts.length, 5);
    },
    { maxCandidates: 5 },
  ));
