// Ends work that has stopped making progress. QEMU's programs have no time limits of their own: a copy whose peer has
// vanished waits for ever.
import { type Clock, passed } from '../../lib/clock.ts';
import { HypervisorError } from '../hypervisor.ts';

const LOOK_MS = 250;

/**
 * Runs `work` with a signal that aborts when `outer` does, or when `measure` has given the same answer for `stallMs`;
 * the latter rejects with HypervisorError. `measure` is asked four times a second and may report progress on its way.
 */
export async function withWatchdog<T>(
  clock: Clock,
  stallMs: number,
  outer: AbortSignal,
  measure: () => string | Promise<string>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const stalled = new AbortController();
  const watch = async () => {
    let last = '';
    let since = passed(clock);
    while (!over.signal.aborted) {
      const now = await measure();
      if (now !== last) {
        last = now;
        since = passed(clock);
      } else if (passed(clock) - since >= stallMs) {
        stalled.abort();
        return;
      }
      await clock.sleep(LOOK_MS, over.signal);
    }
  };
  let measureError: unknown = null;
  const watching = watch().catch((error: unknown) => {
    // Progress that cannot be measured ends the work, which then fails with this error.
    measureError = error;
    stalled.abort();
  });
  try {
    return await work(AbortSignal.any([outer, stalled.signal]));
  } catch (error) {
    if (measureError !== null) throw measureError;
    if (stalled.signal.aborted && !outer.aborted)
      throw new HypervisorError(`no progress for ${Math.round(stallMs / 1000)} s`);
    throw error;
  } finally {
    over.abort();
    await watching;
  }
}
