// What counts as a difference between two answers, and what does not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Answer } from './cloud.ts';
import { filled, valueAt } from './exchange.ts';
import { differences, shapeOf } from './shape.ts';

const answer = (status: number, json: unknown, headers: Record<string, string> = {}): Answer => ({
  ...{ status, json, text: JSON.stringify(json), headers: new Headers(headers) },
});
const seen = (given: Answer, names: Record<string, string> = {}) =>
  shapeOf(given, new Map(Object.entries(names).map(([name, value]) => [value, name])));

describe('two answers', () => {
  test('agree although ids, values and the keys of metadata differ', () => {
    const ours = answer(200, { servers: [{ id: 'a', metadata: { x: '1' } }] }, { date: 'now' });
    const peer = answer(200, { servers: [{ id: 'b', metadata: {} }, { id: 'c' }] });
    assert.deepEqual(differences(seen(ours), seen(peer)), []);
  });

  test('differ by status, keys, headers and words', () => {
    const said = (message: string) => ({ itemNotFound: { code: 404, message } });
    const ours = answer(404, { ...said('No server aaaaaaaa.'), more: 1 }, { location: '/here' });
    const peer = answer(404, said('No such server bbbbbbbb.'), { 'retry-after': '0' });
    assert.deepEqual(differences(seen(ours, { server: 'aaaaaaaa' }), seen(peer, { server: 'bbbbbbbb' })), [
      'lacks header retry-after',
      'more: header location',
      'more: key more',
      'says "No server {server}." instead of "No such server {server}."',
    ]);
    assert.deepEqual(differences(seen(answer(200, { a: 1 })), seen(answer(202, { b: 1 }))), [
      'status 200 instead of 202',
    ]);
  });

  test('differ not by what is in a list that is empty on one side, but by the list and by what its items are', () => {
    const [none, one, words] = [{ ports: [] }, { ports: [{ id: 'a', ips: [{ ip: 'b' }] }] }, { ports: ['a'] }];
    const between = (ours: object, peer: object) => differences(seen(answer(200, ours)), seen(answer(200, peer)));
    assert.deepEqual(between(none, one), []);
    assert.deepEqual(between(one, none), []);
    assert.deepEqual(between(words, none), []);
    assert.deepEqual(between({}, one), ['lacks key ports, ports[].id, ports[].ips, ports[].ips[].ip']);
    assert.deepEqual(between(words, { ports: [{ id: 'a' }] }), ['lacks key ports[].id', 'more: key ports[]']);
  });

  test('tell the same of a request of their own each', () => {
    const words = (id: string) => answer(400, { message: `Image ${id} is not there (req-${id}).` });
    const [one, other] = ['11111111-2222-4333-8444-555555555555', '66666666-7777-4888-9999-000000000000'];
    assert.deepEqual(differences(seen(words(one)), seen(words(other))), []);
  });
});

describe('a request', () => {
  test('is filled with what earlier answers said', () => {
    const names = new Map([['server', 'abc']]);
    const asked = { service: 'compute', method: 'POST', path: '/servers/{server}', body: { at: '{server}' } } as const;
    assert.deepEqual(filled(asked, names), { ...asked, path: '/servers/abc', body: { at: 'abc' } });
    assert.throws(() => filled({ ...asked, path: '/{image}' }, names), /no answer gave {image}/);
  });

  test('keeps what is at a path of an answer', () => {
    assert.equal(valueAt({ servers: [{ id: 'a' }] }, 'servers.0.id'), 'a');
    assert.equal(valueAt({ servers: [] }, 'servers.0.id'), undefined);
  });
});
