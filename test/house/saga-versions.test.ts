// A definition of a saga does not change under the rows that were begun with it: see saga-versions.ts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { definitionLines, LIST } from './saga-versions.ts';

test('no definition of a saga has changed without a new version', () => {
  assert.equal(
    `${definitionLines().join('\n')}\n`,
    readFileSync(LIST, 'utf8'),
    `The definitions of sagas are not those of ${LIST}. Sagas that are under way keep the index of their step: if a release ` +
      'has been published with a definition that changed, keep it in src/moves/registry.ts and give the changed one the ' +
      'next version. Then, or if none has, write the list anew: node test/house/saga-versions.ts',
  );
});
