// `crosscell policy check` says what the API would do: by its exit status.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { type PolicyOptions, policyCommand } from './policy.ts';

/** Exit status of a check, whatever it prints. */
function check(options: Partial<PolicyOptions>): number {
  const quiet = [process.stdout, process.stderr].map((stream) => mock.method(stream, 'write', () => true));
  try {
    return policyCommand('check', { user: 'u1', roles: 'admin', system: false, json: false, ...options });
  } finally {
    for (const each of quiet) each.mock.restore();
  }
}

const LIST = 'os_compute_api:servers:index';

test('a role counts in a project; of the system or a domain for identity alone', () => {
  for (const [scope, compute] of [
    [{}, 0],
    [{ project: 'p2' }, 0],
    [{ project: '' }, 1],
    [{ system: true }, 1],
    [{ domain: 'default' }, 1],
  ] as const) {
    assert.equal(check({ rule: LIST, ...scope }), compute, JSON.stringify(scope));
    assert.equal(check({ rule: 'identity:list_domains', ...scope }), 0, JSON.stringify(scope));
  }
});

test('whose the domain is counts', () => {
  const manager = { rule: 'identity:list_users', roles: 'reader', target: ['target.domain_id=d1'] };
  assert.equal(check({ ...manager, domain: 'd1' }), 0);
  assert.equal(check({ ...manager, domain: 'd2' }), 1);
  assert.equal(check({ ...manager, system: true }), 0);
});

test('wrong usage: two scopes, no rule of that name', () => {
  assert.equal(check({ rule: LIST, system: true, domain: 'd1' }), 2);
  assert.equal(check({ rule: LIST, project: 'p1', system: true }), 2);
  assert.equal(check({ rule: 'none' }), 2);
});
