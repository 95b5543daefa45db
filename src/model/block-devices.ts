// Which disks a new server gets, from what its request and its image say of block devices. Pure.
//
// Theory of operation. A request names an image, mappings, or both; an image that was made of a server that boots from a
// volume brings mappings of its own, which the request's go before. Who has mappings in the newer words says with them what
// it boots from: the image then is only what the server is said to be made from, unless one of them puts it on the local
// disk. Each device that can be booted from has an index, from 0 without a gap. Guests have no local disks but their root:
// flavors with ephemeral or swap space are refused (disk-rules.ts), so Nova's limits leave none to ask for.
// Source of rules and texts: nova/compute/api.py:_check_and_transform_bdm, _validate_bdm; nova/block_device.py.
import { badRequest, firstRefusal, type Refusal } from './refusal.ts';

/** A mapping in Nova's words, already of the right shape. */
export interface DeviceWish {
  /** Null: nothing is said, which only `noDevice` may. */
  readonly source: 'volume' | 'image' | 'snapshot' | 'blank' | null;
  readonly destination: 'local' | 'volume';
  readonly uuid: string | null;
  /** Null: it is never booted from. */
  readonly bootIndex: number | null;
  /** GiB */
  readonly sizeGb: number | null;
  /** /dev/…; null: the first that is free. */
  readonly deviceName: string | null;
  readonly deleteOnTermination: boolean;
  readonly isSwap: boolean;
  readonly tag: string | null;
  readonly volumeType: string | null;
  /** Only takes away what the image has at that name. */
  readonly noDevice: boolean;
}

/** What a volume of a new server is made of. */
export type DeviceSource =
  | { readonly kind: 'volume'; readonly volumeId: string }
  | { readonly kind: 'image'; readonly imageId: string; readonly sizeGb: number }
  | { readonly kind: 'snapshot'; readonly snapshotId: string; readonly sizeGb: number | null }
  | { readonly kind: 'blank'; readonly sizeGb: number };

/** A disk of the new server that is a volume. */
export interface BlockDevice {
  readonly source: DeviceSource;
  /** 0: the server boots from it. */
  readonly bootIndex: number | null;
  /** /dev/vdX; null: the first that is free. */
  readonly device: string | null;
  readonly deleteOnTermination: boolean;
  readonly tag: string | null;
  /** Of a new volume: id or name of its type. */
  readonly volumeType: string | null;
}

export interface DisksWish {
  /** Null: the request names none. */
  readonly imageRef: string | null;
  readonly devices: readonly DeviceWish[];
  /** Whether they are in the words of before, in which vda is what the server boots from. */
  readonly older: boolean;
  /** The image's own. */
  readonly ofImage: readonly DeviceWish[];
}

export interface Disks {
  /** The image on the server's local disk; null: it boots from a volume. */
  readonly imageId: string | null;
  readonly blockDevices: readonly BlockDevice[];
}

/** Where the root disk is. */
const ROOT = '/dev/vda';
/** Nova's `max_local_block_devices`. */
const MOST_LOCAL = 3;

const invalid = (details: string): Refusal => badRequest(`Block Device Mapping is Invalid: ${details}`);

export const invalidBootSequence = (): Refusal =>
  invalid('Boot sequence for the instance and image/block device mapping combination is not valid.');

/** What is wrong with a mapping by itself; null: nothing (BlockDeviceDict.from_api). */
function checkDevice(device: DeviceWish, imageRef: string | null): Refusal | null {
  if (device.noDevice) return null;
  const { source, destination, uuid, volumeType } = device;
  return firstRefusal(
    source === null ? invalid('Some required fields are missing') : null,
    source === 'blank' && uuid !== null ? invalid('Invalid device UUID.') : null,
    source !== 'blank' && uuid === null ? invalid('Missing device UUID.') : null,
    destination === 'local' && source === 'image' && !(imageRef !== null && device.bootIndex === 0)
      ? invalid('Mapping image to local is not supported.')
      : null,
    destination === 'local' && (source === 'volume' || source === 'snapshot')
      ? invalid(`Mapping ${source} to local is not supported.`)
      : null,
    destination === 'local' && volumeType !== null
      ? invalid('Specifying a volume_type with destination_type=local is not supported.')
      : null,
    source === 'volume' && volumeType !== null
      ? invalid('Specifying volume type to existing volume is not supported.')
      : null,
  );
}

