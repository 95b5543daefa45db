// What users may say about an image: names, properties, tags, sizes. Pure; each function answers null or a sentence that
// names the field. Limits are Glance's (glance/common/config.py: image_property_quota, image_tag_quota; 255 characters
// everywhere).
import { badRequest } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import { CONTAINER_FORMATS, type Image } from '../images.ts';

export const MAX_TEXT = 255;
/** Of the one property that is no word but a list: what disks a server gets that is made from the image. */
export const MAX_MAPPING_TEXT = 16_384;
const MAPPING = 'block_device_mapping';
const MAX_PROPERTIES = 128;
export const MAX_TAGS = 128;
const MAX_INTEGER = 2 ** 31 - 1;

/** Attributes that are not properties: what the API shows of its own accord, and names Glance reserves. */
const BASE_ATTRIBUTES = [
  ...['id', 'name', 'status', 'visibility', 'owner', 'disk_format', 'container_format', 'size', 'virtual_size'],
  ...['checksum', 'os_hash_algo', 'os_hash_value', 'min_disk', 'min_ram', 'protected', 'os_hidden', 'tags'],
  ...['created_at', 'updated_at', 'self', 'file', 'schema', 'direct_url', 'locations', 'stores'],
  ...['is_public', 'deleted', 'deleted_at', 'members'],
] as const;
const BASE: ReadonlySet<string> = new Set(BASE_ATTRIBUTES);
export const isBaseAttribute = (name: string): boolean => BASE.has(name);

/** What Glance says of an image itself is in properties that begin so, which users may not write. */
const OWN_PREFIX = 'os_glance';

/** 403 when one of the names is not for users to write. */
export function checkNotReserved(names: readonly string[]): Refusal | null {
  const reserved = names.find((name) => name.startsWith(OWN_PREFIX));
  return reserved === undefined ? null : { code: 403, message: `Attribute '${reserved.slice(0, 100)}' is reserved.` };
}

const shown = (text: string): string => JSON.stringify(text.length <= 100 ? text : `${text.slice(0, 100)}…`);

const HAS_CONTROL = /\p{Cc}|\p{Cs}/u;

/** Text of at most 255 characters, or so many, without control characters. */
export function checkText(field: string, value: string, most = MAX_TEXT): string | null {
  if (value.length > most) return `Invalid value for ${field}: it is longer than ${most} characters.`;
  if (HAS_CONTROL.test(value)) return `Invalid value for ${field}: ${shown(value)} contains control characters.`;
  return null;
}

/** An image name becomes a file name in the hands of clients that save it: none may step out of its directory. */
function checkImageName(name: string | null): string | null {
  if (name === null) return null;
  const wrong = checkText('name', name);
  if (wrong !== null) return wrong;
  return /(^|[\\/])\.\.([\\/]|$)/.test(name)
    ? `Invalid value for name: ${shown(name)} is a path out of its directory.`
    : null;
}

function checkProperties(properties: Readonly<Record<string, string>>): string | null {
  const entries = Object.entries(properties);
  if (entries.length > MAX_PROPERTIES)
    return `Limit exceeded: an image has at most ${MAX_PROPERTIES} properties, not ${entries.length}.`;
  for (const [key, value] of entries) {
    if (key === '') return 'Invalid value for a property name: it is empty.';
    const wrong =
      checkText('a property name', key) ??
      checkText(`property ${key}`, value, key === MAPPING ? MAX_MAPPING_TEXT : MAX_TEXT);
    if (wrong !== null) return wrong;
    if (isBaseAttribute(key)) return `Invalid property name ${key}: it is an attribute of its own.`;
  }
  return null;
}

function checkTags(tags: readonly string[]): string | null {
  if (tags.length > MAX_TAGS) return `Limit exceeded: an image has at most ${MAX_TAGS} tags, not ${tags.length}.`;
  for (const tag of tags) {
    if (tag === '') return 'Invalid value for tags: a tag is empty.';
    const wrong = checkText('tags', tag);
    if (wrong !== null) return wrong;
  }
  return null;
}

const checkMinimum = (field: string, value: number): string | null =>
  Number.isInteger(value) && value >= 0 && value <= MAX_INTEGER
    ? null
    : `Invalid value for ${field}: it must be an integer from 0 to ${MAX_INTEGER}.`;

/** Everything about an image that its owner decides. */
export function checkImage(
  image: Pick<Image, 'name' | 'containerFormat' | 'minDiskGb' | 'minRamMb' | 'properties' | 'tags'>,
): Refusal | null {
  const wrong =
    checkImageName(image.name) ??
    (image.containerFormat === null || CONTAINER_FORMATS.some((each) => each === image.containerFormat)
      ? null
      : `Invalid container format ${shown(image.containerFormat)} for image: it must be one of ${CONTAINER_FORMATS.join(', ')}.`) ??
    checkMinimum('min_disk', image.minDiskGb) ??
    checkMinimum('min_ram', image.minRamMb) ??
    checkProperties(image.properties) ??
    checkTags(image.tags);
  return wrong === null ? null : (badRequest(wrong) as Refusal);
}
