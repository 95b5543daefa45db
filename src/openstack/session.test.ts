// The client against a small OpenStack inside the process: renewal of tokens, retries, the breaker, bad answers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Type } from 'typebox';
import { VirtualClock } from '../lib/virtual-clock.ts';
import type { Ask } from './session.ts';
import { fakeOpenstack } from './testing.ts';
import { ServiceDown } from './transport.ts';

const Thing = Type.Object({ name: Type.String() });
const get: Ask = { service: 'image', method: 'GET', path: '/things/1' };
const post: Ask = { service: 'image', method: 'POST', path: '/things', body: { name: 'x' } };
const THING = { status: 200, body: { name: 'x' } };

test('one login serves until shortly before the end of its token, and its catalog says where services are', async () => {
  const clock = new VirtualClock();
  await using fake = await fakeOpenstack(clock);
  fake.on('/image/v2/things', () => THING);
  const answers = await Promise.all([1, 2, 3].map(() => fake.session.ask(Thing, { ...get, requestId: 'req-1' })));
  assert.deepEqual(
    answers.map((each) => each.kind === 'ok' && each.body),
    [{ name: 'x' }, { name: 'x' }, { name: 'x' }],
  );
  assert.equal(fake.logins(), 1, 'those who need a token at once share a login');
  assert.equal(fake.asked.at(-1)?.headers['x-openstack-request-id'], 'req-1');
  await clock.pass(54 * 60_000);
  await fake.session.ask(Thing, get);
  assert.equal(fake.logins(), 1);
  await clock.pass(2 * 60_000);
  await fake.session.ask(Thing, get);
  assert.equal(fake.logins(), 2, 'renewed while it is still good');
});

test('a token that is refused is replaced, and the request sent again, whatever it is', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  fake.on('/image/v2/things', () => ({ ...THING, status: 201 }));
  await fake.session.ask(Thing, post);
  fake.revoked.add('token-1');
  const answer = await fake.session.ask(Thing, post);
  assert.equal(answer.kind, 'ok');
  assert.equal(fake.logins(), 2);
  assert.equal(fake.asked.at(-1)?.headers['x-auth-token'], 'token-2');
});

test('while Keystone is away a token serves on until its end', async () => {
  const clock = new VirtualClock();
  await using fake = await fakeOpenstack(clock);
  fake.on('/image/v2/things', () => THING);
  await fake.session.ask(Thing, get);
  fake.on('/v3/auth/tokens', () => ({ status: 503 }));
  await clock.pass(58 * 60_000);
  assert.equal((await fake.session.ask(Thing, get)).kind, 'ok');
  await clock.pass(3 * 60_000);
  await assert.rejects(fake.session.ask(Thing, get), /the service user has no token/);
});

test('a wrong password says so, and is not tried for ever', async () => {
  await using fake = await fakeOpenstack(new VirtualClock(), { password: 'wrong' });
  await assert.rejects(fake.session.ask(Thing, get), /does not let the service user in/);
  for (let i = 0; i < 20; i += 1) await assert.rejects(fake.session.ask(Thing, get), ServiceDown);
  assert.ok(fake.logins() <= 6, `the breaker keeps Keystone from ${fake.logins()} logins`);
});

test('what may be repeated is repeated when it fails, what may not is not', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  let calls = 0;
  fake.on('/image/v2/things', () => {
    calls += 1;
    return calls % 3 === 0 ? THING : { status: 503, body: 'busy' };
  });
  assert.equal((await fake.session.ask(Thing, get)).kind, 'ok');
  assert.equal(calls, 3);
  await assert.rejects(fake.session.ask(Thing, post), /status 503 busy/);
  assert.equal(calls, 4);
  assert.equal((await fake.session.ask(Thing, { ...post, repeatable: true })).kind, 'ok');
});

test('a refusal is an answer, with its sentence, and is not repeated', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  fake.on('/image/v2/things', () => ({ status: 409, body: { conflict: { message: 'Taken.' } } }));
  for (let i = 0; i < 10; i += 1) {
    assert.deepEqual(await fake.session.ask(Thing, get), { kind: 'refused', status: 409, message: 'Taken.' });
  }
  assert.equal(fake.asked.length, 11, 'refusals open no breaker');
});