/** The disks of the server, or Nova's refusal (400). */
export function arrangeDisks(wish: DisksWish): Disks | Refusal {
  const { imageRef, older } = wish;
  for (const each of [...wish.devices, ...wish.ofImage]) {
    const wrong = checkDevice(each, imageRef);
    if (wrong) return wrong;
  }
  const atRoot = wish.devices.some((each) => each.destination === 'volume' && each.deviceName === ROOT);
  if (imageRef !== null && !older && atRoot) {
    return badRequest('The volume cannot be assigned the same device name as the root device vda');
  }
  const rootOfImage = wish.ofImage.some((each) => each.bootIndex === 0);
  const requested = requestedDevices(wish, rootOfImage, atRoot);
  const named = new Set(requested.flatMap((each) => each.deviceName ?? []));
  const inherited = wish.ofImage.filter((each) => each.deviceName === null || !named.has(each.deviceName));
  const devices = [...requested, ...inherited].filter((each) => !each.noDevice);
  const refusal = checkBootSequence(devices) ?? checkLocal(devices);
  if (refusal) return refusal;
  const blockDevices: BlockDevice[] = [];
  for (const device of devices.filter((each) => each.destination === 'volume')) {
    const source = sourceOf(device);
    if ('code' in source) return source;
    const { bootIndex, deviceName, deleteOnTermination, tag, volumeType } = device;
    blockDevices.push({ source, bootIndex, device: deviceName, deleteOnTermination, tag, volumeType });
  }
  const onDisk = devices.find((each) => each.destination === 'local' && each.source === 'image');
  return { imageId: onDisk?.uuid ?? null, blockDevices };
}

const localImage = (imageId: string): DeviceWish => ({
  ...{ source: 'image', destination: 'local', uuid: imageId, bootIndex: 0, sizeGb: null, deviceName: null },
  ...{ deleteOnTermination: true, isSwap: false, tag: null, volumeType: null, noDevice: false },
});

/** Those of the request, and what its words leave unsaid about the root. */
function requestedDevices(
  { imageRef, devices, older }: DisksWish,
  rootOfImage: boolean,
  atRoot: boolean,
): readonly DeviceWish[] {
  if (older || devices.length === 0) {
    if (rootOfImage) return devices.map((each) => ({ ...each, bootIndex: null }));
    const indexed = devices.map((each) => ({ ...each, bootIndex: each.deviceName === ROOT ? 0 : null }));
    return imageRef === null || atRoot ? indexed : [localImage(imageRef), ...indexed];
  }
  // Clients put the image on the local disk where they name one; the image knows better.
  return rootOfImage ? devices.filter((each) => !(each.source === 'image' && each.bootIndex === 0)) : devices;
}

function checkBootSequence(devices: readonly DeviceWish[]): Refusal | null {
  const indexes = devices.flatMap((each) => each.bootIndex ?? []).toSorted((a, b) => a - b);
  return indexes.length > 0 && indexes.every((index, place) => index === place) ? null : invalidBootSequence();
}

function checkLocal(devices: readonly DeviceWish[]): Refusal | null {
  const local = devices.filter((each) => each.destination === 'local');
  const blank = local.filter((each) => each.source === 'blank');
  const swaps = blank.filter((each) => each.isSwap);
  return firstRefusal(
    blank.some((each) => !each.isSwap && each.sizeGb !== null)
      ? badRequest(
          'Ephemeral disks requested are larger than the instance type allows. If no size is given in one block ' +
            'device mapping, flavor ephemeral size will be used.',
        )
      : null,
    swaps.length > 1 ? invalid('More than one swap drive requested.') : null,
    swaps.some((each) => each.sizeGb !== null)
      ? badRequest('Swap drive requested is larger than instance type allows.')
      : null,
    local.length > MOST_LOCAL ? invalid('You specified more local devices than the limit allows') : null,
  );
}

function sourceOf({ source, uuid, sizeGb }: DeviceWish): DeviceSource | Refusal {
  if (source === 'blank') {
    return sizeGb === null
      ? badRequest("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
      : { kind: 'blank', sizeGb };
  }
  if (uuid === null) return invalid('Missing device UUID.');
  switch (source) {
    case 'volume':
      return { kind: 'volume', volumeId: uuid };
    case 'snapshot':
      return { kind: 'snapshot', snapshotId: uuid, sizeGb };
    case 'image':
      return sizeGb === null
        ? badRequest("Images with destination_type 'volume' need to have a non-zero size specified")
        : { kind: 'image', imageId: uuid, sizeGb };
    case null:
      return invalid('Some required fields are missing');
  }
}
