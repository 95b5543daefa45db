import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CreateFacts, OfferedImage } from './create-rules.ts';
import { checkCreate, mayUseImage } from './create-rules.ts';
import { GIB } from './disk-rules.ts';
import { actor, IMAGE_ID, offered, PROJECT_ID } from './test-samples.ts';

const picture = (changes: Partial<OfferedImage> = {}): OfferedImage => ({
  id: IMAGE_ID,
  name: 'debian',
  status: 'active',
  visibility: 'public',
  projectId: 'p9',
  minDiskGb: 0,
  minRamMb: 0,
  virtualBytes: GIB,
  properties: {},
  ...changes,
});

const facts = (changes: Partial<CreateFacts> = {}): CreateFacts => ({
  actor: actor(['member']),
  zeroDiskAllowed: false,
  name: 'web',
  metadata: {},
  flavorRef: 'f1',
  flavor: offered(),
  image: picture(),
  bootVolume: null,
  keyName: null,
  keyFound: false,
  ...changes,
});

describe('create', () => {
  it('a plain server may be created', () => assert.equal(checkCreate(facts()), null));

  const cases: readonly (readonly [string, Partial<CreateFacts>, number, string | RegExp])[] = [
    ['a name of nothing', { name: '' }, 400, /field\/attribute name.*too short/],
    ['metadata with a bad key', { metadata: { 'a/b': 'c' } }, 400, /does not match/],
    ['an unknown flavor', { flavor: null }, 400, 'Flavor f1 could not be found.'],
    ['a private flavor', { flavor: offered({ isPublic: false }) }, 400, 'Flavor f1 could not be found.'],
    ['a disabled flavor', { flavor: offered({ disabled: true }) }, 400, 'Flavor f1 could not be found.'],
    ['an unknown image', { image: null }, 400, 'Can not find requested image'],
    [
      "another project's private image",
      { image: picture({ visibility: 'private' }) },
      400,
      'Can not find requested image',
    ],
    ['an image without data', { image: picture({ status: 'queued' }) }, 400, `Image ${IMAGE_ID} is not active.`],
    ['an unknown key pair', { keyName: 'k' }, 400, 'Invalid key_name provided.'],
    [
      'too little memory',
      { image: picture({ minRamMb: 1024 }) },
      400,
      "Flavor's memory is too small for requested image.",
    ],
    ['a disk below min_disk', { image: picture({ minDiskGb: 2 }) }, 400, /smaller than the minimum size/],
    ['a disk below the image', { image: picture({ virtualBytes: 2 * GIB }) }, 400, /too small for requested image/],
    ['no root disk of its own', { flavor: offered({ rootGb: 0 }) }, 403, /zero disk/],
    [
      'a contradiction with the image',
      { image: picture({ properties: { hw_mem_page_size: '4' } }) },
      400,
      /Page size 4 forbidden/,
    ],
    ['a swap disk', { flavor: offered({ swapMb: 64 }) }, 400, /ephemeral or swap/],
  ];
  for (const [name, changes, code, message] of cases) {
    it(`refuses ${name}`, () => {
      const refusal = checkCreate(facts(changes));
      assert.equal(refusal?.code, code);
      if (typeof message === 'string') assert.equal(refusal?.message, message);
      else assert.match(refusal?.message ?? '', message);
    });
  }

  it('lets whom the rule allows it use a flavor without a root disk, and a project its own image and key', () => {
    assert.equal(checkCreate(facts({ zeroDiskAllowed: true, flavor: offered({ rootGb: 0 }) })), null);
    const own = picture({ visibility: 'private', projectId: PROJECT_ID });
    assert.equal(checkCreate(facts({ image: own, keyName: 'k', keyFound: true })), null);
    assert.equal(mayUseImage(own, actor(['member'], 'p2')), false);
    assert.equal(mayUseImage(own, actor(['admin'], 'p2')), true);
  });
});
