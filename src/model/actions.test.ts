import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { allowedActions, checkAction, checkHasHost, checkServiceUp, checkTagging, SERVER_ACTIONS } from './actions.ts';
import { TASK_STATES, VM_STATES } from './states.ts';
import { SERVER_ID, server } from './test-samples.ts';
import type { TaskState } from './types.ts';

describe('checkAction', () => {
  it('V6 resize and migrate need an idle server that is active or stopped', () => {
    for (const action of ['resize', 'migrate'] as const) {
      for (const vmState of VM_STATES) {
        const fine = vmState === 'active' || vmState === 'stopped';
        assert.equal(checkAction(action, server({ vmState }), false) === null, fine, `${action} ${vmState}`);
      }
      for (const taskState of TASK_STATES) {
        assert.deepEqual(checkAction(action, server({ taskState }), false), {
          code: 409,
          message: `Cannot '${action}' instance ${SERVER_ID} while it is in task_state ${taskState}`,
        });
      }
    }
    assert.deepEqual(checkAction('resize', server({ vmState: 'building', launched: false }), false), {
      code: 409,
      message: `Cannot 'resize' instance ${SERVER_ID} while it is in vm_state building`,
    });
    assert.deepEqual(checkAction('migrate', server({ vmState: 'resized' }), true), {
      code: 409,
      message: `Cannot 'migrate' instance ${SERVER_ID} while it is in vm_state resized`,
    });
  });

  it('V6 a server that never ran is refused', () => {
    assert.deepEqual(checkAction('resize', server({ launched: false }), false), {
      code: 409,
      message: `Instance ${SERVER_ID} is in an invalid state for 'resize'`,
    });
  });

  it('V7 a locked server refuses all but administrators', () => {
    const locked = server({ locked: true });
    assert.deepEqual(checkAction('resize', locked, false), { code: 409, message: `Instance ${SERVER_ID} is locked` });
    assert.equal(checkAction('resize', locked, true), null);
    assert.equal(checkAction('unlock', locked, false), null);
    assert.equal(checkAction('rename', locked, false), null);
    assert.deepEqual(checkAction('delete', locked, false)?.message, `Instance ${SERVER_ID} is locked`);
  });

  it('V8 a server without a host, and a host whose service is down, are refused', () => {
    assert.deepEqual(checkAction('resize', server({ host: null }), false), {
      code: 409,
      message: `Instance ${SERVER_ID} is not ready`,
    });
    assert.deepEqual(checkHasHost(server()), null);
    assert.deepEqual(checkServiceUp(false), { code: 409, message: 'Service is unavailable at this time.' });
    assert.equal(checkServiceUp(true), null);
  });

  it('V34 while VERIFY_RESIZE only looking, naming, locking, volumes, confirming, reverting and deleting are allowed', () => {
    assert.deepEqual(allowedActions(server({ vmState: 'resized' }), false), [
      'triggerCrashDump',
      'injectNetworkInfo',
      'addFixedIp',
      'removeFixedIp',
      'confirmResize',
      'revertResize',
      'delete',
      'softDelete',
      'rename',
      'lock',
      'unlock',
      'getConsoleOutput',
      'attachVolume',
      'detachVolume',
      'updateVolumeAttachment',
    ]);
    for (const action of ['start', 'stop', 'softReboot', 'hardReboot', 'createImage', 'updateMetadata'] as const) {
      assert.equal(checkAction(action, server({ vmState: 'resized' }), true)?.code, 409);
    }
    assert.deepEqual(checkTagging('delete tags', server({ vmState: 'resized' })), {
      code: 409,
      message: `Cannot 'delete tags' instance ${SERVER_ID} while it is in vm_state resized`,
    });
    assert.equal(checkTagging('update tag', server({ locked: true })), null);
  });

  it('says what a started server says to start, and a stopped one to stop', () => {
    assert.deepEqual(checkAction('start', server(), false), {
      code: 409,
      message: `Cannot 'start' instance ${SERVER_ID} while it is in vm_state active`,
    });
    assert.deepEqual(checkAction('stop', server({ vmState: 'stopped' }), false), {
      code: 409,
      message: `Cannot 'stop' instance ${SERVER_ID} while it is in vm_state stopped`,
    });
    assert.equal(checkAction('start', server({ vmState: 'stopped' }), false), null);
    assert.equal(checkAction('stop', server({ vmState: 'error' }), false), null);
  });

  it('reboots softly only what runs, hard what runs, is stopped or broken, and hard on top of a soft reboot', () => {
    assert.equal(
      checkAction('softReboot', server({ vmState: 'stopped' }), false)?.message,
      `Cannot 'reboot' instance ${SERVER_ID} while it is in vm_state stopped`,
    );
    for (const vmState of ['active', 'stopped', 'error'] as const) {
      assert.equal(checkAction('hardReboot', server({ vmState }), false), null);
    }
    assert.equal(checkAction('hardReboot', server({ taskState: 'rebooting' }), false), null);
    assert.equal(checkAction('softReboot', server({ taskState: 'rebooting' }), false)?.code, 409);
  });

  it('allows deletion in every state that is not deleted', () => {
    const taskState = fc.constantFrom<TaskState | null>(null, ...TASK_STATES);
    fc.assert(
      fc.property(fc.constantFrom(...VM_STATES), taskState, fc.boolean(), (vmState, task, launched) => {
        const refusal = checkAction('delete', server({ vmState, taskState: task, launched, host: null }), false);
        assert.equal(refusal === null, vmState !== 'deleted');
      }),
    );
  });

  it('knows no deleted server, whatever is asked', () => {
    for (const action of SERVER_ACTIONS) {
      assert.deepEqual(checkAction(action, server({ vmState: 'deleted' }), true), {
        code: 404,
        message: `Instance ${SERVER_ID} could not be found.`,
      });
    }
  });

  it('never allows an ordinary caller more than an administrator, and always gives a sentence', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SERVER_ACTIONS),
        fc.constantFrom(...VM_STATES),
        fc.constantFrom<TaskState | null>(null, ...TASK_STATES),
        fc.boolean(),
        fc.boolean(),
        (action, vmState, taskState, launched, locked) => {
          const state = server({ vmState, taskState, launched, locked });
          const [user, admin] = [checkAction(action, state, false), checkAction(action, state, true)];
          if (user === null) assert.equal(admin, null);
          if (user !== null) assert.ok(user.message.includes(SERVER_ID) && [404, 409].includes(user.code));
        },
      ),
    );
  });
});
