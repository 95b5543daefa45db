// Waiting for something to become true, with a limit and an end when the demo is interrupted.
import { systemClock } from '../../lib/clock.ts';

/** Ctrl-C or a request to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  constructor() {
    super('interrupted');
  }
}

/** A wait whose limit has passed. */
export class TimedOut extends Error {
  override readonly name = 'TimedOut';
}

export interface WaitOptions {
  /** What is waited for, as in "waited 30 s for …". */
  readonly what: string;
  readonly limitMs: number;
  readonly everyMs?: number;
  readonly signal: AbortSignal;
}

/** The first answer of `probe` that is not null. @throws TimedOut, Interrupted, and whatever `probe` throws */
export async function until<T>(probe: () => Promise<T | null>, options: WaitOptions): Promise<T> {
  const giveUp = systemClock.now() + options.limitMs;
  for (;;) {
    if (options.signal.aborted) throw new Interrupted();
    const answer = await probe();
    if (answer !== null) return answer;
    if (systemClock.now() > giveUp) {
      throw new TimedOut(`waited ${Math.round(options.limitMs / 1000)} s in vain for ${options.what}`);
    }
    await systemClock.sleep(options.everyMs ?? 150, options.signal);
  }
}
