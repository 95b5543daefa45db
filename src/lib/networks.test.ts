import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNetwork, networkList, urlHost } from './networks.ts';

test('a list of networks has its addresses, and no text that is none', () => {
  const list = networkList(['127.0.0.0/8', '10.0.0.5', '::1', 'fd00::/8']);
  for (const address of ['127.0.0.1', '127.9.9.9', '10.0.0.5', '::ffff:10.0.0.5', '::1', 'fd12::3']) {
    assert.ok(list.has(address), address);
  }
  for (const address of ['128.0.0.1', '10.0.0.6', '::ffff:10.0.0.6', '::2', 'fe80::1', '', 'unknown', '10.0.0.5:80']) {
    assert.ok(!list.has(address), address);
  }
  assert.ok(!networkList([]).has('127.0.0.1'));
});

test('addresses and networks are told from other texts', () => {
  for (const text of ['10.0.0.5', '10.0.0.0/8', '0.0.0.0/0', '::1', 'fd00::/8', '::/128'])
    assert.ok(isNetwork(text), text);
  for (const text of ['', 'proxy', '10.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '::/129', '10.0.0.0/-1']) {
    assert.ok(!isNetwork(text), text);
  }
});

test('a host in a URL', () => {
  for (const [host, wanted] of [
    ['10.0.0.5', '10.0.0.5'],
    ['a.example', 'a.example'],
    ['fd00::5', '[fd00::5]'],
  ] as const)
    assert.equal(urlHost(host), wanted);
});
