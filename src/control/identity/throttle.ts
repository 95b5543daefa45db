// Limits on logins: how many may fail, and how many are checked at once. In memory, of bounded size.
import type { Clock } from '../../lib/clock.ts';

/** Failed logins that one key may have per window. */
const MAX_FAILURES = 20;
const FAILURE_WINDOW_MS = 60_000;
const MAX_COUNTED = 10_000;

/** Counts failures per key in windows; the oldest key is forgotten when there are too many. */
export function failureCounter(clock: Clock): {
  blockedFor(keys: readonly string[]): number;
  count(keys: readonly string[]): void;
} {
  const counted = new Map<string, { since: number; times: number }>();
  const live = (key: string): { since: number; times: number } | null => {
    const entry = counted.get(key);
    return entry && clock.now() - entry.since < FAILURE_WINDOW_MS ? entry : null;
  };
  return {
    blockedFor(keys) {
      const waits = keys.map((key) => {
        const entry = live(key);
        return entry && entry.times >= MAX_FAILURES ? entry.since + FAILURE_WINDOW_MS - clock.now() : 0;
      });
      return Math.ceil(Math.max(0, ...waits) / 1000);
    },
    count(keys) {
      for (const key of keys) {
        const entry = live(key);
        if (entry) entry.times += 1;
        else {
          counted.delete(key);
          const oldest = counted.size >= MAX_COUNTED ? counted.keys().next().value : undefined;
          if (oldest !== undefined) counted.delete(oldest);
          counted.set(key, { since: clock.now(), times: 1 });
        }
      }
    },
  };
}

/** Lets `inside` in at a time; `enter` answers null when `waiting` already wait. */
export function turnstile(inside: number, waiting: number): { enter(): Promise<{ leave(): void } | null> } {
  let busy = 0;
  const queue: (() => void)[] = [];
  const leave = (): void => {
    const next = queue.shift();
    if (next) next();
    else busy -= 1;
  };
  return {
    async enter() {
      if (busy < inside) busy += 1;
      else if (queue.length >= waiting) return null;
      else {
        const { promise, resolve } = Promise.withResolvers<void>();
        queue.push(resolve);
        await promise;
      }
      return { leave };
    },
  };
}
