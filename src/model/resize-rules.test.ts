import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GIB } from './disk-rules.ts';
import type { MigrateFacts, ResizeFacts } from './resize-rules.ts';
import {
  checkConfirm,
  checkFlavorChanges,
  checkFlavorEnabled,
  checkFlavorVisible,
  checkMigrate,
  checkOtherHost,
  checkResize,
  checkRevert,
  checkTargetHost,
} from './resize-rules.ts';
import { ignoredHosts } from './targeting.ts';
import { flavor, image, offered, PROJECT_ID, SERVER_ID, server } from './test-samples.ts';

const facts = (changes: Partial<ResizeFacts> = {}): ResizeFacts => ({
  server: server(),
  admin: false,
  projectId: PROJECT_ID,
  serviceUp: true,
  flavorRef: 'f2',
  current: flavor(),
  next: offered({ flavorId: 'f2', vcpus: 2, memoryMb: 1024, rootGb: 2 }),
  image: image(),
  imageVirtualBytes: GIB,
  rootDiskBytes: GIB,
  diskConfig: null,
  ...changes,
});

const migration = (changes: Partial<MigrateFacts> = {}): MigrateFacts => ({
  server: server(),
  admin: true,
  serviceUp: true,
  host: null,
  targetCellId: null,
  serverCellId: 'c1',
  crossCellAllowed: true,
  ...changes,
});

const gone = { code: 400, message: 'Flavor f2 could not be found.' };

describe('resize', () => {
  it('a plain resize may begin', () => assert.equal(checkResize(facts()), null));

  it('V13 an unknown flavor, or a private one of others, cannot be found', () => {
    const secret = offered({ flavorId: 'f2', isPublic: false, projectIds: ['p9'] });
    assert.deepEqual(checkResize(facts({ next: null })), gone);
    assert.deepEqual(checkResize(facts({ next: secret })), gone);
    assert.equal(checkFlavorVisible('f2', secret, 'p9', false), null);
    assert.equal(checkFlavorVisible('f2', secret, PROJECT_ID, true), null);
  });

  it('V14 a disabled flavor cannot be found', () => {
    assert.deepEqual(checkResize(facts({ next: offered({ flavorId: 'f2', disabled: true }) })), gone);
    assert.equal(checkFlavorEnabled(offered()), null);
  });

  it('V15 a resize must change the flavor, also when the current one is disabled by now', () => {
    const same = { code: 400, message: 'When resizing, instances must change flavor!' };
    assert.deepEqual(checkResize(facts({ flavorRef: 'f1', next: offered() })), same);
    assert.deepEqual(checkResize(facts({ flavorRef: 'f1', next: offered({ disabled: true }) })), same);
    assert.equal(checkFlavorChanges(flavor(), flavor({ flavorId: 'f2' })), null);
  });

  it('V16 V17 V18 V19 V20 are asked of the new flavor', () => {
    const message = (changes: Partial<ResizeFacts>): string => checkResize(facts(changes))?.message ?? 'ok';
    const next = (changes: Parameters<typeof offered>[0]): ResizeFacts['next'] =>
      offered({ flavorId: 'f2', rootGb: 2, ...changes });
    assert.match(message({ next: next({ rootGb: 0 }) }), /zero disk flavor is not allowed/);
    assert.match(message({ image: image({ minRamMb: 4096 }) }), /memory is too small/);
    assert.match(message({ image: image({ minDiskGb: 9 }) }), /smaller than the minimum size/);
    assert.match(message({ rootDiskBytes: 3 * GIB }), /Unable to resize disk down/);
    assert.match(
      message({
        next: next({ extraSpecs: { 'hw:numa_nodes': '1' } }),
        image: image({ properties: { hw_numa_nodes: '1' } }),
      }),
      /hw_numa_nodes/,
    );
    assert.match(
      message({ diskConfig: 'AUTO', image: image({ properties: { auto_disk_config: 'disabled' } }) }),
      /automatic disk resize disabled/,
    );
    assert.match(message({ next: next({ ephemeralGb: 1 }) }), /ephemeral or swap/);
  });

  it('V6 V7 V8 come before anything is said about flavors', () => {
    const nothing = { next: null };
    assert.equal(
      checkResize(facts({ ...nothing, server: server({ taskState: 'resize_prep' }) }))?.message,
      `Cannot 'resize' instance ${SERVER_ID} while it is in task_state resize_prep`,
    );
    assert.match(checkResize(facts({ ...nothing, server: server({ locked: true }) }))?.message ?? '', /is locked$/);
    assert.match(checkResize(facts({ ...nothing, server: server({ host: null }) }))?.message ?? '', /is not ready$/);
    assert.deepEqual(checkResize(facts({ ...nothing, serviceUp: false })), {
      code: 409,
      message: 'Service is unavailable at this time.',
    });
  });
});

