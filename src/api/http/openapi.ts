// Routes in the words of the OpenAPI document.
import type { FastifySchema } from 'fastify';
import { bodySchemas, policyText, type Route } from './route.ts';

/** What @fastify/swagger makes an operation of. */
export function describe(route: Route): FastifySchema {
  const bodies = route.variants ?? bodySchemas(route);
  const response = Object.fromEntries(
    Object.entries(route.answers).map(([status, schema]) => [
      status,
      schema ?? { type: 'null', description: 'No JSON body' },
    ]),
  );
  return {
    ...(route.params ? { params: route.params } : {}),
    ...(route.query ? { querystring: route.query } : {}),
    ...(bodies.length === 0 ? {} : { body: bodies.length === 1 ? bodies[0] : { anyOf: bodies } }),
    response,
    summary: route.summary,
    description: since(route),
    tags: [route.service],
    hide: route.method === 'HEAD',
    ...(route.policy === 'public' ? {} : { security: [{ token: [] }] }),
  } as FastifySchema;
}

function since(route: Route): string {
  const range = [
    route.since ? `From microversion 2.${route.since}.` : '',
    route.until ? `Up to microversion 2.${route.until}.` : '',
  ].filter((each) => each !== '');
  return [...range, `Policy: ${policyText(route)}.`].join(' ');
}
