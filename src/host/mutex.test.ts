import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Semaphore } from './mutex.ts';

test('who is aborted leaves the queue at once and never runs; the others keep their order, and the turn is not lost', async () => {
  const one = new Semaphore(1);
  const never = new AbortController().signal;
  const ran: string[] = [];
  const body = (name: string) => async () => {
    ran.push(name);
  };
  const gate = Promise.withResolvers<void>();
  const first = one.run(never, () => gate.promise);
  const leaving = new AbortController();
  const left = one.run(leaving.signal, body('left'));
  const second = one.run(never, body('second'));
  const third = one.run(never, body('third'));
  leaving.abort(new Error('not wanted any more'));
  // While the first still runs.
  await assert.rejects(left, /not wanted any more/);
  await assert.rejects(one.run(leaving.signal, body('too late')), /not wanted any more/);
  gate.resolve();
  await Promise.all([first, second, third]);
  // An abort behind the turn is the body's own affair.
  const own = new AbortController();
  const doing = Promise.withResolvers<void>();
  const inside = one.run(own.signal, () => doing.promise);
  own.abort();
  const last = one.run(never, body('last'));
  doing.resolve();
  await Promise.all([inside, last]);
  assert.deepEqual(ran, ['second', 'third', 'last']);
});
