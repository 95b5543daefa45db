import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withPlatform } from '../../control/test-support.ts';
import type { Clock } from '../../lib/clock.ts';
import { newId } from '../../lib/ids.ts';
import { conflict } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import { ATTACH_INTERFACE } from '../../moves/interfaces.ts';
import { definitionOf, type Move } from '../../moves/move.ts';
import { RESCUE } from '../../moves/rescue.ts';
import { insertSaga, newSaga } from '../../store/sagas.ts';
import { inTurn } from './in-turn.ts';

const SERVER = newId();
const FOREVER = 'for ever';

/** A saga of that move is at the server, for so long; how often something was begun, and when last, in ms. */
async function whileAt<S>(
  move: Move<S>,
  forMs: number | typeof FOREVER,
  answers: (Refusal | null)[],
): Promise<{ readonly begun: number[]; readonly refusal: Refusal | null }> {
  let result: { begun: number[]; refusal: Refusal | null } = { begun: [], refusal: null };
  await withPlatform(async (p) => {
    const saga = { id: newId(), definition: definitionOf(move), key: SERVER, state: {}, requestId: 'req-1' };
    await insertSaga(p.stores.global, newSaga(saga, 0));
    let now = 0;
    const clock: Clock = {
      now: () => now,
      async sleep(ms) {
        now += ms;
        if (forMs !== FOREVER && now >= forMs)
          await p.stores.global.updateTable('sagas').set({ status: 'done' }).execute();
      },
    };
    const begun: number[] = [];
    const begin = async () => {
      begun.push(now);
      return answers[begun.length - 1] ?? null;
    };
    result = { begun, refusal: await inTurn({ ...p, clock }, SERVER, begin, (refusal) => refusal) };
  });
  return result;
}

test('whoever comes while an interface is attached waits for that, and not for ever', async () => {
  assert.deepEqual(await whileAt(ATTACH_INTERFACE, 200, []), { begun: [200], refusal: null });
  const busy = conflict('busy');
  const late = await whileAt(ATTACH_INTERFACE, FOREVER, [busy]);
  assert.deepEqual([late.begun.length, late.refusal], [1, busy]);
  assert.ok((late.begun[0] ?? 0) >= 10_000);
});

test('nobody waits for what is no device of the server', async () => {
  const busy = conflict('busy');
  assert.deepEqual(await whileAt(RESCUE, FOREVER, [busy]), { begun: [0], refusal: busy });
});
