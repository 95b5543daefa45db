import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { explain, judge } from './judge.ts';
import { parseCheck, renderCheck } from './language.ts';
import { compileRules, decide, defaultRules, ownTarget, type PolicyService, type Rules } from './rules.ts';

function compiled(file: Record<string, unknown> = {}): Rules {
  const result = compileRules(new Map(Object.entries(file)));
  assert.equal(result.kind, 'ok', JSON.stringify(result));
  return result.kind === 'ok' ? result.rules : { byService: {} as Rules['byService'], warnings: [] };
}
const DEFAULTS = compiled();
const who = (roles: string[], projectId = 'p1', userId = 'u1') => ({ userId, projectId, roles });
const allowed = (
  name: string,
  asking: ReturnType<typeof who>,
  target: Record<string, string> = ownTarget(asking),
  rules = DEFAULTS,
  service: PolicyService = 'compute',
): boolean => decide(rules, service, name, asking, target).holds;

describe('rules', () => {
  it('the defaults are whole: every rule that one names is there', () => {
    for (const { service, name } of defaultRules()) {
      assert.ok(DEFAULTS.byService[service].has(name));
      assert.equal(compileRules(new Map([[name, `rule:${name}2`]])).kind, 'bad');
    }
  });

  it('V1: resize, confirm and revert are for members of the project and administrators', () => {
    for (const action of ['resize', 'confirm_resize', 'revert_resize']) {
      const rule = `os_compute_api:servers:${action}`;
      const target = { project_id: 'p1', user_id: 'u9' };
      assert.ok(allowed(rule, who(['member']), target));
      assert.ok(allowed(rule, who(['admin'], 'p2'), target));
      assert.ok(!allowed(rule, who(['reader']), target));
      assert.ok(!allowed(rule, who(['member'], 'p2'), target));
    }
  });

  it("V2: migrate is for the project's managers and administrators, naming the host for administrators", () => {
    const target = { project_id: 'p1', user_id: 'u9' };
    const rule = 'os_compute_api:os-migrate-server:migrate';
    assert.deepEqual(
      [who(['member']), who(['manager']), who(['manager'], 'p2'), who(['admin'], 'p2')].map((each) => [
        allowed(rule, each, target),
        allowed(`${rule}:host`, each, target),
      ]),
      [
        [false, false],
        [true, false],
        [false, false],
        [true, true],
      ],
    );
  });

  it('V3: crossing cells is for members by default, for nobody as in Nova when the file says so', () => {
    const rule = 'compute:servers:resize:cross_cell';
    assert.ok(allowed(rule, who(['member'])));
    assert.ok(!allowed(rule, who(['reader'])));
    assert.ok(!allowed(rule, who(['admin']), {}, compiled({ [rule]: '!' })));
  });

  it('roles imply the lower ones, whatever their case', () => {
    assert.ok(allowed('os_compute_api:servers:create', who(['Manager'])));
    assert.ok(!allowed('os_compute_api:servers:create', who(['something'])));
  });

  it("a target without the word that a rule asks about is nobody's", () => {
    assert.ok(!allowed('project_member_api', who(['member']), {}));
    assert.ok(!allowed('project_member_api', who(['member'], ''), { project_id: '' }));
  });

  it('an image is for whom its visibility says', () => {
    const get = (visibility: string) =>
      allowed('get_image', who(['reader'], 'p2'), { project_id: 'p1', visibility }, DEFAULTS, 'image');
    assert.deepEqual([get('public'), get('community'), get('private')], [true, true, false]);
  });

  it('a name in several services is changed in all of them', () => {
    const rules = compiled({ context_is_admin: 'role:boss' });
    for (const service of ['compute', 'image', 'network'] as const) {
      assert.ok(allowed('context_is_admin', who(['boss']), {}, rules, service));
      assert.ok(!allowed('context_is_admin', who(['admin']), {}, rules, service));
    }
    assert.ok(allowed('os_compute_api:os-aggregates:create', who(['boss']), {}, rules));
  });

  it("an operator's own names may be used, and are warned of when nothing uses them", () => {
    const rules = compiled({
      support: 'role:support',
      'os_compute_api:servers:show': 'rule:support or rule:project_reader_or_admin',
      'os_compute_api:servers:shwo': '!',
      // Nova's, of a call that is not served here; and a word that no rule uses.
      'os_compute_api:os-baremetal-nodes:list': '!',
      regular_user: '!',
      // Used, but by one that nothing asks for.
      ours: 'rule:ours_too',
      ours_too: '@',
    });
    assert.deepEqual(rules.warnings, [
      "nothing asks for a rule 'os_compute_api:servers:shwo'",
      "nothing asks for a rule 'os_compute_api:os-baremetal-nodes:list'",
      "nothing asks for a rule 'regular_user'",
      "nothing asks for a rule 'ours'",
      "nothing asks for a rule 'ours_too'",
    ]);
    assert.ok(allowed('os_compute_api:servers:show', who(['support'], 'p9'), { project_id: 'p1' }, rules));
  });

  it('refuses circles, rules that are not there, and checks that are none, naming each', () => {
    const complaints = (file: Record<string, unknown>): string => {
      const result = compileRules(new Map(Object.entries(file)));
      return result.kind === 'bad' ? result.complaints.join('; ') : 'nothing';
    };
    const create = 'os_compute_api:servers:create';
    assert.match(complaints({ [create]: 'rule:nowhere' }), /create: there is no rule 'nowhere'/);
    assert.match(complaints({ [create]: 'rule:a', a: 'rule:b', b: 'not rule:a' }), /circle: .* a → b → a/);
    assert.match(complaints({ a: 'rule:b', b: 'rule:a' }), /^a: goes round in a circle: a → b → a/);
    assert.equal(complaints({ a: 'rule:b', b: 'rule:nowhere' }), 'nothing');
    assert.match(complaints({ [create]: 'admin', 'os_compute_api:servers:show': 3 }), /create: .*; .*show: /);
  });

  it('explains with the checks that were looked at, and the explanation ends where the verdict does', () => {
    const lines = explain(
      decide(DEFAULTS, 'compute', 'os_compute_api:servers:create', who(['reader']), { project_id: 'p1' }),
      renderCheck,
    );
    assert.deepEqual(lines, [
      'no   rule:os_compute_api:servers:create',
      '  no   rule:project_member_or_admin',
      '    no   rule:project_member_api or rule:context_is_admin',
      '      no   rule:project_member_api',
      '        no   role:member and project_id:%(project_id)s',
      '          no   role:member',
      '      no   rule:context_is_admin',
      '        no   role:admin',
    ]);
  });

  it('judges as logic does, for every check, actor and target', () => {
    const words = fc.constantFrom(
      'role:a',
      'role:b',
      'user_id:u1',
      'user_id:%(user_id)s',
      "'x':%(y)s",
      '@',
      '!',
      'rule:r',
    );
    const text = fc
      .array(fc.tuple(words, fc.constantFrom('and', 'or', 'and not', 'or not')), { minLength: 1, maxLength: 6 })
      .map((all) => all.map(([word, operator], index) => (index === 0 ? word : `${operator} ${word}`)).join(' '));
    fc.assert(
      fc.property(
        text,
        fc.subarray(['a', 'b']),
        fc.constantFrom('u1', 'u2'),
        fc.constantFrom('x', 'z'),
        (check, roles, user, y) => {
          const parsed = parseCheck(check);
          assert.equal(parsed.kind, 'ok');
          if (parsed.kind !== 'ok') return;
          const role: ReadonlySet<string> = new Set(roles);
          const rules = new Map([['r', { kind: 'role', role: 'b' } as const]]);
          const verdict = judge(parsed.check, {
            rules,
            credentials: { roles: role, words: { user_id: 'u1' } },
            target: { user_id: user, y },
          });
          const truths: Record<string, boolean> = {
            'role:a': role.has('a'),
            'role:b': role.has('b'),
            'rule:r': role.has('b'),
            'user_id:u1': true,
            'user_id:%(user_id)s': user === 'u1',
            "'x':%(y)s": y === 'x',
            '@': true,
            '!': false,
          };
          const holds = check
            .split(' or ')
            .some((part) =>
              part.split(' and ').every((each) => (each.startsWith('not ') ? !truths[each.slice(4)] : truths[each])),
            );
          assert.equal(verdict.holds, holds, check);
        },
      ),
    );
  });
});
