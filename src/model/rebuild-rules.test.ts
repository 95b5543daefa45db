import assert from 'node:assert/strict';
import { it } from 'node:test';
import { checkRebuild, type RebuildFacts } from './rebuild-rules.ts';
import { actor, flavor, IMAGE_ID, PROJECT_ID } from './test-samples.ts';

const image = {
  ...({ id: IMAGE_ID, name: 'tiny', status: 'active', visibility: 'public', projectId: PROJECT_ID } as const),
  ...{ minDiskGb: 0, minRamMb: 0, virtualBytes: 2 ** 20, properties: {} },
};
const facts = (changes: Partial<RebuildFacts> = {}): RebuildFacts => ({
  ...{ actor: actor(['member']), flavor: flavor(), imageRef: IMAGE_ID, image, bootVolume: null, reimages: false },
  ...{ keyFound: false },
  ...changes,
});
const said = (changes: Partial<RebuildFacts>): string | undefined => checkRebuild(facts(changes))?.message;

it('an image that is there, active and small enough will do', () => {
  assert.equal(checkRebuild(facts()), null);
  assert.equal(said({ image: null }), 'Cannot find image for rebuild');
  assert.equal(said({ image: { ...image, visibility: 'private', projectId: 'p2' } }), 'Cannot find image for rebuild');
  assert.equal(said({ image: { ...image, status: 'queued' } }), `Image ${IMAGE_ID} is not active.`);
  assert.match(said({ image: { ...image, minRamMb: 1024 } }) ?? '', /memory/);
  assert.match(said({ image: { ...image, minDiskGb: 2 } }) ?? '', /disk/);
  assert.match(said({ image: { ...image, virtualBytes: 2 ** 40 } }) ?? '', /./);
  assert.equal(said({ keyName: 'k' }), 'Invalid key_name provided.');
  assert.equal(said({ keyName: null }), undefined);
});

it('a root volume stays as it is, until 2.93', () => {
  const bootVolume = { imageId: IMAGE_ID, sizeGb: 1, isOurs: true };
  assert.equal(said({ bootVolume }), undefined);
  assert.equal(said({ bootVolume, image: { ...image, virtualBytes: 2 ** 40 } }), undefined);
  for (const imageId of [null, 'other']) {
    assert.equal(
      said({ bootVolume: { ...bootVolume, imageId } }),
      `Image ${IMAGE_ID} is unacceptable: Unable to rebuild with a different image for a volume-backed server.`,
    );
  }
  assert.match(said({ bootVolume, image: { ...image, minDiskGb: 2 } }) ?? '', /^Volume is smaller than the minimum/);
});

it('then it is written anew, from any image that fits', () => {
  const reimaged = (changes: object, other = {}) =>
    said({ bootVolume: { imageId: 'other', sizeGb: 1, isOurs: true, ...changes }, reimages: true, ...other });
  assert.equal(reimaged({}), undefined);
  assert.match(
    reimaged({}, { image: { ...image, virtualBytes: 2 ** 31 } }) ?? '',
    /2GB is larger than volume size 1GB/,
  );
  assert.match(reimaged({ isOurs: false }) ?? '', /^Image .* is unacceptable: The root volume/);
});
