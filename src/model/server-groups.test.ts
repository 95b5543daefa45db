// Group policies: what they leave to a member, however the others are placed and moving.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  checkGroupRules,
  GROUP_POLICIES,
  type GroupPolicy,
  groupRefusal,
  type Holding,
  membersByHost,
} from './server-groups.ts';

const HOSTS = ['h0', 'h1', 'h2', 'h3'];
/** Each server has one place, and may have an old one, kept by the migration that waits. */
const holdings: fc.Arbitrary<readonly Holding[]> = fc
  .array(fc.tuple(fc.constantFrom(...HOSTS), fc.option(fc.constantFrom(...HOSTS))), { maxLength: 6 })
  .map((servers) =>
    servers.flatMap(([now, before], index): Holding[] => {
      const serverId = `s${index}`;
      const here: Holding = { serverId, consumer: 'server', hostId: now };
      return before === null ? [here] : [{ serverId, consumer: 'migration', hostId: before }, here];
    }),
  );

const view = (policy: GroupPolicy, held: readonly Holding[], maxServerPerHost = 1) => ({
  policy,
  maxServerPerHost,
  members: membersByHost(policy, held),
});

test('anti-affinity holds whichever of the waiting moves are confirmed and whichever are reverted', () =>
  fc.assert(
    fc.property(holdings, fc.integer({ min: 1, max: 3 }), fc.constantFrom(...HOSTS), (held, max, host) => {
      const group = view('anti-affinity', held, max);
      const most = new Set(held.filter((each) => each.hostId === host).map((each) => each.serverId)).size;
      assert.equal(groupRefusal(group, host) === null, most < max);
    }),
  ));

test('affinity leaves the hosts where other members are now, and every host to the first', () =>
  fc.assert(
    fc.property(holdings, fc.constantFrom(...HOSTS), (held, host) => {
      const now = held.filter((each) => each.consumer === 'server').map((each) => each.hostId);
      const allowed = held.length === 0 || now.includes(host);
      assert.equal(groupRefusal(view('affinity', held), host) === null, allowed);
    }),
  ));

test('a member between two places counts where it was: it has not arrived', () => {
  const held: Holding[] = [{ serverId: 's', consumer: 'migration', hostId: 'h0' }];
  for (const policy of GROUP_POLICIES) assert.deepEqual([...membersByHost(policy, held)], [['h0', 1]]);
});

test('soft policies refuse nothing', () =>
  fc.assert(
    fc.property(
      holdings,
      fc.constantFrom<GroupPolicy>('soft-affinity', 'soft-anti-affinity'),
      fc.constantFrom(...HOSTS),
      (held, policy, host) => {
        assert.equal(groupRefusal(view(policy, held), host), null);
      },
    ),
  ));

test('max_server_per_host is a rule of anti-affinity alone', () => {
  assert.equal(checkGroupRules('anti-affinity', 2), null);
  assert.equal(checkGroupRules('affinity', null), null);
  assert.deepEqual(checkGroupRules('soft-anti-affinity', 2), {
    code: 400,
    message: 'Only anti-affinity policy supports rules.',
  });
});
