import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { isoImage } from './iso9660.ts';
import { readIso } from './test-iso.ts';

const name = fc.stringMatching(/^[a-z0-9_]{1,12}(\.[a-z0-9]{1,4})?$/);
const directory = fc.stringMatching(/^d[a-z0-9_]{0,6}$/);
const files = fc
  .uniqueArray(
    fc.tuple(
      fc.array(directory, { maxLength: 2 }),
      name.map((each) => `f${each}`.slice(0, 18)),
      fc.uint8Array({ maxLength: 5000 }),
    ),
    { maxLength: 8, selector: ([path, last]) => [...path, last].join('/') },
  )
  .map((all) => new Map(all.map(([path, last, content]) => [[...path, last].join('/'), content])));

describe('an ISO 9660 image', () => {
  it('holds what was put on it, by both of its trees, under its label', () => {
    fc.assert(
      fc.property(files, (wanted) => {
        const image = isoImage('config-2', wanted);
        const expected = [...wanted].map(([path, content]) => [path, Buffer.from(content).toString('hex')]).toSorted();
        for (const tree of ['primary', 'joliet'] as const) {
          const { label, files: found, sectors } = readIso(image, tree);
          assert.equal(label, 'config-2');
          assert.equal(sectors * 2048, image.length);
          assert.deepEqual([...found].map(([path, content]) => [path, content.toString('hex')]).toSorted(), expected);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('is the same for the same files, in whatever order', () => {
    const a = ['a.json', Buffer.from('a')] as const;
    const b = ['x/b', Buffer.from('b')] as const;
    assert.deepEqual(isoImage('l', new Map([a, b])), isoImage('l', new Map([b, a])));
  });

  it('refuses names and labels that it cannot carry', () => {
    for (const path of ['../x', 'A', 'a b', 'x/', '/x', 'a.b.c', 'x'.repeat(30)])
      assert.throws(() => isoImage('l', new Map([[path, Buffer.alloc(0)]])), /no such file/, path);
    assert.throws(() => isoImage('x'.repeat(17), new Map()), /label/);
  });
});
