import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { type Check, MAX_CHECK_LENGTH, parseCheck, renderCheck, rulesIn } from './language.ts';

const parsed = (text: unknown): Check => {
  const result = parseCheck(text);
  assert.equal(result.kind, 'ok', JSON.stringify(result));
  return result.kind === 'ok' ? result.check : { kind: 'never' };
};
const rule = (name: string): Check => ({ kind: 'rule', name });

/** Words that stand for themselves: no blanks, no brackets at their ends, no operators. */
const word = fc
  .stringMatching(/^[a-z][a-z_.]{0,8}$/)
  .filter((text) => !/^(and|or|not|rule|role|field|https?)$/.test(text));
const leaf: fc.Arbitrary<Check> = fc.oneof(
  fc.constant<Check>({ kind: 'always' }),
  fc.constant<Check>({ kind: 'never' }),
  word.map((name): Check => ({ kind: 'rule', name })),
  word.map((role): Check => ({ kind: 'role', role })),
  fc.tuple(word, word).map(([left, right]): Check => ({ kind: 'compare', left, right: `%(${right})s` })),
  fc.tuple(word, word, word).map(([resource, field, value]): Check => ({ kind: 'field', resource, field, value })),
);
const check = fc.letrec<{ check: Check }>((tie) => ({
  check: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    tie('check').map((each): Check => ({ kind: 'not', check: each })),
    fc.array(tie('check'), { minLength: 2, maxLength: 4 }).map((checks): Check => ({ kind: 'and', checks })),
    fc.array(tie('check'), { minLength: 2, maxLength: 4 }).map((checks): Check => ({ kind: 'or', checks })),
  ),
})).check;

describe('the check language', () => {
  it('never throws, whatever the text', () => {
    const pieces = fc.constantFrom(
      '(',
      ')',
      'and',
      'OR',
      'not',
      '@',
      '!',
      'rule:a',
      'role:',
      ':',
      ' ',
      '%(a)s',
      "'x':y",
      'http://x',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(pieces, { maxLength: 40 }).map((all) => all.join(' ')),
      fc.anything(),
    );
    fc.assert(fc.property(text, (any) => ['ok', 'bad'].includes(parseCheck(any).kind)));
  });

  it('reads what it writes', () => {
    fc.assert(
      fc.property(check, (each) => {
        const text = renderCheck(each);
        fc.pre(text.length <= MAX_CHECK_LENGTH);
        assert.deepEqual(parseCheck(text), { kind: 'ok', check: each });
      }),
    );
  });

  it('binds not before and before or', () => {
    assert.deepEqual(parsed('rule:a or rule:b and not rule:c'), {
      kind: 'or',
      checks: [rule('a'), { kind: 'and', checks: [rule('b'), { kind: 'not', check: rule('c') }] }],
    });
    assert.deepEqual(parsed('(rule:a OR rule:b) AND rule:c'), {
      kind: 'and',
      checks: [{ kind: 'or', checks: [rule('a'), rule('b')] }, rule('c')],
    });
  });

  it('reads what OpenStack writes', () => {
    assert.deepEqual(parsed(''), { kind: 'always' });
    assert.deepEqual(parsed("'public':%(visibility)s"), { kind: 'compare', left: "'public'", right: '%(visibility)s' });
    assert.deepEqual(parsed('field:networks:router:external=True'), {
      kind: 'field',
      ...{ resource: 'networks', field: 'router:external', value: 'True' },
    });
    assert.deepEqual(rulesIn(parsed('(rule:a) or not (rule:b and role:c)')), ['a', 'b']);
  });

  it('reads the old form of lists: or over ands', () => {
    assert.deepEqual(parsed([['rule:a'], ['rule:b', 'rule:c']]), parsed('rule:a or (rule:b and rule:c)'));
    assert.deepEqual(parsed([]), { kind: 'always' });
    assert.deepEqual(parsed(['rule:a']), rule('a'));
  });

  it('says what is wrong', () => {
    const complaint = (text: unknown): string => {
      const result = parseCheck(text);
      return result.kind === 'bad' ? result.complaint : 'nothing';
    };
    assert.match(complaint('(rule:a'), /'\)' is missing/);
    assert.match(complaint('rule:a rule:b'), /'rule:b' is not expected there/);
    assert.match(complaint('rule:a and'), /ends too soon/);
    assert.match(complaint('and rule:a'), /'and' is not expected/);
    assert.match(complaint('admin'), /neither @ nor ! nor of the form/);
    assert.match(complaint('http://example.org/check'), /not supported/);
    assert.match(complaint(7), /a check is text/);
    assert.match(complaint('('.repeat(200)), /deep/);
    assert.match(complaint('x'.repeat(MAX_CHECK_LENGTH + 1)), /at most/);
  });
});
