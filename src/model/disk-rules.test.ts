import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  checkDiskConfig,
  checkImageFits,
  checkLocalDisks,
  checkMinDisk,
  checkMinRam,
  checkNoShrink,
  checkRememberedImage,
  checkZeroDiskFlavor,
  checkZeroRoot,
  GIB,
  rememberedMinDiskGb,
  rootBytes,
} from './disk-rules.ts';
import { anyFlavor, flavor, IMAGE_ID, image } from './test-samples.ts';

describe('root disks', () => {
  it('are as large as the flavor says, or as the image where it says nothing', () => {
    assert.equal(rootBytes(flavor({ rootGb: 3 }), 5), 3 * GIB);
    assert.equal(rootBytes(flavor({ rootGb: 0 }), 123 * 512), 123 * 512);
  });

  it('V16 from a disk to none is refused, from none to none is not', () => {
    assert.deepEqual(checkZeroRoot(flavor({ rootGb: 1 }), flavor({ rootGb: 0 })), {
      code: 400,
      message: 'Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.',
    });
    assert.equal(checkZeroRoot(flavor({ rootGb: 0 }), flavor({ rootGb: 0 })), null);
    assert.equal(checkZeroRoot(flavor({ rootGb: 0 }), flavor({ rootGb: 1 })), null);
  });

  it("V17 memory below the image's minimum is refused", () => {
    assert.deepEqual(checkMinRam(flavor({ memoryMb: 511 }), 512), {
      code: 400,
      message: "Flavor's memory is too small for requested image.",
    });
    assert.equal(checkMinRam(flavor({ memoryMb: 512 }), 512), null);
    assert.equal(checkRememberedImage(flavor({ memoryMb: 10 }), image({ minRamMb: 11 }))?.code, 400);
  });

  it("V18 a root disk below the image's minimum, or the disk at create, is refused", () => {
    assert.deepEqual(checkMinDisk(flavor({ rootGb: 1 }), 2), {
      code: 400,
      message:
        "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 bytes, minimum size is 2147483648 bytes.",
    });
    assert.equal(checkMinDisk(flavor({ rootGb: 2 }), 2), null);
    assert.equal(rememberedMinDiskGb(1, flavor({ rootGb: 5 })), 5);
    assert.equal(rememberedMinDiskGb(7, flavor({ rootGb: 5 })), 7);
    const remembered = image({ minDiskGb: rememberedMinDiskGb(0, flavor({ rootGb: 5 })) });
    assert.equal(checkRememberedImage(flavor({ rootGb: 4 }), remembered)?.code, 400);
    assert.equal(checkRememberedImage(flavor({ rootGb: 5 }), remembered), null);
  });

  it('V18 ours: never below the disk the server has now, also after an earlier growth (L-08)', () => {
    assert.deepEqual(checkNoShrink(20 * GIB, flavor({ rootGb: 10 }), GIB), {
      code: 400,
      message: `Server disk was unable to be resized because: Unable to resize disk down from ${20 * GIB} to ${10 * GIB} bytes.`,
    });
    fc.assert(
      fc.property(anyFlavor, anyFlavor, fc.nat(50), (old, next, imageGb) => {
        const [now, then] = [rootBytes(old, imageGb * GIB), rootBytes(next, imageGb * GIB)];
        assert.equal(checkNoShrink(now, next, imageGb * GIB) === null, then >= now);
      }),
    );
  });

  it('V20 automatic disk configuration against an image that disables it', () => {
    const fixed = image({ properties: { auto_disk_config: ' Disabled' } });
    assert.deepEqual(checkDiskConfig('AUTO', fixed), {
      code: 400,
      message: `Requested image ${IMAGE_ID} has automatic disk resize disabled.`,
    });
    assert.equal(checkDiskConfig('MANUAL', fixed), null);
    assert.equal(checkDiskConfig(null, fixed), null);
    assert.equal(checkDiskConfig('AUTO', image()), null);
  });
});

describe('at create', () => {
  it('the image must fit into the root disk', () => {
    assert.deepEqual(checkImageFits(flavor({ rootGb: 1 }), GIB + 512), {
      code: 400,
      message: `Flavor's disk is too small for requested image. Flavor disk is ${GIB} bytes, image is ${GIB + 512} bytes.`,
    });
    assert.equal(checkImageFits(flavor({ rootGb: 1 }), GIB), null);
    assert.equal(checkImageFits(flavor({ rootGb: 0 }), 100 * GIB), null);
  });

  it('flavors without a root disk are for whom a rule allows them', () => {
    assert.deepEqual(checkZeroDiskFlavor(false, flavor({ rootGb: 0 })), {
      code: 403,
      message: 'Only volume-backed servers are allowed for flavors with zero disk.',
    });
    assert.equal(checkZeroDiskFlavor(true, flavor({ rootGb: 0 })), null);
    assert.equal(checkZeroDiskFlavor(false, flavor({ rootGb: 1 })), null);
  });

  it('local disks that guests cannot have are refused, not forgotten', () => {
    assert.equal(checkLocalDisks(flavor()), null);
    assert.match(checkLocalDisks(flavor({ swapMb: 1 }))?.message ?? '', /^Flavor f1 asks for/);
    assert.equal(checkLocalDisks(flavor({ ephemeralGb: 1 }))?.code, 400);
  });
});
