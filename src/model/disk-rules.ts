// How large a root disk is, and whether a flavor's is large enough.
//
// Theory of operation. A flavor states its root disk in GiB; 0 means "as large as the image". Images state their virtual
// size in bytes and may ask for a minimum in GiB. Disks only ever grow: a smaller disk cannot hold what is on it, so a
// flavor with less than the server has now is refused before anything is touched. (Nova compares with the disk at
// create only, and finds out too late after an earlier growth.)
import type { Refusal } from './refusal.ts';
import { badRequest, forbidden } from './refusal.ts';
import type { Flavor, ImageSnapshot } from './types.ts';

export const GIB = 1024 ** 3;

/** Size of the root disk in bytes: the flavor's, or the image's virtual size where the flavor leaves it open. */
export function rootBytes(flavor: Flavor, imageVirtualBytes: number): number {
  return flavor.rootGb === 0 ? imageVirtualBytes : flavor.rootGb * GIB;
}

/** What a server remembers as its image's minimum: never less than its first root disk (get_system_metadata_from_image). */
export function rememberedMinDiskGb(imageMinDiskGb: number, flavorAtCreate: Flavor): number {
  return Math.max(imageMinDiskGb, flavorAtCreate.rootGb);
}

/** V17 and create: memory against the image's min_ram (FlavorMemoryTooSmall). */
export function checkMinRam(flavor: Flavor, minRamMb: number): Refusal | null {
  return flavor.memoryMb < minRamMb ? badRequest("Flavor's memory is too small for requested image.") : null;
}

/** V18 and create: root disk against the image's min_disk (FlavorDiskSmallerThanMinDisk); 0 is not compared. */
export function checkMinDisk(flavor: Flavor, minDiskGb: number): Refusal | null {
  if (flavor.rootGb === 0 || flavor.rootGb >= minDiskGb) return null;
  return badRequest(
    "Flavor's disk is smaller than the minimum size specified in image metadata. " +
      `Flavor disk is ${flavor.rootGb * GIB} bytes, minimum size is ${minDiskGb * GIB} bytes.`,
  );
}

/** At create: a volume that is to be made of an image against its min_disk (VolumeSmallerThanMinDisk). */
export function checkVolumeMinDisk(sizeGb: number, minDiskGb: number): Refusal | null {
  if (sizeGb >= minDiskGb) return null;
  return badRequest(
    'Volume is smaller than the minimum size specified in image metadata. ' +
      `Volume size is ${sizeGb * GIB} bytes, minimum size is ${minDiskGb * GIB} bytes.`,
  );
}

/**
 * At create: root disk against the image itself (FlavorDiskSmallerThanImage). The virtual size is compared, where Nova
 * compares the file's, which says little of a sparse or compressed image.
 */
export function checkImageFits(flavor: Flavor, imageVirtualBytes: number): Refusal | null {
  if (flavor.rootGb === 0 || flavor.rootGb * GIB >= imageVirtualBytes) return null;
  return badRequest(
    "Flavor's disk is too small for requested image. " +
      `Flavor disk is ${flavor.rootGb * GIB} bytes, image is ${imageVirtualBytes} bytes.`,
  );
}

const cannotResize = (reason: string): Refusal => badRequest(`Server disk was unable to be resized because: ${reason}`);

/** V16: from a root disk of its own to none is refused for image-backed servers (CannotResizeDisk). */
export function checkZeroRoot(current: Flavor, next: Flavor): Refusal | null {
  return next.rootGb === 0 && current.rootGb !== 0 ? cannotResize('Resize to zero disk flavor is not allowed.') : null;
}

/** V18, ours: never below the root disk the server has now, in bytes. */
export function checkNoShrink(currentRootBytes: number, next: Flavor, imageVirtualBytes: number): Refusal | null {
  const nextBytes = rootBytes(next, imageVirtualBytes);
  return nextBytes < currentRootBytes
    ? cannotResize(`Unable to resize disk down from ${currentRootBytes} to ${nextBytes} bytes.`)
    : null;
}

/** V17 and V18 against what the server remembers of its image. */
export function checkRememberedImage(next: Flavor, image: ImageSnapshot): Refusal | null {
  return checkMinRam(next, image.minRamMb) ?? checkMinDisk(next, image.minDiskGb);
}

/**
 * At create: a flavor without a root disk leaves its size to the image, which Placement does not count; for those alone
 * whom the rule create:zero_disk_flavor allows it (BootFromVolumeRequiredForZeroDiskFlavor).
 */
export function checkZeroDiskFlavor(allowed: boolean, flavor: Flavor): Refusal | null {
  return flavor.rootGb === 0 && !allowed
    ? forbidden('Only volume-backed servers are allowed for flavors with zero disk.')
    : null;
}

/**
 * Ours: guests get a root disk and no other local one, so a flavor that promises ephemeral or swap space is refused
 * instead of quietly not kept. (Nova's cross-cell moves lose such disks without a word.)
 */
export function checkLocalDisks(flavor: Flavor): Refusal | null {
  return flavor.ephemeralGb > 0 || flavor.swapMb > 0
    ? badRequest(`Flavor ${flavor.flavorId} asks for an ephemeral or swap disk, which servers cannot have here.`)
    : null;
}

/**
 * V20: `OS-DCF:diskConfig: AUTO` against an image that disables it (AutoDiskConfigDisabledByImage).
 * @param diskConfig what the request says; null: nothing
 */
export function checkDiskConfig(diskConfig: 'AUTO' | 'MANUAL' | null, image: ImageSnapshot): Refusal | null {
  const disabled = image.properties.auto_disk_config?.trim().toLowerCase() === 'disabled';
  return diskConfig === 'AUTO' && disabled
    ? badRequest(`Requested image ${image.id ?? ''} has automatic disk resize disabled.`)
    : null;
}
