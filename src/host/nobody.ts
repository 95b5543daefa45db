// Somebody who cannot be reached, with whatever contract is asked of him: every call is `unreachable`.
import type { Reply } from './contract.ts';

export const nobody = <T extends object>(reason: string): T =>
  new Proxy({} as T, {
    get: (_, property) =>
      // It is handed over in promises: with a `then` it would pass for one, and never resolve.
      property === 'then' ? undefined : async (): Promise<Reply<never>> => ({ kind: 'unreachable', reason }),
  });
