// What was read about users, projects and roles a moment ago, so that a token costs no statement.
//
// Theory of operation. All values belong to one revision of the identity tables (`revisions`, which every write of them
// raises). The revision is asked for again once LOOK_MS have passed since the last answer, by whoever reads next, who
// waits for it; when it has changed, everything is forgotten. So no process acts for longer than LOOK_MS on what another
// one has changed, at one statement per LOOK_MS; the process that changes something forgets at once. A load that was
// under way while things were forgotten hands its value to its caller and is not kept, for it may be from before. When
// the database cannot be reached nothing is answered from here either: a revoked token must not outlive an outage.
import type { Clock } from '../../lib/clock.ts';

/** How long a change made by another process may go unnoticed. */
export const LOOK_MS = 1000;
const MAX_ENTRIES = 50_000;

export interface RevisionCache {
  /** The value under the key at the present revision; `load` is asked when it is not known. */
  read<T>(key: string, load: () => Promise<T>): Promise<T>;
  /** Something was changed by this process. */
  forget(): void;
}

/** @param revision reads the present revision */
export function revisionCache(revision: () => Promise<number>, clock: Clock): RevisionCache {
  const values = new Map<string, unknown>();
  let generation = 0;
  let known: number | null = null;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> | null = null;

  function forget(): void {
    values.clear();
    generation += 1;
  }

  async function look(): Promise<void> {
    const began = clock.now();
    const now = await revision();
    if (now !== known) forget();
    known = now;
    lookedAt = began;
  }

  /** One look serves all who wait for one. */
  function lookOnce(): Promise<void> {
    looking ??= look().finally(() => {
      looking = null;
    });
    return looking;
  }

  function keep(key: string, value: unknown): void {
    const oldest = values.size >= MAX_ENTRIES ? values.keys().next().value : undefined;
    if (oldest !== undefined) values.delete(oldest);
    values.set(key, value);
  }

  return {
    forget,
    async read<T>(key: string, load: () => Promise<T>): Promise<T> {
      const age = clock.now() - lookedAt;
      if (age >= LOOK_MS || age < 0) await lookOnce();
      if (values.has(key)) return values.get(key) as T;
      const before = generation;
      const value = await load();
      if (generation === before) keep(key, value);
      return value;
    },
  };
}
