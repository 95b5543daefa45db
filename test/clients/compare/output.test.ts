// What counts as a difference between the outputs of two commands, and what does not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { differences, outputOf, outputOfText } from './output.ts';

const ID = '6f0b3d9e-8f6c-4b83-9d5a-2f5d0f7f1c11';

describe('two outputs', () => {
  test('agree although values differ, one of them is empty, or a list has no rows', () => {
    const ours = outputOf([{ ID, Size: 1, Seen: '2026-11-22T10:00:00Z', Host: null }]);
    const peer = outputOf([{ ID: ID.replace('6', '7'), Size: 2, Seen: '2025-01-01 00:00', Host: 'east-1' }]);
    assert.deepEqual(differences(ours, peer), []);
    assert.deepEqual(differences(ours, outputOf([])), []);
  });

  test('differ by columns and kinds of values', () => {
    const ours = outputOf({ id: 'walk', ports: ID, more: 1 });
    const peer = outputOf({ id: ID, ports: [ID], status: 'ACTIVE' });
    assert.deepEqual(differences(ours, peer), [
      'id is text instead of id',
      'ports is id instead of list',
      'lacks status',
      'more: more',
    ]);
  });

  test('differ by the columns of a table that is drawn, and by what is said at all', () => {
    const table = outputOfText('+----+------+\n| ID | Name |\n+----+------+\n+----+------+\n');
    assert.deepEqual(differences(outputOfText('+----+\n| ID |\n+----+\n'), table), ['lacks Name']);
    assert.deepEqual(differences(outputOfText('\n'), outputOfText('a key\n')), ['text is silence instead of text']);
  });
});
