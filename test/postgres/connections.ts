// For a virtual clock over PostgreSQL: time stands still while the databases are being asked.
import pg from 'pg';

/**
 * While a statement or the making of a connection is under way, anywhere in this process: when the next of them is over.
 * Null: none is.
 */
export function watchConnections(): () => Promise<void> | null {
  let underWay = 0;
  let next = Promise.withResolvers<void>();
  const counted = (of: { query?: unknown; connect?: unknown }, method: 'query' | 'connect'): void => {
    const original = of[method] as (...args: unknown[]) => unknown;
    of[method] = function (this: unknown, ...args: unknown[]) {
      const answer = original.apply(this, args);
      if (answer instanceof Promise) {
        underWay += 1;
        const over = (): void => {
          underWay -= 1;
          next.resolve();
          next = Promise.withResolvers();
        };
        answer.then(over, over);
      }
      return answer;
    };
  };
  counted(pg.Client.prototype, 'query');
  counted(pg.Pool.prototype, 'connect');
  return () => (underWay > 0 ? next.promise : null);
}
