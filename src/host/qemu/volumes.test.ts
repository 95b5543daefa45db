// Plugging out of a QEMU that is played here, so that its in-between states last as long as wanted.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { VirtualClock } from '../../lib/virtual-clock.ts';
import type { GuestVolume, VolumeOnShare } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import { unplugVolume, volumeArguments } from './volumes.ts';

const volume: GuestVolume = {
  ...{ volumeId: randomUUID(), attachmentId: randomUUID(), device: '/dev/vdb', bootIndex: null },
  connection: {
    ...{ kind: 'nbd', host: '127.0.0.1', port: 10_809, exportName: 'volume', user: 'user', key: '00'.repeat(32) },
    ...{ sizeBytes: 1024 ** 3, mode: 'rw' },
  },
};

/** A QEMU with one volume, whose device leaves at the first asking and holds its node `holds` times more. */
function playedQemu(holds: number) {
  let device = true;
  let node = true;
  let key = true;
  let left = holds;
  const execute = async (command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> => {
    if (command === 'qom-list') {
      const [there, name] = args['path'] === '/objects' ? [key, 'key-b'] : [device, 'vdb'];
      return there ? [{ name }] : [];
    }
    if (command === 'query-named-block-nodes') return node ? [{ 'node-name': 'volume-b' }] : [];
    if (command === 'device_del') device = false;
    if (command === 'blockdev-del') {
      if (left-- > 0) throw new HypervisorError('GenericError: Node volume-b is in use');
      node = false;
    }
    if (command === 'object-del') key = false;
    return {};
  };
  return { execute, left: () => [device, node, key].filter(Boolean).length };
}

const job = { signal: new AbortController().signal, progress: () => undefined };

describe('a volume is plugged out', () => {
  test('although QEMU gives its node free only a while after the device has gone', async () => {
    const clock = new VirtualClock();
    const qemu = playedQemu(7);
    await clock.drive(unplugVolume(qemu, volume, clock, job));
    assert.equal(qemu.left(), 0);
  });

  test('not, and it is told, when the node is never given free', async () => {
    const clock = new VirtualClock();
    const qemu = playedQemu(Number.POSITIVE_INFINITY);
    await assert.rejects(clock.drive(unplugVolume(qemu, volume, clock, job)), /does not let go of node volume-b/);
    assert.equal(qemu.left(), 2, 'node and key stay for the next try');
  });
});

describe('a volume that is a file on a share', () => {
  const connection: VolumeOnShare = {
    ...{ kind: 'share', share: '10.0.0.5:/volumes', file: 'volume-1', format: 'raw', mode: 'ro', sizeBytes: 1 },
  };
  const places = { keysDir: () => '/keys', shares: new Map([['10.0.0.5:/volumes', '/mnt/a']]) };

  test('is opened where this host has the share, in the format that is said, without a key', () => {
    const args = volumeArguments([{ ...volume, connection }], places);
    assert.ok(!args.includes('-object'));
    assert.deepEqual(JSON.parse(args[args.indexOf('-blockdev') + 1] ?? ''), {
      ...{ driver: 'raw', 'node-name': 'volume-b', 'read-only': true, discard: 'unmap' },
      file: { driver: 'file', filename: '/mnt/a/volume-1', 'read-only': true, discard: 'unmap' },
    });
  });

  test('is not on a share that this host does not have', () => {
    const elsewhere = { ...connection, share: '10.0.0.6:/volumes' };
    assert.throws(() => volumeArguments([{ ...volume, connection: elsewhere }], places), HypervisorError);
  });
});
