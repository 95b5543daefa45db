// The disks of a new server: from imageRef, block_device_mapping_v2 and the older block_device_mapping to the use case's
// words, or Nova's refusals (nova/block_device.py, nova/exception.py:InvalidBDM…).
import { Type } from 'typebox';
import type { BlockDevice } from '../../moves/create-volumes.ts';
import { type ApiError, badRequest } from '../http/errors.ts';
import { booleanOf, nullable, object, text } from './common.ts';

const Flag = Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]);
const Size = Type.Union([
  Type.Integer({ minimum: 0, maximum: 8_388_607 }),
  Type.String({ maxLength: 20 }),
  Type.Null(),
]);
const device = {
  uuid: Type.Optional(nullable(text())),
  boot_index: Type.Optional(
    Type.Union([Type.Integer({ minimum: -1, maximum: 100 }), Type.String({ maxLength: 4 }), Type.Null()]),
  ),
  source_type: Type.Optional(text(20)),
  destination_type: Type.Optional(text(20)),
  delete_on_termination: Type.Optional(Flag),
  volume_size: Type.Optional(Size),
  device_name: Type.Optional(nullable(text())),
  guest_format: Type.Optional(nullable(text(20))),
  device_type: Type.Optional(nullable(text(20))),
  disk_bus: Type.Optional(nullable(text(20))),
  no_device: Type.Optional(Flag),
};
const tag = { tag: Type.Optional(Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/]*$' })) };
const type = { volume_type: Type.Optional(nullable(text())) };

const devices = (properties: Parameters<typeof object>[0]) => ({
  block_device_mapping_v2: Type.Optional(Type.Array(object(properties), { maxItems: 20 })),
  block_device_mapping: Type.Optional(Type.Array(Older, { maxItems: 20 })),
});

const Older = object({
  device_name: Type.Optional(nullable(text())),
  volume_id: Type.Optional(nullable(text())),
  snapshot_id: Type.Optional(nullable(text())),
  volume_size: Type.Optional(Size),
  delete_on_termination: Type.Optional(Flag),
  no_device: Type.Optional(Flag),
  virtual_name: Type.Optional(nullable(text())),
});

/** By microversion: tags from 2.32, but not from 2.37 to 2.41; volume types from 2.67. */
export const BLOCK_DEVICES = {
  plain: devices(device),
  tagged: devices({ ...device, ...tag }),
  typed: devices({ ...device, ...tag, ...type }),
};

interface DeviceWish {
  readonly uuid?: string | null;
  readonly boot_index?: number | string | null;
  readonly source_type?: string;
  readonly destination_type?: string;
  readonly delete_on_termination?: boolean | string;
  readonly volume_size?: number | string | null;
  readonly device_name?: string | null;
  readonly guest_format?: string | null;
  readonly no_device?: boolean | string;
  readonly tag?: string;
  readonly volume_type?: string | null;
}

export interface DisksWish {
  readonly imageRef?: string;
  readonly block_device_mapping_v2?: readonly DeviceWish[];
  readonly block_device_mapping?: readonly {
    readonly device_name?: string | null;
    readonly volume_id?: string | null;
    readonly snapshot_id?: string | null;
    readonly volume_size?: number | string | null;
    readonly delete_on_termination?: boolean | string;
    readonly no_device?: boolean | string;
  }[];
}

export interface Disks {
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
  readonly blockDevices: readonly BlockDevice[];
}

const invalid = (details: string): ApiError => badRequest(`Block Device Mapping is Invalid: ${details}`);
const SEQUENCE = 'Boot sequence for the instance and image/block device mapping combination is not valid.';

/** @throws ApiError 400 */
export function disksOf(wish: DisksWish): Disks {
  const newer = wish.block_device_mapping_v2 ?? [];
  const older = wish.block_device_mapping ?? [];
  if (newer.length > 0 && older.length > 0) {
    throw badRequest('Using different block_device_mapping syntaxes is not allowed in the same request.');
  }
  const wished = (older.length > 0 ? older.map(modern) : newer).filter((each) => !isSet(each.no_device));
  const locals = wished.filter(
    (each) =>
      each.destination_type === 'local' || (each.destination_type === undefined && each.source_type === 'image'),
  );
  const imageId = localImage(wish.imageRef, locals);
  const blockDevices = wished.filter((each) => !locals.includes(each)).map(blockDevice);
  const roots = blockDevices.filter((each) => each.bootIndex === 0).length + (imageId === null ? 0 : 1);
  if (roots === 0 && wished.length === 0) throw badRequest('Invalid imageRef provided.');
  if (roots !== 1) throw invalid(SEQUENCE);
  return { imageId, blockDevices };
}

const isSet = (flag: boolean | string | undefined): boolean => booleanOf(String(flag ?? 'false')) === true;

/** An older mapping in the words of the newer; vda is what it boots from. */
const modern = (each: NonNullable<DisksWish['block_device_mapping']>[number]): DeviceWish => ({
  ...{ uuid: each.volume_id ?? each.snapshot_id ?? null, source_type: each.volume_id ? 'volume' : 'snapshot' },
  ...{ destination_type: 'volume', device_name: each.device_name ?? null, volume_size: each.volume_size ?? null },
  boot_index: /^(\/dev\/)?vda$/.test(each.device_name ?? '') ? 0 : null,
  ...(each.delete_on_termination === undefined ? {} : { delete_on_termination: each.delete_on_termination }),
  ...(each.no_device === undefined ? {} : { no_device: each.no_device }),
});

/** The image that is to be on a local disk: imageRef, or a device that says the same. Null: none. */
function localImage(imageRef: string | undefined, locals: readonly DeviceWish[]): string | null {
  const [local, another] = locals;
  if (!local) return imageRef || null;
  if (local.source_type === 'blank' || another) {
    throw badRequest(
      'Invalid input for field/attribute block_device_mapping_v2. Ephemeral and swap disks are not supported.',
    );
  }
  if (local.source_type !== 'image') throw invalid('Mapping volume to local is not supported.');
  if (bootIndexOf(local) !== 0 && local.boot_index !== undefined) throw invalid(SEQUENCE);
  if (!local.uuid) throw invalid('Missing device UUID.');
  if (imageRef && imageRef !== local.uuid) {
    throw invalid('The supplied image and the image of the device with boot index 0 are not the same.');
  }
  return local.uuid;
}

function blockDevice(wish: DeviceWish): BlockDevice {
  if (wish.destination_type !== undefined && wish.destination_type !== 'volume') {
    throw invalid(`Invalid destination_type: ${wish.destination_type}.`);
  }
  return {
    source: sourceOf(wish),
    bootIndex: bootIndexOf(wish),
    device: wish.device_name ? `/dev/${wish.device_name.replace(/^\/dev\//, '')}` : null,
    deleteOnTermination: isSet(wish.delete_on_termination),
    tag: wish.tag ?? null,
    volumeType: wish.volume_type ?? null,
  };
}

/** Null: it never boots from it. */
function bootIndexOf({ boot_index }: DeviceWish): number | null {
  if (boot_index === undefined || boot_index === null || boot_index === '') return null;
  const index = Number(boot_index);
  if (!Number.isInteger(index)) throw invalid(`Boot index is invalid: ${boot_index}.`);
  return index < 0 ? null : index;
}

function sourceOf(wish: DeviceWish): BlockDevice['source'] {
  const sizeGb = sizeOf(wish);
  const uuid = (): string => {
    if (!wish.uuid) throw invalid('Missing device UUID.');
    return wish.uuid;
  };
  switch (wish.source_type) {
    case 'volume':
      return { kind: 'volume', volumeId: uuid() };
    case 'snapshot':
      return { kind: 'snapshot', snapshotId: uuid(), sizeGb };
    case 'image':
      if (sizeGb === null) {
        throw invalid("Images with destination_type 'volume' need to have a non-zero size specified");
      }
      return { kind: 'image', imageId: uuid(), sizeGb };
    case 'blank':
      if (sizeGb === null) throw invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size");
      return { kind: 'blank', sizeGb };
    default:
      throw invalid(`Invalid source_type: ${String(wish.source_type).slice(0, 40)}.`);
  }
}

function sizeOf({ volume_size }: DeviceWish): number | null {
  if (volume_size === undefined || volume_size === null || volume_size === '') return null;
  const size = Number(volume_size);
  if (!Number.isInteger(size) || size < 0 || size > 8_388_607) throw invalid('Volume size is not an integer.');
  return size === 0 ? null : size;
}
