// Where a request comes from. A proxy that is trusted says it in X-Forwarded-For, which Fastify reads from its end up to the
// first address that is no trusted proxy; what anybody else writes there counts for nothing.
import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';
import type { Platform } from '../../control/platform.ts';

/** Null: nobody knows, because the last who is known is a proxy that does not tell (or tells what is no address). */
export function clientAddress(p: Platform, request: FastifyRequest): string | null {
  const { ip } = request;
  return isIP(ip) === 0 || p.settings.trustedProxies.has(ip) ? null : ip;
}
