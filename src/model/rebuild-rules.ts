// The rules of rebuilding a server on its host, from an image and with other words about it.
//
// Theory of operation. As in create-rules.ts: facts in, first refusal out, in Nova's order (nova/compute/api.py:rebuild;
// texts from servers.py:_rebuild). Whether the server's state allows it: actions.ts.
import { checkForGuests, checkKeypairFound, mayUseImage, type OfferedImage } from './create-rules.ts';
import {
  checkDiskConfig,
  checkImageFits,
  checkLocalDisks,
  checkMinDisk,
  checkMinRam,
  checkVolumeMinDisk,
} from './disk-rules.ts';
import { checkFlavorAgainstImageProperties } from './flavor-image.ts';
import { checkImageHardware } from './image-hardware.ts';
import { checkDescription, checkMetadata, checkName } from './names.ts';
import { badRequest, firstRefusal, type Refusal } from './refusal.ts';
import type { Actor, Flavor } from './types.ts';
import { gibOf } from './volumes.ts';

export interface RebuildFacts {
  readonly actor: Actor;
  /** What is to be changed besides the image; absent: nothing. */
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly diskConfig?: 'AUTO' | 'MANUAL' | undefined;
  readonly flavor: Flavor;
  readonly imageRef: string;
  readonly image: OfferedImage | null;
  /** Of a server that boots from a volume: the image that it was made from, if any; null: it boots from an image. */
  readonly bootVolume: {
    readonly imageId: string | null;
    readonly sizeGb: number;
    /** Whether it can be written anew where it is kept. */
    readonly isOurs: boolean;
  } | null;
  /** From 2.93 on a root volume is made anew, too. */
  readonly reimages: boolean;
  readonly keyName?: string | null | undefined;
  readonly keyFound: boolean;
}

const unacceptable = (imageRef: string, reason: string): Refusal =>
  badRequest(`Image ${imageRef} is unacceptable: ${reason}`);

/** All rules but the quota of metadata; null if it may begin. */
export function checkRebuild(facts: RebuildFacts): Refusal | null {
  const { actor, flavor, image, imageRef, bootVolume } = facts;
  const before = firstRefusal(
    () => (facts.name === undefined ? null : checkName(facts.name)),
    () => (facts.description ? checkDescription(facts.description) : null),
    () => (facts.metadata === undefined ? null : checkMetadata(facts.metadata)),
    () => checkKeypairFound(facts.keyName ?? null, facts.keyFound),
  );
  if (before !== null) return before;
  if (image === null || image.status === 'deleted' || !mayUseImage(image, actor))
    return badRequest('Cannot find image for rebuild');
  return firstRefusal(
    () => checkDiskConfig(facts.diskConfig ?? null, image),
    () => checkRootVolume(image, imageRef, bootVolume, facts.reimages),
    () => (image.status === 'active' ? null : badRequest(`Image ${image.id} is not active.`)),
    () => checkForGuests(image),
    () => checkMinRam(flavor, image.minRamMb),
    () => (bootVolume ? null : checkImageFits(flavor, image.virtualBytes)),
    () => (bootVolume ? checkVolumeMinDisk(bootVolume.sizeGb, image.minDiskGb) : checkMinDisk(flavor, image.minDiskGb)),
    () => checkImageHardware(image.properties),
    () => checkFlavorAgainstImageProperties(flavor, image.properties, image.name),
    () => checkLocalDisks(flavor),
  );
}

function checkRootVolume(
  { virtualBytes }: OfferedImage,
  imageRef: string,
  bootVolume: RebuildFacts['bootVolume'],
  reimages: boolean,
): Refusal | null {
  if (bootVolume === null) return null;
  if (!reimages) {
    return bootVolume.imageId === imageRef
      ? null
      : unacceptable(imageRef, 'Unable to rebuild with a different image for a volume-backed server.');
  }
  if (!bootVolume.isOurs) return unacceptable(imageRef, 'The root volume of a server cannot be written anew.');
  const contentGb = gibOf(virtualBytes);
  return contentGb <= bootVolume.sizeGb
    ? null
    : unacceptable(
        imageRef,
        `Size of specified image ${contentGb}GB is larger than volume size ${bootVolume.sizeGb}GB.`,
      );
}
