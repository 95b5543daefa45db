// Two streams made one.
import type { Duplex } from 'node:stream';

/** How long what has been written may take to leave, once the other side is over; ms. */
const LINGER_MS = 1000;

/**
 * What comes out of one goes into the other, both ways, each waiting for the other to take it. Resolves when both are
 * closed: one that ends, fails or is destroyed takes the other with it. Never rejects.
 */
export function joinStreams(left: Duplex, right: Duplex): Promise<void> {
  left.pipe(right);
  right.pipe(left);
  return closedTogether(left, right);
}

/** The same end of both, for streams that are joined in another way. */
export function closedTogether(left: Duplex, right: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let open = 2;
    const close = (stream: Duplex): void => {
      if (stream.destroyed) return;
      stream.end();
      setTimeout(() => stream.destroy(), LINGER_MS).unref();
    };
    const over = (): void => {
      close(left);
      close(right);
    };
    for (const stream of [left, right]) {
      // Gone before it was joined: no event comes any more.
      if (stream.closed) {
        open -= 1;
        continue;
      }
      stream.once('end', over);
      // Why it failed is of no use to anybody: the console is over. Its 'close' follows.
      stream.on('error', over);
      stream.once('close', () => {
        over();
        open -= 1;
        if (open === 0) resolve();
      });
    }
    if (open < 2) over();
    if (open === 0) resolve();
  });
}
