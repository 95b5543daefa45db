import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { arrangeDisks, type DeviceWish } from './block-devices.ts';

const device = (wish: Partial<DeviceWish>): DeviceWish => ({
  ...{ source: 'volume', destination: 'volume', uuid: 'v', bootIndex: null, sizeGb: null, deviceName: null },
  ...{ deleteOnTermination: false, isSwap: false, tag: null, volumeType: null, noDevice: false },
  ...wish,
});
const snapshot = (uuid: string, wish: Partial<DeviceWish> = {}) => device({ source: 'snapshot', uuid, ...wish });
const onDisk = device({ source: 'image', destination: 'local', uuid: 'i', bootIndex: 0 });

const arranged = (wish: Partial<Parameters<typeof arrangeDisks>[0]>) => {
  const disks = arrangeDisks({ imageRef: null, devices: [], older: false, ofImage: [], ...wish });
  return 'code' in disks
    ? disks.message
    : [disks.imageId, ...disks.blockDevices.map(({ source, bootIndex }) => `${source.kind} ${bootIndex}`)];
};
const SEQUENCE = /Boot sequence/;

describe('the disks of a new server', () => {
  it('an image alone is on the local disk; beside older mappings, unless one of them is vda', () => {
    assert.deepEqual(arranged({ imageRef: 'i' }), ['i']);
    assert.deepEqual(arranged({ imageRef: 'i', older: true, devices: [device({})] }), ['i', 'volume null']);
    const vda = device({ deviceName: '/dev/vda' });
    assert.deepEqual(arranged({ imageRef: 'i', older: true, devices: [vda] }), [null, 'volume 0']);
    assert.match(String(arranged({ older: true, devices: [device({})] })), SEQUENCE);
  });

  it('newer mappings say all there is', () => {
    assert.match(String(arranged({ imageRef: 'i', devices: [device({})] })), SEQUENCE);
    assert.deepEqual(arranged({ imageRef: 'i', devices: [onDisk, device({})] }), ['i', 'volume null']);
    assert.deepEqual(arranged({ imageRef: 'i', devices: [device({ bootIndex: 0 })] }), [null, 'volume 0']);
  });

  it('an image brings mappings of its own, which those of the request go before', () => {
    const ofImage = [
      snapshot('s0', { bootIndex: 0, deviceName: '/dev/vda' }),
      snapshot('s1', { deviceName: '/dev/vdb' }),
    ];
    assert.deepEqual(arranged({ imageRef: 'i', ofImage }), [null, 'snapshot 0', 'snapshot null']);
    assert.deepEqual(arranged({ imageRef: 'i', devices: [onDisk], ofImage }), [null, 'snapshot 0', 'snapshot null']);
    const other = device({ deviceName: '/dev/vdb' });
    assert.deepEqual(arranged({ imageRef: 'i', devices: [other], ofImage }), [null, 'volume null', 'snapshot 0']);
    const none = device({ source: null, uuid: null, deviceName: '/dev/vdb', noDevice: true });
    assert.deepEqual(arranged({ imageRef: 'i', devices: [none], ofImage }), [null, 'snapshot 0']);
    const data = snapshot('s1', { deviceName: '/dev/vdb' });
    assert.deepEqual(arranged({ imageRef: 'i', ofImage: [data] }), ['i', 'snapshot null']);
  });

  it('there is one thing to boot from, whatever is asked for', () => {
    const anyDevice = fc.record({
      source: fc.constantFrom('volume', 'image', 'snapshot', 'blank', null),
      destination: fc.constantFrom('local', 'volume'),
      uuid: fc.constantFrom('i', 'v', null),
      bootIndex: fc.constantFrom(null, 0, 1, 2),
      sizeGb: fc.constantFrom(null, 1),
      deviceName: fc.constantFrom(null, '/dev/vda', '/dev/vdb'),
      deleteOnTermination: fc.boolean(),
      isSwap: fc.boolean(),
      tag: fc.constant(null),
      volumeType: fc.constant(null),
      noDevice: fc.boolean(),
    });
    const wish = fc.record({
      imageRef: fc.constantFrom('i', null),
      devices: fc.array(anyDevice, { maxLength: 4 }),
      older: fc.boolean(),
      ofImage: fc.array(anyDevice, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(wish, (asked) => {
        const disks = arrangeDisks(asked);
        if ('code' in disks) return disks.code === 400 && disks.message !== '';
        const roots = disks.blockDevices.filter(({ bootIndex }) => bootIndex === 0).length;
        return roots + (disks.imageId === null ? 0 : 1) === 1;
      }),
      { numRuns: 2000 },
    );
  });
});
