import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { type FakeAnswer, type FakeOpenstack, fakeOpenstack } from './testing.ts';
import { createTokenChecker } from './token-checker.ts';
import { ServiceDown } from './transport.ts';

const CACHE_MS = 60_000;

/** A Keystone that knows these users' tokens, and a checker that asks it. */
async function world(clock: VirtualClock) {
  const fake = await fakeOpenstack(clock);
  const tokens = new Map<string, object>([['alice', aliceUntil(clock.now() + 3600_000)]]);
  fake.on('/v3/auth/tokens?nocatalog', ({ headers }): FakeAnswer => {
    const token = tokens.get(String(headers['x-subject-token']));
    return token ? { status: 200, body: { token } } : { status: 404, body: { error: { message: 'no such token' } } };
  });
  const checker = createTokenChecker({ session: fake.session, clock, cacheMs: CACHE_MS });
  return { fake, tokens, checker, questions: () => questionsTo(fake) };
}

const questionsTo = (fake: FakeOpenstack): number => fake.asked.filter(({ method }) => method === 'GET').length;

const aliceUntil = (endsAt: number) => ({
  ...{ user: { id: 'u1', name: 'alice', domain: { id: 'default' } }, expires_at: new Date(endsAt).toISOString() },
  ...{ project: { id: 'p1', domain: { id: 'd1' } }, roles: [{ id: 'r', name: 'member' }] },
});

const ALICE = { userId: 'u1', projectId: 'p1', projectDomainId: 'd1', roles: ['member'] };

test('a good token is asked about once in the time of the cache, by all together', async () => {
  const clock = new VirtualClock();
  const { fake, checker, questions } = await world(clock);
  await using _ = fake;
  const all = await Promise.all([1, 2, 3].map(() => checker.principalOf('alice')));
  assert.deepEqual(all, [ALICE, ALICE, ALICE]);
  await clock.pass(CACHE_MS - 1);
  assert.deepEqual(await checker.principalOf('alice'), ALICE);
  assert.equal(questions(), 1);
  await clock.pass(1);
  assert.deepEqual(await checker.principalOf('alice'), ALICE);
  assert.equal(questions(), 2);
});

test('a revoked token is refused when the time of the cache is over', async () => {
  const clock = new VirtualClock();
  const { fake, tokens, checker } = await world(clock);
  await using _ = fake;
  assert.deepEqual(await checker.principalOf('alice'), ALICE);
  tokens.delete('alice');
  await clock.pass(CACHE_MS);
  assert.equal(await checker.principalOf('alice'), null);
});

test('a token is refused at its end, also when Keystone thinks otherwise', async () => {
  const clock = new VirtualClock();
  const { fake, tokens, checker } = await world(clock);
  await using _ = fake;
  tokens.set('short', aliceUntil(clock.now() + 1000));
  assert.deepEqual(await checker.principalOf('short'), ALICE);
  await clock.pass(1000);
  assert.equal(await checker.principalOf('short'), null);
});

test('a bad token is remembered for a while, and pushes no good one out', async () => {
  const clock = new VirtualClock();
  const { fake, checker, questions } = await world(clock);
  await using _ = fake;
  for (let i = 0; i < 5; i += 1) assert.equal(await checker.principalOf('nobody'), null);
  assert.equal(questions(), 1);
  await clock.pass(10_000);
  assert.equal(await checker.principalOf('nobody'), null);
  assert.equal(questions(), 2);
  assert.equal(await checker.principalOf('not\na header'), null);
  assert.equal(questions(), 2, 'what cannot be a token is not asked about');
});

test('without Keystone only those who are remembered are let in', async () => {
  const clock = new VirtualClock();
  const { fake, checker } = await world(clock);
  await using _ = fake;
  assert.deepEqual(await checker.principalOf('alice'), ALICE);
  fake.on('/v3/auth/tokens?nocatalog', () => ({ status: 503 }));
  assert.deepEqual(await checker.principalOf('alice'), ALICE);
  await assert.rejects(checker.principalOf('bob'), ServiceDown);
  await clock.pass(CACHE_MS);
  await assert.rejects(checker.principalOf('alice'), ServiceDown);
});

test('scopes other than a project', async () => {
  const clock = new VirtualClock();
  const { fake, tokens, checker } = await world(clock);
  await using _ = fake;
  const { user, expires_at } = aliceUntil(clock.now() + 3600_000);
  tokens.set('system', { user, expires_at, system: { all: true }, roles: [{ name: 'admin' }] });
  tokens.set('domain', { user, expires_at, domain: { id: 'd1' }, roles: [] });
  tokens.set('unscoped', { user, expires_at });
  const none = { userId: 'u1', projectId: null, roles: [] };
  assert.deepEqual(await checker.principalOf('system'), { ...none, systemScope: true, roles: ['admin'] });
  assert.deepEqual(await checker.principalOf('domain'), { ...none, domainId: 'd1' });
  assert.deepEqual(await checker.principalOf('unscoped'), none);
});

test('what Keystone says of the service user is no judgement of a token', async () => {
  const clock = new VirtualClock();
  const { fake, checker } = await world(clock);
  await using _ = fake;
  fake.on('/v3/auth/tokens?nocatalog', () => ({ status: 403, body: { error: { message: 'You are not authorized' } } }));
  await assert.rejects(checker.principalOf('alice'), /does not judge tokens: status 403 You are not authorized/);
  await assert.rejects(checker.principalOf('alice'), ServiceDown, 'and nothing is remembered');
});
