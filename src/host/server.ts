// Serves any compute host over HTTP: its calls (wire-server.ts) and its guests' consoles (console-server.ts).
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { serveConsoles } from './console-server.ts';
import type { Consoles } from './consoles.ts';
import type { Host, Reply } from './contract.ts';
import { type Method, ROUTES } from './routes.ts';
import { createWireServer } from './wire-server.ts';

export interface HostServerOptions {
  readonly host: Host & Consoles;
  /** The host's name, compared with what the caller says it wants to speak to. */
  readonly name: string;
  readonly secret: string;
  readonly log: Logger;
}

/** A Fastify server, not listening yet; `inject` serves tests. */
export function createHostServer({ host, ...options }: HostServerOptions): FastifyInstance {
  const app = createWireServer<Method>({
    ...options,
    routes: ROUTES,
    call: (method, [serverId = ''], argument) => {
      if (method !== 'console') return invoke(host, method, serverId, argument);
      const { lines } = argument as { lines?: string };
      return host.console(serverId, lines === undefined ? undefined : Number(lines));
    },
  });
  serveConsoles(app, { consoles: host, ...options });
  return app;
}

/** Every other method takes a server's id and a request that has been checked, or less. */
function invoke(host: Host, method: Method, serverId: string, argument: unknown): Promise<Reply<unknown>> {
  const act = host[method].bind(host) as (id: string, argument: unknown) => Promise<Reply<unknown>>;
  return act(serverId, argument);
}
