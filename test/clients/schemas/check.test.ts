// That answers are held against the schema that is meant, and that a wrong one is found.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SeenAnswer } from '../../../src/api/http/app.ts';
import { hold } from './check.ts';
import type { Expectations, ExpectedCall } from './tempest.ts';

const call = (method: string, path: (string | null)[], schema: string, more: Partial<ExpectedCall> = {}) =>
  ({ service: 'compute', method, path, action: null, from: 1, to: null, schema, ...more }) as const;

const EXPECTED: Expectations = {
  names: {},
  calls: [
    call('GET', ['servers', null], 'old', { to: 8 }),
    call('GET', ['servers', null], 'new', { from: 9 }),
    call('GET', ['servers', 'detail'], 'detail'),
    call('POST', ['servers', null, 'action'], 'lock', { action: 'lock' }),
  ],
  mismatch: (schema, status) => (status === 200 ? null : `${schema} refuses ${status}`),
};
const seen = (url: string, more: Partial<SeenAnswer> = {}): SeenAnswer => ({
  ...{ method: 'GET', url: `/compute/v2.1/${url}`, minor: 1, request: undefined, status: 200, body: {} },
  ...more,
});

test('the schema is found by path, microversion and action', () => {
  const right = (schema: string) => ({ kind: 'right', schema });
  assert.deepEqual(hold(EXPECTED, seen('servers/x')), right('old'));
  assert.deepEqual(hold(EXPECTED, seen('servers/x?a=b', { minor: 9 })), right('new'));
  assert.deepEqual(hold(EXPECTED, seen('servers/detail')), right('detail'));
  const lock = { method: 'POST', request: { lock: null } };
  assert.deepEqual(hold(EXPECTED, seen('servers/x/action', lock)), right('lock'));
});

test('what Tempest would refuse is wrong; what it never sees is nothing', () => {
  assert.deepEqual(hold(EXPECTED, seen('servers/x', { status: 202 })), { kind: 'wrong', reason: 'old refuses 202' });
  assert.equal(hold(EXPECTED, seen('servers/x', { status: 404 })).kind, 'nothing');
  assert.equal(hold(EXPECTED, seen('servers/x', { minor: 96, status: 202 })).kind, 'nothing');
  assert.equal(hold(EXPECTED, seen('flavors/x', { status: 202 })).kind, 'nothing');
  assert.equal(hold(EXPECTED, seen('servers/x/action', { method: 'POST', request: { unlock: null } })).kind, 'nothing');
});
