import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDiskHardware, checkImageHardware } from './image-hardware.ts';

test('an image is refused whose guest would find no disk, no network or no firmware', () => {
  for (const good of [
    {},
    { hw_disk_bus: 'virtio', hw_vif_model: 'Virtio', hw_firmware_type: 'bios', hw_machine_type: 'q35' },
    {
      hw_disk_bus: 'scsi',
      hw_scsi_model: 'virtio-scsi',
      hw_cdrom_bus: 'ide',
      os_secure_boot: 'optional',
      hw_vif_model: '',
    },
  ])
    assert.equal(checkImageHardware(good), null);
  for (const [name, value] of [
    ['hw_disk_bus', 'ide'],
    ['hw_vif_model', 'e1000'],
    ['hw_firmware_type', 'uefi'],
    ['os_secure_boot', 'required'],
  ] as const) {
    const refusal = checkImageHardware({ [name]: value });
    assert.equal(refusal?.code, 400);
    assert.match(refusal.message, new RegExp(`^Image property '${name}' is '${value}': guests here can have `));
  }
});

test('so is a disk that is none of virtio', () => {
  for (const good of [{}, { disk_bus: null, device_type: null }, { disk_bus: 'scsi', device_type: 'disk' }])
    assert.equal(checkDiskHardware(good), null);
  for (const bad of [{ disk_bus: 'ide' }, { device_type: 'cdrom' }]) assert.equal(checkDiskHardware(bad)?.code, 400);
});