test('a service that fails time after time is left alone, and tried again after a while', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  let down = true;
  fake.on('/image/v2/things', () => (down ? { status: 503 } : THING));
  fake.on('/network/v2.0/things', () => THING);
  for (let i = 0; i < 20; i += 1) await assert.rejects(fake.session.ask(Thing, post), ServiceDown);
  const reached = fake.asked.filter(({ path }) => path.startsWith('/image')).length;
  assert.equal(reached, 5);
  await assert.rejects(fake.session.ask(Thing, get), /left alone/);
  assert.equal((await fake.session.ask(Thing, { ...get, service: 'network' })).kind, 'ok', 'each has its own breaker');
  down = false;
  for (let i = 0; i < 200; i += 1) {
    await delay(10);
    const answer = await fake.session.ask(Thing, post).catch((error: unknown) => error);
    if (!(answer instanceof ServiceDown)) return;
  }
  assert.fail('the service was never tried again');
});

test('one thing that a service always fails at does not bar the way to the others', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const [lost = '', slow = ''] = ['a', 'b'].map((each) => `/things/${each.repeat(8)}-1111-1111-1111-111111111111`);
  fake.on('/image/v2/things/1', () => THING);
  fake.on(`/image/v2${lost}`, () => ({ status: 500 }));
  fake.on(`/image/v2${slow}`, () => ({ status: 504 }));
  fake.on('/image/v2/things/odd', () => ({ status: 200, body: { name: 7 } }));
  for (let i = 0; i < 3; i += 1) {
    await assert.rejects(fake.session.download({ ...get, path: lost }), /status 500/);
    await assert.rejects(fake.session.ask(Thing, { ...get, path: slow }), /status 504/);
    await assert.rejects(fake.session.ask(Thing, { ...get, path: '/things/odd' }), /not understood/);
  }
  assert.equal((await fake.session.ask(Thing, get)).kind, 'ok');
});

test('an answer that does not come in time, is no JSON, or is not what it must be, is none', async () => {
  await using fake = await fakeOpenstack(new VirtualClock(), { timeoutMs: 100 });
  fake.on('/image/v2/things/hang', () => ({ status: 200, hang: true }));
  fake.on('/image/v2/things/html', () => ({ status: 200, body: '<html>' }));
  fake.on('/image/v2/things/other', () => ({ status: 200, body: { name: 7 } }));
  for (const [path, complaint] of [
    ['hang', /timeout/],
    ['html', /not understood/],
    ['other', /not understood/],
  ] as const) {
    await assert.rejects(fake.session.ask(Thing, { ...post, path: `/things/${path}` }), complaint);
  }
});

test('a type, interface or region that the catalog does not have is said so', async () => {
  await using fake = await fakeOpenstack(new VirtualClock(), { interface: 'admin' });
  await assert.rejects(fake.session.ask(Thing, get), /no image service with interface admin in region RegionOne/);
});

test('data comes as a stream', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  fake.on('/image/v2/images/1/file', () => ({ status: 200, body: Buffer.alloc(100_000, 7) }));
  const said = await fake.session.download({ ...get, path: '/images/1/file' });
  assert.ok(said.kind === 'ok');
  let size = 0;
  for await (const chunk of said.body) size += (chunk as Buffer).length;
  assert.equal(size, 100_000);
  const absent = await fake.session.download({ ...get, path: '/images/2/file' });
  assert.deepEqual(absent, { kind: 'refused', status: 404, message: 'status 404' });
});

test('the one trial of a service that was left alone may need a new token first', { timeout: 10_000 }, async () => {
  const clock = new VirtualClock();
  await using fake = await fakeOpenstack(clock);
  const identity: Ask = { service: 'identity', method: 'GET', path: '/things' };
  fake.on('/v3/things', () => THING);
  assert.equal((await fake.session.ask(Thing, identity)).kind, 'ok');
  fake.on('/v3/things', () => ({ status: 503 }));
  for (let i = 0; i < 5; i += 1) await assert.rejects(fake.session.ask(Thing, identity), ServiceDown);
  fake.on('/v3/things', () => THING);
  fake.revoked.add('token-1');
  for (;;) {
    const answer = await fake.session.ask(Thing, identity).catch((error: unknown) => error);
    if (!(answer instanceof ServiceDown)) break;
    await delay(10);
  }
  assert.equal(fake.logins(), 2);
});
