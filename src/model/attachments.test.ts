import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { type AttachmentState, checkClaim, checkDetach, chooseDevice, statusByAttachments } from './attachments.ts';

const attachments = fc.array(fc.record({ serverId: fc.constantFrom('s1', 's2', 's3'), attached: fc.boolean() }));
const AT_REST = ['available', 'reserved', 'attaching', 'in-use', 'detaching'];
const OTHERS = ['creating', 'deleting', 'error', 'extending', 'error_deleting', 'downloading'];

test('a volume nobody has is available, one that somebody has plugged in is in use, else it is reserved', () => {
  fc.assert(
    fc.property(fc.constantFrom(...AT_REST), attachments, (status, given) => {
      const expected = given.length === 0 ? 'available' : given.some((each) => each.attached) ? 'in-use' : 'reserved';
      assert.equal(statusByAttachments(status, given), expected);
    }),
  );
});

test('a status that is about the volume itself is left alone', () => {
  fc.assert(
    fc.property(fc.constantFrom(...OTHERS), attachments, (status, given) =>
      assert.equal(statusByAttachments(status, given), status),
    ),
  );
});

const VOLUME = { id: 'v1', projectId: 'p1', status: 'available', multiattach: false };
const WANTED = { volumeId: 'v1', serverId: 's1', projectId: 'p1' };
const BY_ANOTHER: readonly AttachmentState[] = [{ serverId: 's2', attached: true }];

test('a free volume of the project can be claimed, a shared one also while others have it', () => {
  assert.equal(checkClaim(VOLUME, [], WANTED), null);
  assert.equal(checkClaim({ ...VOLUME, multiattach: true, status: 'in-use' }, BY_ANOTHER, WANTED), null);
});

test('a volume that is not there, of another project, or the server’s already is refused', () => {
  const none = { code: 404, message: 'Volume v1 could not be found.' };
  assert.deepEqual(checkClaim(null, [], WANTED), none);
  assert.deepEqual(checkClaim({ ...VOLUME, projectId: 'p2' }, [], WANTED), none);
  const own = [{ serverId: 's1', attached: true }];
  assert.deepEqual(checkClaim({ ...VOLUME, multiattach: true, status: 'in-use' }, own, WANTED), {
    code: 400,
    message: 'Invalid volume: volume v1 already attached',
  });
});

test('a volume in any other status is refused with Cinder’s sentence', () => {
  for (const status of [...OTHERS, 'in-use']) {
    const refusal = checkClaim({ ...VOLUME, status }, BY_ANOTHER, WANTED);
    assert.equal(refusal?.code, 400);
    assert.match(refusal.message, new RegExp(`must be available or downloading to reserve, but .* is ${status}\\.$`));
  }
});

test('a volume that another server has is not free, whatever its status was said to be', () => {
  for (const status of ['available', 'reserved', 'attaching', 'detaching']) {
    const refusal = checkClaim({ ...VOLUME, status }, BY_ANOTHER, WANTED);
    assert.match(refusal?.message ?? '', /must be available or downloading to reserve, but .* is in-use\.$/);
  }
});

test('only a volume at rest, and not the one it boots from, can be taken from a server', () => {
  const ids = { volumeId: 'v1', serverId: 's1' };
  assert.equal(checkDetach('in-use', { bootIndex: null }, ids), null);
  assert.equal(checkDetach('in-use', { bootIndex: 0 }, ids)?.message, 'Cannot detach a root device volume');
  assert.equal(checkDetach('in-use', null, ids)?.code, 404);
  assert.equal(checkDetach(null, { bootIndex: null }, ids)?.code, 404);
  for (const status of ['detaching', 'reserved', 'extending']) {
    assert.equal(checkDetach(status, { bootIndex: null }, ids)?.code, 400);
  }
});

test('a device is free, of the right kind, and the first that is free when none is wanted', () => {
  const letters = fc.uniqueArray(fc.constantFrom(...'bcdefghijklmnopqrstuvwxyz'), { maxLength: 25 });
  fc.assert(
    fc.property(letters, (used) => {
      const taken = used.map((letter) => `/dev/vd${letter}`);
      const chosen = chooseDevice(null, taken);
      if (used.length === 25) return assert('refusal' in chosen && chosen.refusal.code === 409);
      assert('device' in chosen && !taken.includes(chosen.device) && chosen.device !== '/dev/vda');
      assert.deepEqual(chooseDevice(chosen.device, taken), chosen);
    }),
  );
  for (const [wanted, code] of [
    ['/dev/vda', 409],
    ['/dev/vdb', 409],
    ['/dev/sdb', 400],
    ['/dev/vd1', 400],
    ['vdb', 400],
  ] as const) {
    const chosen = chooseDevice(wanted, ['/dev/vdb']);
    assert('refusal' in chosen && chosen.refusal.code === code, wanted);
  }
});
