// What is wrong with a request, in the words that Nova finds for the same.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Type } from 'typebox';
import { checkBody, checkText } from './validation.ts';

const Count = Type.Union([Type.Integer({ minimum: -1 }), Type.String({ pattern: '^-?[0-9]+$' })]);
const body = Type.Object({
  count: Type.Optional(Count),
  name: Type.Optional(Type.Union([Type.String({ maxLength: 3 }), Type.Null()])),
  mode: Type.Optional(Type.Union([Type.Literal('on'), Type.Literal('off'), Type.Null()])),
});
const said = (check: () => unknown): string => {
  try {
    check();
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
  return 'nothing';
};

describe('a body that its schema refuses', () => {
  for (const [given, expected] of [
    [{ count: -2 }, 'field/attribute count. Value: -2. -2 is less than the minimum of -1'],
    [{ count: 'many' }, "field/attribute count. Value: many. 'many' does not match '^-?[0-9]+$'"],
    [{ count: true }, "field/attribute count. Value: True. True is not of type 'integer', 'string'"],
    [{ name: 'long' }, "field/attribute name. Value: long. 'long' is too long"],
    [{ name: 5 }, "field/attribute name. Value: 5. 5 is not of type 'string', 'null'"],
  ] as const) {
    test(`is told by the branch that was meant: ${JSON.stringify(given)}`, () => {
      assert.equal(
        said(() => checkBody(body, given)),
        `Invalid input for ${expected}`,
      );
    });
  }
});

const Rule = Type.Object(
  { direction: Type.Enum(['in', 'out']), port: Type.Optional(Type.Union([Type.Integer(), Type.Null()])) },
  { additionalProperties: false },
);
const oneOrSeveral = Type.Union([
  Type.Object({ rule: Rule }, { additionalProperties: false }),
  Type.Object({ rules: Type.Array(Rule, { minItems: 1 }) }, { additionalProperties: false }),
]);

describe('a body of one record or several', () => {
  for (const [given, expected] of [
    [{ rule: {} }, "Invalid input for field/attribute rule. Value: {}. 'direction' is a required property"],
    [
      { rule: { direction: 'up' } },
      "Invalid input for field/attribute direction. Value: up. 'up' is not one of ['in', 'out']",
    ],
    [
      { rule: { direction: 'in', port: 'x' } },
      "Invalid input for field/attribute port. Value: x. 'x' is not of type 'integer', 'null'",
    ],
    [
      { rules: [{ direction: 'in', color: 'red' }] },
      "Invalid input for field/attribute 0. Value: {'direction': 'in', 'color': 'red'}. Additional properties are not allowed ('color' was unexpected)",
    ],
    [{ rules: [] }, 'Invalid input for field/attribute rules. Value: []. [] is too short'],
    [{ rule: { direction: 'in' }, more: 1 }, "Additional properties are not allowed ('more' was unexpected)"],
    [{ other: {} }, "'rule' is a required property"],
  ] as const) {
    test(`is told the field: ${JSON.stringify(given)}`, () => {
      assert.equal(
        said(() => checkBody(oneOrSeveral, given)),
        expected,
      );
    });
  }
});

test('a number of a query string that is none is text of other than digits', () => {
  assert.equal(
    said(() => checkText(Type.Object({ limit: Type.Integer() }), { limit: 'many' })),
    "Invalid input for query parameters limit. Value: many. 'many' does not match '^[0-9]*$'",
  );
});

test('a number of a query string that is beyond all numbers is none', () => {
  const limit = Type.Integer({ minimum: 0, maximum: 1000 });
  for (const given of ['1e400', '-1e400', ['1e400']]) {
    const shown = JSON.stringify(given).replaceAll('"', "'");
    assert.equal(
      said(() => checkText(Type.Object({ limit }), { limit: given })),
      `Invalid input for query parameters limit. Value: ${String(typeof given === 'string' ? given : shown)}. ${shown} does not match '^[0-9]*$'`,
    );
  }
});
