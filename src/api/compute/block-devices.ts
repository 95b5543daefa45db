// The disks of a new server: imageRef, block_device_mapping_v2, the older block_device_mapping, and those that the image
// says of itself, read into the words of the rules (model/block-devices.ts).

import { type Static, type TProperties, Type } from 'typebox';
import { Value } from 'typebox/value';
import { jsonOf } from '../../lib/answers.ts';
import { arrangeDisks, type DeviceWish, type Disks } from '../../model/block-devices.ts';
import { checkDiskHardware } from '../../model/image-hardware.ts';
import { MAX_VOLUME_GB } from '../../model/volumes.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { booleanOf, nullable, object, text } from './common.ts';

const Flag = Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]);
const Size = Type.Union([
  Type.Integer({ minimum: 0, maximum: MAX_VOLUME_GB }),
  Type.String({ pattern: '^([0-9]{1,7})?$' }),
  Type.Null(),
]);
const SourceType = Type.Enum(['volume', 'image', 'snapshot', 'blank']);
const DestinationType = Type.Enum(['local', 'volume']);
const BootIndex = Type.Union([
  Type.Integer({ minimum: -1, maximum: 100 }),
  Type.String({ pattern: '^(-?[0-9]{1,3})?$' }),
  Type.Null(),
]);
/** nova/api/openstack/compute/schemas/servers.py; the range that ends with r is Nova's own. */
const DeviceName = Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._-r/]*$' });
const device = {
  uuid: Type.Optional(nullable(text())),
  boot_index: Type.Optional(BootIndex),
  source_type: Type.Optional(SourceType),
  destination_type: Type.Optional(DestinationType),
  delete_on_termination: Type.Optional(Flag),
  volume_size: Type.Optional(Size),
  device_name: Type.Optional(nullable(DeviceName)),
  guest_format: Type.Optional(nullable(text())),
  device_type: Type.Optional(nullable(text())),
  disk_bus: Type.Optional(nullable(text())),
  no_device: Type.Optional(nullable(Flag)),
};
const tag = { tag: Type.Optional(Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/]*$' })) };
const type = { volume_type: Type.Optional(nullable(text())) };

const older = {
  device_name: Type.Optional(nullable(DeviceName)),
  volume_id: Type.Optional(nullable(text())),
  snapshot_id: Type.Optional(nullable(text())),
  volume_size: Type.Optional(Size),
  delete_on_termination: Type.Optional(Flag),
  no_device: Type.Optional(nullable(Flag)),
  virtual_name: Type.Optional(nullable(text())),
};

const devices = <P extends TProperties>(properties: P) => ({
  block_device_mapping_v2: Type.Optional(Type.Array(object(properties), { maxItems: 20 })),
  block_device_mapping: Type.Optional(Type.Array(object(older), { maxItems: 20 })),
});

/** By microversion: tags from 2.32, but not from 2.37 to 2.41; volume types from 2.67. */
export const BLOCK_DEVICES = {
  plain: devices(device),
  tagged: devices({ ...device, ...tag }),
  typed: devices({ ...device, ...tag, ...type }),
};

/** What an image says of itself: its owner may have written anything. Nova keeps more of a mapping than is read here. */
const { uuid: _, ...inner } = device;
const ids = { volume_id: older.volume_id, snapshot_id: older.snapshot_id, image_id: older.volume_id };
const tags = { tag: Type.Optional(nullable(tag.tag)), ...type };
const OfImage = Type.Array(Type.Object({ ...inner, ...ids, ...tags }), { maxItems: 26 });
const OlderOfImage = Type.Array(Type.Object(older), { maxItems: 26 });

const Newer = object({ ...device, ...tag, ...type });
type Newer = Static<typeof Newer>;
const Older = object(older);

export interface DisksWish {
  readonly imageRef?: string;
  readonly block_device_mapping_v2?: readonly Newer[];
  readonly block_device_mapping?: readonly Static<typeof Older>[];
}

/**
 * @param imageProperties those of the image that the request names; none when it names none or it is not there
 * @throws ApiError 400
 */
export function disksOf(wish: DisksWish, imageProperties: Readonly<Record<string, string>>): Disks {
  const newest = wish.block_device_mapping_v2 ?? [];
  const oldest = wish.block_device_mapping ?? [];
  const imageRef = wish.imageRef || null;
  if (newest.length > 0 && oldest.length > 0) {
    throw badRequest('Using different block_device_mapping syntaxes is not allowed in the same request.');
  }
  const requested = oldest.length > 0 ? oldest.map(modern) : newest.map(deviceOf);
  if (imageRef === null && requested.length === 0) throw badRequest('Missing imageRef attribute');
  const disks = arrangeDisks({
    ...{ imageRef, devices: requested, older: oldest.length > 0 },
    ofImage: devicesOfImage(imageProperties),
  });
  if ('code' in disks) throw errorOf(disks);
  const { imageId } = disks;
  if (imageId !== null && imageId !== imageRef) {
    throw badRequest('Block Device Mapping is Invalid: The image on the local disk is not the one that was named.');
  }
  return disks;
}

const isSet = (flag: boolean | string | null | undefined): boolean => booleanOf(String(flag ?? 'false')) === true;

const numberOf = (value: number | string | null | undefined): number | null =>
  value === undefined || value === null || value === '' ? null : Number(value);

const nameOf = (name: string | null | undefined): string | null =>
  name ? `/dev/${name.replace(/^\/dev\//, '')}` : null;

/** @throws ApiError 400 */
function deviceOf(wish: Newer): DeviceWish {
  const refusal = checkDiskHardware(wish);
  if (refusal) throw errorOf(refusal);
  const source = wish.source_type ?? null;
  const bootIndex = numberOf(wish.boot_index);
  return {
    ...{ source, destination: wish.destination_type ?? (source === 'image' ? 'local' : 'volume') },
    ...{ uuid: wish.uuid || null, bootIndex: bootIndex === null || bootIndex < 0 ? null : bootIndex },
    ...{ sizeGb: numberOf(wish.volume_size) || null, deviceName: nameOf(wish.device_name) },
    ...{ deleteOnTermination: isSet(wish.delete_on_termination), isSwap: wish.guest_format === 'swap' },
    ...{ tag: wish.tag ?? null, volumeType: wish.volume_type || null, noDevice: isSet(wish.no_device) },
  };
}

/** An older mapping in the words of the newer. */
function modern(wish: Static<typeof Older>): DeviceWish {
  const virtual = wish.virtual_name ?? '';
  const isLocal = virtual === 'swap' || /^ephemeral\d+$/.test(virtual);
  const common = {
    ...{ sizeGb: numberOf(wish.volume_size) || null, deviceName: nameOf(wish.device_name), bootIndex: null },
    ...{ isSwap: virtual === 'swap', tag: null, volumeType: null, noDevice: isSet(wish.no_device) },
  };
  if (isLocal) {
    return { ...common, source: 'blank', destination: 'local', uuid: null, deleteOnTermination: true };
  }
  if (!wish.snapshot_id && !wish.volume_id && !common.noDevice) {
    throw badRequest('Block Device Mapping is Invalid: Unrecognized legacy format.');
  }
  return {
    ...{ ...common, source: wish.snapshot_id ? 'snapshot' : 'volume', destination: 'volume' },
    ...{ uuid: wish.snapshot_id || wish.volume_id || null, deleteOnTermination: isSet(wish.delete_on_termination) },
  };
}

/** The image's own mappings. @throws ApiError 400 when they are none */
function devicesOfImage(properties: Readonly<Record<string, string>>): readonly DeviceWish[] {
  const said = properties['block_device_mapping'];
  if (said === undefined || said === '') return [];
  const mappings = jsonOf(said);
  // Nova takes any word for yes.
  if (properties['bdm_v2']) {
    if (!Value.Check(OfImage, mappings)) throw meaningless();
    return mappings.map(({ volume_id, snapshot_id, image_id, tag: name, ...rest }) => {
      const uuid = snapshot_id || volume_id || image_id || null;
      return deviceOf({ ...rest, uuid, ...(name ? { tag: name } : {}) });
    });
  }
  if (!Value.Check(OlderOfImage, mappings)) throw meaningless();
  const root = nameOf(properties['root_device_name'] ?? 'vda');
  return mappings.map(modern).map((each) => (each.deviceName === root ? { ...each, bootIndex: 0 } : each));
}

const meaningless = () => badRequest('Block Device Mapping is Invalid: that of the image cannot be read.');
