// Bounded concurrency: as many lanes as the limit says, each taking the next item when it is through with the one
// before, so that a slow item holds up its own lane alone.

/**
 * Has `work` done on every item, at most `limit` at a time; resolves when all are done. The first error is thrown when
 * the lanes have come to rest; no new item is begun after it.
 */
export async function eachAtMost<T>(
  limit: number,
  items: Iterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failure: { readonly error: unknown } | null = null;
  let over = false;
  const lane = async (): Promise<void> => {
    while (failure === null) {
      const next = queue.next();
      if (next.done) {
        over = true;
        return;
      }
      try {
        await work(next.value);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  const lanes: Promise<void>[] = [];
  while (lanes.length < limit && !over) lanes.push(lane());
  await Promise.all(lanes);
  const failed = failure as { readonly error: unknown } | null;
  if (failed) throw failed.error;
}