describe('migrate', () => {
  it('a plain migration may begin', () => {
    assert.equal(checkMigrate(migration()), null);
    assert.equal(checkMigrate(migration({ host: 'host2', targetCellId: 'c2' })), null);
  });

  it('V24 the host asked for must be another', () => {
    assert.deepEqual(checkMigrate(migration({ host: 'host1', targetCellId: 'c1' })), {
      code: 400,
      message: 'Cannot migrate to the host where the server exists.',
    });
    assert.equal(checkOtherHost(server(), null), null);
  });

  it('V25 the host asked for must exist, and stand in the cell where the move may not leave it', () => {
    const unknown = { code: 400, message: 'Compute host host2 could not be found.' };
    assert.deepEqual(checkMigrate(migration({ host: 'host2' })), unknown);
    assert.deepEqual(checkTargetHost('host2', 'c2', 'c1', false), unknown);
    assert.equal(checkTargetHost('host2', 'c1', 'c1', false), null);
    assert.equal(checkTargetHost('host2', 'c2', 'c1', true), null);
    assert.equal(checkTargetHost(null, null, 'c1', false), null);
  });

  it('V26 the source is left out, unless a resize may stay', () => {
    assert.deepEqual(ignoredHosts('migration', 'host1', true, []), ['host1']);
    assert.deepEqual(ignoredHosts('resize', 'host1', false, ['host2', 'host1']), ['host1', 'host2']);
    assert.deepEqual(ignoredHosts('resize', 'host1', true, ['host2']), ['host2']);
  });

  it('V6 V8 hold for migrations too', () => {
    assert.equal(
      checkMigrate(migration({ server: server({ vmState: 'error' }) }))?.message,
      `Cannot 'migrate' instance ${SERVER_ID} while it is in vm_state error`,
    );
    assert.equal(checkMigrate(migration({ serviceUp: false }))?.code, 409);
  });
});

describe('confirm and revert', () => {
  const resized = server({ vmState: 'resized' });
  const notResized = { code: 400, message: 'Instance has not been resized.' };

  it('V32 confirm needs a resized idle server, a finished migration and the source up', () => {
    assert.equal(checkConfirm(resized, false, 'finished', true), null);
    assert.deepEqual(checkConfirm(server(), false, 'finished', true), {
      code: 409,
      message: `Cannot 'confirmResize' instance ${SERVER_ID} while it is in vm_state active`,
    });
    assert.deepEqual(
      checkConfirm(server({ vmState: 'resized', taskState: 'resize_reverting' }), false, 'reverting', true),
      {
        code: 409,
        message: `Cannot 'confirmResize' instance ${SERVER_ID} while it is in task_state resize_reverting`,
      },
    );
    assert.deepEqual(checkConfirm(resized, false, null, true), notResized);
    assert.deepEqual(checkConfirm(resized, false, 'confirming', true), notResized);
    assert.deepEqual(checkConfirm(resized, false, 'finished', false), {
      code: 409,
      message: 'Service is unavailable at this time.',
    });
  });

  it('V33 revert needs a resized idle server and a finished migration', () => {
    assert.equal(checkRevert(resized, false, 'finished', true), null);
    assert.equal(checkRevert(resized, false, 'finished', false)?.code, 409);
    assert.deepEqual(checkRevert(server(), false, null, true), {
      code: 409,
      message: `Cannot 'revertResize' instance ${SERVER_ID} while it is in vm_state active`,
    });
    assert.deepEqual(checkRevert(resized, false, 'error', true), notResized);
    assert.match(
      checkRevert(server({ vmState: 'resized', locked: true }), false, 'finished', true)?.message ?? '',
      /is locked$/,
    );
  });
});
