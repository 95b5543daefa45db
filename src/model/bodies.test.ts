import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { parseMigrateBody, parseResizeBody } from './bodies.ts';

const messageOf = (result: ReturnType<typeof parseResizeBody> | ReturnType<typeof parseMigrateBody>): string =>
  result.kind === 'ok' ? 'ok' : `${result.refusal.code} ${result.refusal.message}`;

describe('V36 bodies', () => {
  it('V36 resize: flavorRef is a string or an integer, diskConfig AUTO or MANUAL, nothing else', () => {
    assert.deepEqual(parseResizeBody({ flavorRef: 'm1.big' }), {
      kind: 'ok',
      value: { flavorRef: 'm1.big', diskConfig: null },
    });
    assert.deepEqual(parseResizeBody({ flavorRef: 7, 'OS-DCF:diskConfig': 'AUTO' }), {
      kind: 'ok',
      value: { flavorRef: '7', diskConfig: 'AUTO' },
    });
    const cases: readonly (readonly [unknown, string])[] = [
      [null, "400 Invalid input for field/attribute resize. Value: null. null is not of type 'object'"],
      [[], "400 Invalid input for field/attribute resize. Value: []. [] is not of type 'object'"],
      [{}, "400 Invalid input for field/attribute resize. Value: {}. 'flavorRef' is a required property"],
      [{ flavorRef: '' }, "400 Invalid input for field/attribute flavorRef. Value: . '' is too short"],
      [
        { flavorRef: null },
        "400 Invalid input for field/attribute flavorRef. Value: null. null is not of type 'string', 'integer'",
      ],
      [
        { flavorRef: 1.5 },
        "400 Invalid input for field/attribute flavorRef. Value: 1.5. 1.5 is not of type 'string', 'integer'",
      ],
      [
        { flavorRef: '1', 'OS-DCF:diskConfig': 'auto' },
        "400 Invalid input for field/attribute OS-DCF:diskConfig. Value: auto. auto is not one of ['AUTO', 'MANUAL']",
      ],
      [
        { flavorRef: '1', x: 1 },
        '400 Invalid input for field/attribute resize. Value: {"flavorRef":"1","x":1}. Additional properties are not allowed (\'x\' was unexpected)',
      ],
    ];
    for (const [body, expected] of cases) assert.equal(messageOf(parseResizeBody(body)), expected);
    assert.match(messageOf(parseResizeBody({ flavorRef: 'x'.repeat(1e6) })), /^400 .{0,900}is too long$/);
  });

  it('V36 migrate: null, or an object with host, from 2.56; before that the value is not looked at', () => {
    assert.deepEqual(parseMigrateBody(null, 56), { kind: 'ok', value: { host: null } });
    assert.deepEqual(parseMigrateBody({}, 56), { kind: 'ok', value: { host: null } });
    assert.deepEqual(parseMigrateBody({ host: null }, 56), { kind: 'ok', value: { host: null } });
    assert.deepEqual(parseMigrateBody({ host: 'cell2-host1' }, 96), { kind: 'ok', value: { host: 'cell2-host1' } });
    assert.deepEqual(parseMigrateBody({ host: 'cell2-host1' }, 55), { kind: 'ok', value: { host: null } });
    assert.match(messageOf(parseMigrateBody({ host: 3 }, 56)), /^400 .*field\/attribute host\. Value: 3\./);
    assert.match(messageOf(parseMigrateBody({ host: 'a/../b' }, 56)), /^400 .*does not match/);
    assert.match(messageOf(parseMigrateBody({ host: '' }, 56)), /^400 .*too short/);
    assert.match(messageOf(parseMigrateBody({ hosts: 'x' }, 56)), /^400 .*\('hosts' was unexpected\)/);
    assert.match(messageOf(parseMigrateBody('host', 56)), /^400 .*is not of type 'object', 'null'/);
  });

  it('V36 any JSON is answered, refusals by 400 with a bounded sentence', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(1, 56, 96), (json, minor) => {
        for (const result of [parseResizeBody(json), parseMigrateBody(json, minor)]) {
          if (result.kind === 'refused') assert.ok(result.refusal.code === 400 && result.refusal.message.length < 2500);
        }
      }),
      { numRuns: 500 },
    );
    // Names that every object has are no properties of a body.
    assert.equal(parseResizeBody(JSON.parse('{"flavorRef":"1","__proto__":{}}')).kind, 'refused');
  });
});
