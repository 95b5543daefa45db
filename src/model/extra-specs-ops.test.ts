import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { compileRequirement, parseNumber } from './extra-specs-ops.ts';

const match = (value: string, requirement: string): boolean => compileRequirement(requirement)(value);

describe('the operators of extra specs', () => {
  // From nova/tests/unit/scheduler/filters/test_extra_specs_ops.py, in our words.
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['1', '1', true],
    ['', '1', false],
    ['3', '1', false],
    ['222', '2', false],
    ['4', '> 2', false],
    ['123', '= 123', true],
    ['124', '= 123', true],
    ['34', '= 234', false],
    ['34', '=', false],
    ['123', 's== 123', true],
    ['1234', 's== 123', false],
    ['1234', 's!= 123', true],
    ['123', 's!= 123', false],
    ['1000', 's>= 234', false],
    ['234', 's> 1000', true],
    ['1000', 's<= 1000', true],
    ['2', 's< 12', false],
    ['12311321', '<in> 11', true],
    ['12310321', '<in> 11', false],
    ['12310321', '<in> 11 <in>', false],
    ['12', '<or> 11 <or> 12', true],
    ['12', '<or> 11 <or> 12 <or>', true],
    ['13', '<or> 11 <or> 12', false],
    ['aes mmx aux', '<all-in> aes mmx', true],
    ['aes mmx', '<all-in> aes txt', false],
    ['aes', '<all-in>', false],
    ['4', '>= 3.5', true],
    ['3', '<= 2', false],
    ['4.0', '== 4', true],
    ['4', '!= 4.0', false],
    ['1e2', '== 100', true],
    ['abc', '>= 1', false],
    ['1', '>= abc', false],
    ['nan', '== nan', false],
    ['x', '<or>', false],
    ['', '', true],
    ['s== 123', 's==', false],
  ];
  for (const [value, requirement, expected] of cases) {
    it(`'${value}' ${expected ? 'meets' : 'does not meet'} '${requirement}'`, () =>
      assert.equal(match(value, requirement), expected));
  }

  it('a value without operator meets itself alone', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        fc.pre(!/^\s*(<(in|all-in|or)>|s?[<>=!]=?|s[<>])(\s|$)/.test(b));
        assert.equal(match(a, b), a === b);
        assert.equal(match(b, b), true);
      }),
    );
  });

  it('numbers are those of Python that are finite', () => {
    assert.deepEqual(['1', ' 2.5 ', '-.5', '1.', '1e3', '+7'].map(parseNumber), [1, 2.5, -0.5, 1, 1000, 7]);
    for (const text of ['', '.', '1,5', '0x10', 'inf', 'nan', '1e999', '1 2', 'Infinity'])
      assert.equal(parseNumber(text), null, text);
    fc.assert(fc.property(fc.string(), fc.string(), (a, b) => assert.equal(typeof match(a, b), 'boolean')));
  });
});
