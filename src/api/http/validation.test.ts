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

test('a number of a query string that is none is text of other than digits', () => {
  assert.equal(
    said(() => checkText(Type.Object({ limit: Type.Integer() }), { limit: 'many' })),
    "Invalid input for query parameters limit. Value: many. 'many' does not match '^[0-9]*$'",
  );
});
