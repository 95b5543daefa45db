// The rules of creating a server from an image or a volume.
//
// Theory of operation. As in resize-rules.ts: facts in, first refusal out, in Nova's order (nova/compute/api.py:create,
// _validate_and_build_base_options, _validate_flavor_image_nostatus; texts from servers.py:create).
import { checkImageFits, checkLocalDisks, checkMinDisk, checkMinRam, checkZeroDiskFlavor } from './disk-rules.ts';
import { checkFlavorAgainstImageProperties } from './flavor-image.ts';
import { checkImageHardware } from './image-hardware.ts';
import { checkMetadata, checkName } from './names.ts';
import type { Refusal } from './refusal.ts';
import { badRequest, firstRefusal } from './refusal.ts';
import type { OfferedFlavor } from './resize-rules.ts';
import { checkFlavorEnabled, checkFlavorVisible } from './resize-rules.ts';
import type { Actor } from './types.ts';
import { isAdmin } from './types.ts';

/** An image as the image service has it now. */
export interface OfferedImage {
  readonly id: string;
  readonly name: string;
  readonly status: 'queued' | 'uploading' | 'saving' | 'active' | 'deleted' | 'killed' | 'deactivated';
  readonly visibility: 'public' | 'community' | 'shared' | 'private';
  readonly projectId: string;
  /** By id: the projects that it is shared with. */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly virtualBytes: number;
  readonly properties: Readonly<Record<string, string>>;
  /** False: no guest can have it as its disk. Absent: one can. */
  readonly isForGuests?: boolean;
}

/** True if the actor may see and use the image. */
export function mayUseImage(image: OfferedImage, actor: Actor): boolean {
  return (
    isAdmin(actor) ||
    image.projectId === actor.projectId ||
    image.visibility === 'public' ||
    image.visibility === 'community' ||
    (image.visibility === 'shared' && Object.hasOwn(image.members ?? {}, actor.projectId))
  );
}

/** The image must be there and visible (400 at create, as in Nova) and active. */
function checkImageUsable(image: OfferedImage | null, actor: Actor): Refusal | null {
  if (image === null || image.status === 'deleted' || !mayUseImage(image, actor)) {
    return badRequest('Can not find requested image');
  }
  if (image.status !== 'active') return badRequest(`Image ${image.id} is not active.`);
  return checkForGuests(image);
}

/** An image may be kept in a form that is no disk of a guest. */
export const checkForGuests = ({ id, isForGuests }: OfferedImage): Refusal | null =>
  isForGuests === false ? badRequest(`Image ${id} is unacceptable: no guest can boot its format.`) : null;

/** The key pair asked for must be there. */
export function checkKeypairFound(keyName: string | null, found: boolean): Refusal | null {
  return keyName !== null && !found ? badRequest('Invalid key_name provided.') : null;
}

export interface CreateFacts {
  readonly actor: Actor;
  /** What the rule create:zero_disk_flavor says. */
  readonly zeroDiskAllowed: boolean;
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly flavorRef: string;
  readonly flavor: OfferedFlavor | null;
  readonly image: OfferedImage | null;
  /**
   * What the volume that it boots from remembers of its image, which counts unless the request names an image, too.
   * Null: it boots from an image.
   */
  readonly bootVolume:
    | (Pick<OfferedImage, 'name' | 'minRamMb' | 'properties'> & { readonly imageIsNamed: boolean })
    | null;
  readonly keyName: string | null;
  readonly keyFound: boolean;
}

/** All rules of create but quota (see checkCreateQuota) and what the scheduler decides; null if it may begin. */
export function checkCreate(facts: CreateFacts): Refusal | null {
  const { actor, flavor, image, bootVolume } = facts;
  const before = firstRefusal(
    () => checkName(facts.name),
    () => checkMetadata(facts.metadata),
    () => checkFlavorVisible(facts.flavorRef, flavor, actor.projectId, isAdmin(actor)),
    () => (bootVolume && !bootVolume.imageIsNamed ? null : checkImageUsable(image, actor)),
  );
  if (before !== null || flavor === null) return before;
  if (bootVolume !== null) {
    const suited = image ?? bootVolume;
    return firstRefusal(
      () => checkFlavorEnabled(flavor),
      () => checkKeypairFound(facts.keyName, facts.keyFound),
      () => checkMinRam(flavor, suited.minRamMb),
      () => checkImageHardware(suited.properties),
      () => checkFlavorAgainstImageProperties(flavor, suited.properties, suited.name),
      () => checkLocalDisks(flavor),
    );
  }
  if (image === null) return before;
  return firstRefusal(
    () => checkFlavorEnabled(flavor),
    () => checkKeypairFound(facts.keyName, facts.keyFound),
    () => checkMinRam(flavor, image.minRamMb),
    () => checkImageFits(flavor, image.virtualBytes),
    () => checkMinDisk(flavor, image.minDiskGb),
    () => checkZeroDiskFlavor(facts.zeroDiskAllowed, flavor),
    () => checkImageHardware(image.properties),
    () => checkFlavorAgainstImageProperties(flavor, image.properties, image.name),
    () => checkLocalDisks(flavor),
  );
}
