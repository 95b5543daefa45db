import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  API_STATUSES,
  apiProgress,
  apiStatus,
  extendedStatus,
  isLegalTransition,
  isResizing,
  statesOf,
  TASK_STATES,
  VM_STATES,
} from './states.ts';
import type { TaskState, VmState } from './types.ts';

const vmState = fc.constantFrom(...VM_STATES);
const taskState = fc.constantFrom<TaskState | null>(null, ...TASK_STATES);

describe('apiStatus', () => {
  const table: readonly (readonly [VmState, TaskState | null, string])[] = [
    ['building', 'scheduling', 'BUILD'],
    ['building', 'spawning', 'BUILD'],
    ['building', null, 'BUILD'],
    ['active', null, 'ACTIVE'],
    ['active', 'powering-off', 'ACTIVE'],
    ['active', 'deleting', 'ACTIVE'],
    ['active', 'rebooting', 'REBOOT'],
    ['active', 'rebooting_hard', 'HARD_REBOOT'],
    ['active', 'resize_prep', 'RESIZE'],
    ['active', 'resize_migrating', 'RESIZE'],
    ['active', 'resize_migrated', 'RESIZE'],
    ['active', 'resize_finish', 'RESIZE'],
    ['stopped', null, 'SHUTOFF'],
    ['stopped', 'powering-on', 'SHUTOFF'],
    ['stopped', 'rebooting_hard', 'SHUTOFF'],
    ['stopped', 'resize_prep', 'RESIZE'],
    ['stopped', 'resize_finish', 'RESIZE'],
    ['resized', null, 'VERIFY_RESIZE'],
    ['resized', 'deleting', 'VERIFY_RESIZE'],
    ['resized', 'resize_reverting', 'REVERT_RESIZE'],
    ['error', null, 'ERROR'],
    ['error', 'rebooting_hard', 'ERROR'],
    ['deleted', null, 'DELETED'],
  ];
  for (const [vm, task, status] of table) {
    it(`shows ${vm}/${task} as ${status}`, () => assert.equal(apiStatus(vm, task), status));
  }

  it('shows REVERT_RESIZE through the whole of a revert, also in the second half (L-12)', () => {
    for (const vm of ['active', 'stopped', 'resized'] as const) {
      assert.equal(apiStatus(vm, 'resize_reverting'), 'REVERT_RESIZE');
    }
  });

  it('is total, and statesOf is its inverse', () => {
    fc.assert(
      fc.property(vmState, taskState, (vm, task) => {
        const status = apiStatus(vm, task);
        assert.ok(API_STATUSES.includes(status));
        for (const other of API_STATUSES) {
          const found = statesOf(other.toLowerCase()).some((pair) => pair.vm === vm && pair.task === task);
          assert.equal(found, other === status);
        }
      }),
    );
    assert.deepEqual(statesOf('NO_SUCH_STATUS'), []);
  });

  it('counts exactly the four steps of a resize as resizing', () => {
    assert.deepEqual(
      TASK_STATES.filter((task) => isResizing(task)),
      ['resize_prep', 'resize_migrating', 'resize_migrated', 'resize_finish'],
    );
    assert.equal(isResizing(null), false);
  });
});

describe('fields beside the status', () => {
  it('names the OS-EXT-STS fields', () => {
    assert.deepEqual(extendedStatus('active', 'resize_prep', 1), {
      'OS-EXT-STS:vm_state': 'active',
      'OS-EXT-STS:task_state': 'resize_prep',
      'OS-EXT-STS:power_state': 1,
    });
  });

  it('shows progress in the statuses where Nova does, always a whole per cent', () => {
    const showing = API_STATUSES.filter((status) => apiProgress(status, 0) !== undefined);
    assert.deepEqual(showing, ['BUILD', 'ACTIVE', 'REBUILD', 'RESIZE', 'VERIFY_RESIZE']);
    fc.assert(
      fc.property(fc.double(), (percent) => {
        const shown = apiProgress('RESIZE', percent);
        assert.ok(shown !== undefined && Number.isInteger(shown) && shown >= 0 && shown <= 100);
      }),
    );
    assert.equal(apiProgress('RESIZE', 41.9), 41);
  });
});

describe('isLegalTransition', () => {
  it('allows the whole way of a confirmed and of a reverted resize, running or stopped', () => {
    for (const rest of ['ACTIVE', 'SHUTOFF'] as const) {
      const ways = [
        [rest, 'RESIZE', 'VERIFY_RESIZE', rest],
        [rest, 'RESIZE', 'VERIFY_RESIZE', 'REVERT_RESIZE', rest],
        [rest, 'RESIZE', rest],
        [rest, 'RESIZE', 'VERIFY_RESIZE', 'REVERT_RESIZE', 'VERIFY_RESIZE'],
        ['BUILD', 'ACTIVE', 'SHUTOFF', 'ACTIVE', 'DELETED'],
      ] as const;
      for (const way of ways) {
        for (let i = 1; i < way.length; i += 1) {
          const [from, to] = [way[i - 1], way[i]];
          assert.ok(from !== undefined && to !== undefined && isLegalTransition(from, to), `${from} → ${to}`);
        }
      }
    }
  });

  it('never lets a move end in ERROR, a revert begin without a resize, or the dead rise', () => {
    assert.equal(isLegalTransition('RESIZE', 'ERROR'), false);
    assert.equal(isLegalTransition('VERIFY_RESIZE', 'ERROR'), false);
    assert.equal(isLegalTransition('REVERT_RESIZE', 'ERROR'), false);
    assert.equal(isLegalTransition('ACTIVE', 'REVERT_RESIZE'), false);
    assert.equal(isLegalTransition('ACTIVE', 'VERIFY_RESIZE'), false);
    for (const to of API_STATUSES) {
      assert.equal(isLegalTransition('DELETED', to), to === 'DELETED');
      assert.equal(isLegalTransition(to, 'BUILD'), to === 'BUILD');
    }
  });

  it('lets every status be left by deletion, and be reached from BUILD', () => {
    const reached = new Set(['BUILD']);
    for (let round = 0; round < API_STATUSES.length; round += 1) {
      for (const from of API_STATUSES) {
        for (const to of API_STATUSES) if (reached.has(from) && isLegalTransition(from, to)) reached.add(to);
      }
    }
    assert.equal(reached.size, API_STATUSES.length);
    for (const from of API_STATUSES) assert.ok(isLegalTransition(from, 'DELETED'));
  });
});
