// Skip where it would lose a server: at the pivot of a resize, which has happened although it was refused, while its undo,
// which is to find that out, is refused as well; and where it would keep hold of one for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachVolume } from '../../src/moves/attach.ts';
import { failureOf } from '../../src/moves/failure.ts';
import { orderMove } from '../../src/moves/orders.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { UNDO_REFUSALS } from '../../src/saga/decide.ts';
import { arm, Strike } from '../moves/matrix/faults.ts';
import { attachWish, newVolume } from '../moves/volumes.ts';
import { accept, FLAVORS, newServer, refuse, runningOn, settle, withSoundWorld } from '../moves/world.ts';
import { snapshotOf } from '../moves/world-snapshot.ts';

test('a refused undo at the pivot is not passed by: it is looked at when what refuses it is gone', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const before = await snapshotOf(world);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    const at = { definition: 'resize', step: 'switch home' };
    const undo = new Strike(world, { ...at, direction: 'undo' }, 'error', UNDO_REFUSALS);
    arm(world, [new Strike(world, { ...at, direction: 'do' }, 'error-after'), undo]);
    await settle(world);

    const sagas = world.p.stores.global.selectFrom('sagas').select(['id', 'status']).where('definition', '=', 'resize');
    const { id, status } = await sagas.executeTakeFirstOrThrow();
    assert.equal(status, 'stuck');
    const skip = { kind: 'skip', step: 'switch home' } as const;
    const refusal = await refuse(world, orderMove(world.p, world.admin, id, skip));
    assert.equal(refusal.code, 409);
    assert.match(refusal.message, /'switch home' is its pivot, which may have happened.*then retry/);
    assert.match((await failureOf(world.p, id))?.advice ?? '', /Then 'crosscell moves retry'\. It cannot be skipped/);

    await accept(world, orderMove(world.p, world.admin, id, { kind: 'retry' }));
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    assert.equal(runningOn(world, serverId).length, 1);
  }));

test('letting go is not passed by, also where the request had done something before the server was taken hold of', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const volumeId = await newVolume(world);
    const before = await snapshotOf(world);
    const at = (step: string) => ({ definition: 'attach volume', step });
    const undo = new Strike(world, { ...at('take hold'), direction: 'undo' }, 'error', UNDO_REFUSALS);
    arm(world, [new Strike(world, { ...at('plug in volume'), direction: 'do' }, 'error'), undo]);
    await world.clock.drive(attachVolume(world.p, world.user, serverId, attachWish(volumeId)));
    await settle(world);

    const sagas = world.p.stores.global.selectFrom('sagas').select(['id', 'status']);
    const { id, status } = await sagas.where('definition', '=', 'attach volume').executeTakeFirstOrThrow();
    assert.equal(status, 'stuck');
    const refusal = await refuse(world, orderMove(world.p, world.admin, id, { kind: 'skip', step: 'take hold' }));
    assert.match(refusal.message, /'take hold' is its last step, which lets go of the server, and cannot be skipped/);
    assert.match((await failureOf(world.p, id))?.advice ?? '', /It cannot be skipped: without it/);

    await accept(world, orderMove(world.p, world.admin, id, { kind: 'retry' }));
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
  }));
