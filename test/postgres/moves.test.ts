// The moves on PostgreSQL: all that test/moves/moves.test.ts says of them, and what only transactions side by side can do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Around } from '../../src/control/platform.ts';
import { quotaOf, setQuota } from '../../src/control/quota.ts';
import { outcomeOf } from '../../src/moves/context.ts';
import { findMove } from '../../src/moves/registry.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { accept, activeSagas, FLAVORS, newServer, settle, Worker, withSoundWorld } from '../moves/world.ts';
import { meanwhile } from './meanwhile.ts';
import { worldsOnPostgres } from './world.ts';

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('moves on PostgreSQL', { skip: unavailable }, () => undefined);
else {
  test('of two resizes that were accepted and choose at the same instant, one fits into the quota', () =>
    withSoundWorld(async (world) => {
      const { p, user } = world;
      const servers = [await newServer(world, FLAVORS.small, 'one'), await newServer(world, FLAVORS.small, 'two')];
      await setQuota(p, { projectId: user.projectId }, { cores: 5 });
      for (const serverId of servers) await accept(world, resizeServer(p, user, serverId, { flavorId: FLAVORS.big }));
      // Their conductors stand still before they choose, and keep their leases.
      const around: Around = async (_row, step, _direction, effect) =>
        step === 'choose target' ? { kind: 'fenced' } : effect();
      Object.assign(p, { around });
      const worker = new Worker(world);
      while ((await worker.step()) !== 'idle');
      Object.assign(p, { around: undefined });

      // Whoever has counted waits for the host that it has chosen.
      const choices = (await activeSagas(world)).map(
        (saga) => () => outcomeOf(p, saga, findMove('resize', 1), 'choose target', 'do'),
      );
      const outcomes = await world.clock.drive(
        meanwhile(
          p.stores.global,
          (trx) =>
            trx
              .updateTable('providers')
              .set((eb) => ({ generation: eb.ref('generation') }))
              .execute(),
          ...choices,
        ),
      );
      assert.deepEqual(outcomes.map(({ kind }) => kind).toSorted(), ['done', 'failed']);
      assert.equal((await quotaOf(p, user.projectId)).used.cores, 5);
      await settle(world);
    }));

  await import('../moves/moves.test.ts');
}
