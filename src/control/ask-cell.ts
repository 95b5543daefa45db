// Asking a cell's database on somebody's behalf who must not wait for it for ever: for lists and for looking whether it
// is there.
//
// A database may not answer at all (a frozen machine, a network that swallows packets); its driver notices after half a
// minute. Whoever reads many cells goes on without it after ANSWER_LIMIT_MS. A cell that was silent once is given
// SILENT_LIMIT_MS only, until it answers again: the list after does not wait as long. That is remembered by process.
// What was asked is not taken back: its answer is dropped, and its connection ends by the driver's limit.
import { CellDown, type Stores } from '../store/stores.ts';
import type { Platform } from './platform.ts';

/** Nova waits for 60 s (nova/context.py:CELL_TIMEOUT). */
const ANSWER_LIMIT_MS = 5_000;
const SILENT_LIMIT_MS = 500;
/** Why the wait ends. Without a reason each abort would make an error, with its stack. */
const ANSWERED = 'the cell has answered';

const silentCells = new WeakMap<Stores, Set<string>>();

/** What the cell's database answers; CellDown when it cannot be reached or does not answer in time. */
export async function askCell<T>(
  p: Platform,
  cellId: string,
  ask: (cell: Awaited<ReturnType<Stores['cell']>>) => Promise<T>,
): Promise<T | CellDown> {
  const silent = silentCells.get(p.stores) ?? new Set();
  silentCells.set(p.stores, silent);
  const limitMs = silent.has(cellId) ? SILENT_LIMIT_MS : ANSWER_LIMIT_MS;
  const answered = new AbortController();
  const answer = answerOf(p, cellId, ask);
  const late = p.clock.sleep(limitMs, answered.signal).then(() => null);
  const first = await Promise.race([answer, late]).finally(() => answered.abort(ANSWERED));
  if (first !== null) {
    silent.delete(cellId);
    return first.value;
  }
  silent.add(cellId);
  // Nobody waits for it any more, whatever comes.
  answer.catch((error: unknown) => p.log.warn({ err: error, cell: cellId }, 'a late answer of a cell is an error'));
  return new CellDown(cellId, new Error(`no answer within ${limitMs} ms`));
}

async function answerOf<T>(
  p: Platform,
  cellId: string,
  ask: (cell: Awaited<ReturnType<Stores['cell']>>) => Promise<T>,
): Promise<{ readonly value: T | CellDown }> {
  try {
    return { value: await ask(await p.stores.cell(cellId)) };
  } catch (error) {
    if (error instanceof CellDown) return { value: error };
    throw error;
  }
}
