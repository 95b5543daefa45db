import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionOf } from './cinder-connection.ts';

const VOLUME = { mode: 'rw', sizeBytes: 1024 ** 3 } as const;
/** As Cinder's NFS driver answers it. */
const NFS = {
  ...{ export: '10.0.0.5:/volumes', name: 'volume-c6ecea05-37f2-4b8b-a7b8-bb12c315f143', options: null, format: 'raw' },
  ...{ qos_specs: null, access_mode: 'rw', encrypted: false, cacheable: false, driver_volume_type: 'nfs' },
  ...{ mount_point_base: '/var/lib/cinder/mnt', attachment_id: '33279d37-7ee1-4069-b098-23cf5b011272' },
};

test('a file on a share is taken, and nothing of where Cinder has mounted it', () => {
  assert.deepEqual(connectionOf(NFS, VOLUME), {
    kind: 'ok',
    connection: { kind: 'share', share: NFS.export, file: NFS.name, format: 'raw', ...VOLUME },
  });
});

for (const [what, info, why] of [
  ['another backend', { driver_volume_type: 'iscsi', target_iqn: 'iqn' }, /by iscsi, which hosts here cannot open/],
  ['no type', {}, /by unknown/],
  ['a path', { ...NFS, name: '../../etc/shadow' }, /not understood/],
  ['a name that is options too', { ...NFS, name: 'volume,file.locking=off' }, /not understood/],
  ['a format that QEMU would guess', { ...NFS, format: 'vmdk' }, /not understood/],
  ['an encrypted one', { ...NFS, encrypted: true }, /not understood/],
] as const) {
  test(`refused: ${what}`, () => {
    const connected = connectionOf(info, VOLUME);
    assert.match(connected.kind === 'refused' ? connected.reason : '', why);
  });
}
