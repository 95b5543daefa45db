// A log that nobody reads: nothing is formatted, and an error that the product did not expect is handed on.
import type { Logger } from 'pino';

/** @param onError gets what is logged as an error together with its cause */
export function quietLog(onError: (error: unknown) => void = () => undefined): Logger {
  const nothing = (): void => undefined;
  const log = {
    level: 'silent',
    ...{ trace: nothing, debug: nothing, info: nothing, warn: nothing },
    error: (what: unknown) => {
      if (typeof what === 'object' && what !== null && 'err' in what) onError(what.err);
    },
    fatal: nothing,
    child: () => log,
  };
  return log as unknown as Logger;
}
