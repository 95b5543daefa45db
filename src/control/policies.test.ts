import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { pino } from 'pino';
import { systemClock } from '../lib/clock.ts';
import type { Actor } from '../model/types.ts';
import { compileText, openPolicies } from './policies.ts';

const directory = mkdtempSync(join(tmpdir(), 'crosscell-policy-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const member: Actor = { userId: 'u1', projectId: 'p1', roles: ['member'], requestId: 'req' };
const RULE = 'os_compute_api:servers:create';

function opened(name: string, text: string) {
  const file = join(directory, name);
  writeFileSync(file, text);
  const lines: string[] = [];
  let now = 0;
  const clock = { now: () => now, sleep: systemClock.sleep };
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const policies = openPolicies(file, log, clock);
  const later = (milliseconds: number): void => {
    now += milliseconds;
  };
  return { file, lines, policies, later };
}

describe('the policy file', () => {
  it('is read again when it has changed, within a second', () => {
    const { file, policies, later } = opened('hot.yaml', '');
    assert.ok(policies.allows('compute', RULE, member));
    writeFileSync(file, `"${RULE}": "rule:context_is_admin"\n`);
    later(1000);
    assert.ok(!policies.allows('compute', RULE, member));
    assert.equal(policies.state().refused, null);
  });

  it('broken, leaves the rules before it in force, says so once in the log, and shows it', () => {
    const { file, policies, later, lines } = opened('broken.yaml', `"${RULE}": "!"\n`);
    assert.ok(!policies.allows('compute', RULE, member));
    writeFileSync(file, `"${RULE}": "rule:nowhere"\n`);
    for (let look = 0; look < 3; look += 1) {
      later(1000);
      assert.ok(!policies.allows('compute', RULE, member));
    }
    assert.match(policies.state().refused ?? '', /there is no rule 'nowhere'/);
    assert.equal(lines.filter((line) => line.includes('the rules before it stay in force')).length, 1);
    rmSync(file);
    later(1000);
    assert.ok(!policies.allows('compute', RULE, member));
    assert.match(policies.state().refused ?? '', /cannot be read/);
    writeFileSync(file, '{}');
    later(1000);
    assert.ok(policies.allows('compute', RULE, member));
    assert.equal(policies.state().refused, null);
  });

  it('wrong or absent at the start, is refused', () => {
    assert.throws(() => opened('start.yaml', `"${RULE}": "("`), /servers:create/);
    const log = pino({ level: 'silent' });
    assert.throws(() => openPolicies(join(directory, 'absent.yaml'), log, systemClock), /cannot be read/);
  });

  it('warns of names that nothing asks for', () => {
    const { lines, policies } = opened('warn.json', '{"os_compute_api:servers:craete": "!"}');
    assert.equal(lines.filter((line) => line.includes('craete')).length, 1);
    assert.equal(policies.state().warnings.length, 1);
  });

  it('is YAML of names and checks, without duplicates, aliases or bombs', () => {
    const complaint = (text: string): string => {
      const read = compileText(text, 'f');
      return read.kind === 'bad' ? read.complaint : 'nothing';
    };
    assert.equal(complaint(`"${RULE}": [["role:a"], ["role:b", "role:c"]]`), 'nothing');
    assert.match(complaint('- a\n'), /name: check/);
    assert.match(complaint('a: "@"\na: "!"\n'), /unique/i);
    assert.match(complaint('a: &x ["@"]\nb: [*x, *x]\n'), /alias/i);
    assert.match(complaint('a: [\n'), /^f: /);
  });
});
