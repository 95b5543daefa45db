// Guests that nobody owns: what is kept of them, and what an operator decides.
import { Type } from 'typebox';
import { destroy, listQuarantine, release } from '../../control/quarantine.ts';
import { refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';

const URL = '/crosscell/v1/quarantine';
const MAX_PAGE = 200;
const closed = { additionalProperties: false } as const;
const Id = Type.Object({ id: Type.String({ maxLength: 255 }) }, closed);
const Quarantined = Type.Object(
  {
    id: Type.String(),
    host: Type.String(),
    serverId: Type.String(),
    generation: Type.Integer(),
    wasRunning: Type.Boolean(),
    reason: Type.String(),
    foundAt: Type.Integer({ description: 'Milliseconds since the Unix epoch' }),
  },
  closed,
);

export const quarantineRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: URL,
    service: 'crosscell',
    summary: 'List guests that nobody owns: found on a host, turned off and kept',
    policy: 'crosscell:quarantine',
    query: Type.Object(
      {
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PAGE })),
        marker: Type.Optional(Type.String({ maxLength: 255 })),
      },
      closed,
    ),
    answers: {
      200: Type.Object({ quarantine: Type.Array(Quarantined), next: Type.Union([Type.String(), Type.Null()]) }, closed),
    },
    handle: async ({ p, query }) => {
      const limit = query.limit ?? MAX_PAGE;
      const marker = query.marker === undefined ? {} : { marker: query.marker };
      const found = await listQuarantine(p, { limit: limit + 1, ...marker });
      const shown = found.slice(0, limit);
      return {
        status: 200,
        body: { quarantine: shown, next: found.length > limit ? (shown.at(-1)?.id ?? null) : null },
      };
    },
  }),
  route({
    method: 'POST',
    url: `${URL}/:id/release`,
    service: 'crosscell',
    summary: 'Let a guest out of quarantine: it stays as it is, and is left alone from then on',
    policy: 'crosscell:quarantine:release',
    params: Id,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      refuse(await release(p, actor, params.id));
      return { status: 204 };
    },
  }),
  route({
    method: 'POST',
    url: `${URL}/:id/destroy`,
    service: 'crosscell',
    summary: 'Have a guest in quarantine destroyed with its disks; 409 when it may be somebody’s again',
    policy: 'crosscell:quarantine:destroy',
    params: Id,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      refuse(await destroy(p, actor, params.id));
      return { status: 202 };
    },
  }),
];
