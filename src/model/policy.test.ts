import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkMigratePolicy, checkResizePolicy, hasRole, mayCrossCells, mayWrite } from './policy.ts';
import { actor, PROJECT_ID } from './test-samples.ts';

const reader = actor(['reader']);
const member = actor(['member']);
const manager = actor(['manager']);
const admin = actor(['admin']);
const stranger = actor(['member'], 'p2');
const otherAdmin = actor(['admin'], 'p2');

describe('policies', () => {
  it('roles imply the lower ones', () => {
    assert.ok(hasRole(admin, 'reader') && hasRole(manager, 'member') && !hasRole(reader, 'member'));
    assert.equal(hasRole(actor(['something']), 'reader'), false);
  });

  it('writing is for members of the project', () => {
    assert.deepEqual(
      [reader, member, stranger, otherAdmin].map((who) => mayWrite(who, PROJECT_ID)),
      [false, true, false, true],
    );
  });

  it('V1 resize, confirm and revert are for members of the project and administrators', () => {
    for (const action of ['resize', 'confirm_resize', 'revert_resize'] as const) {
      assert.equal(checkResizePolicy(member, PROJECT_ID, action), null);
      assert.equal(checkResizePolicy(otherAdmin, PROJECT_ID, action), null);
      for (const who of [reader, stranger]) {
        assert.deepEqual(checkResizePolicy(who, PROJECT_ID, action), {
          code: 403,
          message: `Policy doesn't allow os_compute_api:servers:${action} to be performed.`,
        });
      }
    }
  });

  it('V2 migrate is for managers and administrators, naming a host for administrators alone', () => {
    assert.equal(checkMigratePolicy(manager, PROJECT_ID, null), null);
    assert.equal(checkMigratePolicy(otherAdmin, PROJECT_ID, 'host2'), null);
    assert.deepEqual(checkMigratePolicy(member, PROJECT_ID, null), {
      code: 403,
      message: "Policy doesn't allow os_compute_api:os-migrate-server:migrate to be performed.",
    });
    assert.equal(
      checkMigratePolicy(manager, PROJECT_ID, 'host2')?.message,
      "Policy doesn't allow os_compute_api:os-migrate-server:migrate:host to be performed.",
    );
    assert.equal(checkMigratePolicy(actor(['manager'], 'p2'), PROJECT_ID, null)?.code, 403);
  });

  it('V3 crossing cells is a matter of policy and never a refusal', () => {
    assert.deepEqual(
      (['nobody', 'admin', 'member'] as const).map((p) => mayCrossCells(member, PROJECT_ID, p)),
      [false, false, true],
    );
    assert.deepEqual(
      (['nobody', 'admin', 'member'] as const).map((p) => mayCrossCells(admin, PROJECT_ID, p)),
      [false, true, true],
    );
    assert.equal(mayCrossCells(stranger, PROJECT_ID, 'member'), false);
  });
});
