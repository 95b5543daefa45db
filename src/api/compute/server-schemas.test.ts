import assert from 'node:assert/strict';
import { test } from 'node:test';
import { schemaAt } from '../http/route.ts';
import { checkBody } from '../http/validation.ts';
import { REBUILD_ACTIONS } from './rebuild-action.ts';
import { CreateBody, UpdateBody } from './server-schemas.ts';

const ID = '11111111-1111-4111-8111-111111111111';

/** Who takes the host name at this microversion: create, update, rebuild. */
function takenBy(hostname: string, minor: number): boolean[] {
  const server = { name: 'a', flavorRef: '1', imageRef: ID, networks: 'none', hostname };
  const asked = [
    [schemaAt(CreateBody, minor), { server }],
    [schemaAt(UpdateBody, minor), { server: { hostname } }],
    [REBUILD_ACTIONS['rebuild']?.schema(minor), { imageRef: ID, hostname }],
  ] as const;
  return asked.map(([schema, body]) => {
    assert(schema);
    try {
      checkBody(schema, body);
      return true;
    } catch {
      return false;
    }
  });
}

const all = [true, true, true];
const none = [false, false, false];

test('a host name comes with its domain from 2.94 on, and alone from 2.90', () => {
  const label = 'a'.repeat(63);
  for (const name of ['web-1.example.org', `${label}.${label}`]) {
    assert.deepEqual(takenBy(name, 93), none, name);
    assert.deepEqual(takenBy(name, 94), all, name);
  }
  for (const name of ['web-1', 'a', label]) for (const minor of [90, 94]) assert.deepEqual(takenBy(name, minor), all);
  for (const name of ['', '-a', 'a-', 'a..b', '.a', 'a.', 'a_b', `${label}a`, 'a.'.repeat(128)])
    for (const minor of [90, 94]) assert.deepEqual(takenBy(name, minor), none, name);
  assert.deepEqual(takenBy('web-1', 89), none);
});
