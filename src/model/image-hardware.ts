// What hardware an image says that its guest needs, against what guests here get: disks and network cards of virtio, BIOS,
// on the hypervisor's own machine type.
//
// Theory of operation. A guest whose image has no driver for that would be ACTIVE and never boot, so it is refused before
// it is made. Images for virtio's SCSI boot from a virtio disk, too. Properties that change no more than speed or looks
// (video, cache, queues, machine types of the same kind) mean nothing. Names and values: nova/objects/fields.py.
import { badRequest, type Refusal } from './refusal.ts';

/** By property, what a guest here can do with. */
const GUESTS_HAVE: Readonly<Record<string, readonly string[]>> = {
  hw_disk_bus: ['virtio', 'scsi'],
  hw_vif_model: ['virtio'],
  hw_firmware_type: ['bios'],
  os_secure_boot: ['disabled', 'optional'],
};

/** Null: guests of the image have what it asks for. */
export function checkImageHardware(properties: Readonly<Record<string, string>>): Refusal | null {
  for (const [name, values] of Object.entries(GUESTS_HAVE)) {
    const value = Object.hasOwn(properties, name) ? properties[name]?.trim().toLowerCase() : undefined;
    if (value && !values.includes(value)) {
      return badRequest(
        `Image property '${name}' is '${value.slice(0, 50)}': guests here can have ${values.join(' or ')}.`,
      );
    }
  }
  return null;
}

/** The same of a disk that a request or an image describes by itself. */
export function checkDiskHardware(disk: {
  readonly disk_bus?: string | null;
  readonly device_type?: string | null;
}): Refusal | null {
  const invalid = (sentence: string): Refusal => badRequest(`Block Device Mapping is Invalid: ${sentence}`);
  const [bus, type] = [disk.disk_bus || 'virtio', disk.device_type || 'disk'];
  if (!['virtio', 'scsi'].includes(bus)) return invalid(`the disk bus ${bus} is not there; disks are virtio's.`);
  return type === 'disk' ? null : invalid(`the device type ${type} is not there; every device is a disk.`);
}
