// Serves any storage host over HTTP (host/wire-server.ts).
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Reply } from '../host/contract.ts';
import { createWireServer } from '../host/wire-server.ts';
import type { StorageHost } from './contract.ts';
import { STORAGE_ROUTES, type StorageMethod } from './routes.ts';

export interface StorageServerOptions {
  readonly storage: StorageHost;
  /** The storage host's name, compared with what the caller says it wants to speak to. */
  readonly name: string;
  readonly secret: string;
  readonly log: Logger;
}

/** A Fastify server, not listening yet; `inject` serves tests. */
export function createStorageServer({ storage, ...options }: StorageServerOptions): FastifyInstance {
  return createWireServer<StorageMethod>({
    ...options,
    routes: STORAGE_ROUTES,
    call: (method, ids, argument) => {
      const act = storage[method].bind(storage) as (...args: unknown[]) => Promise<Reply<unknown>>;
      return act(...ids, argument);
    },
  });
}
