// Guests that nobody owns, and files without a record: what is kept, and what an operator decides.
import { Type } from 'typebox';
import { destroy, listQuarantine, release } from '../../control/quarantine.ts';
import { refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, closed, IdParams, orNull, Page, page, pageOf, reading, text, time } from './pages.ts';

const URL = `${BASE}/quarantine`;
const Quarantined = Type.Object(
  {
    id: text(),
    kind: Type.Enum(['guest', 'remains', 'volume']),
    host: text(),
    serverId: orNull(text()),
    volumeId: orNull(text()),
    generation: Type.Integer(),
    wasRunning: Type.Boolean(),
    bytes: orNull(Type.Integer()),
    reason: text(),
    foundAt: time(),
  },
  closed,
);

export const quarantineRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: URL,
    service: 'crosscell',
    summary:
      'List guests that nobody owns, turned off and kept, and files of which a host, or a storage host, has no record',
    policy: 'crosscell:quarantine',
    query: Page,
    answers: { 200: page('quarantine', Quarantined) },
    handle: async ({ p, query }) => {
      const found = await listQuarantine(p, reading(query));
      return { status: 200, body: pageOf('quarantine', found, (each) => each.id, query) };
    },
  }),
  route({
    method: 'POST',
    url: `${URL}/:id/release`,
    service: 'crosscell',
    summary: 'Let something out of quarantine: it stays as it is, and is left alone from then on',
    policy: 'crosscell:quarantine:release',
    params: IdParams,
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
    summary: 'Have something in quarantine destroyed, a guest with its disks; 409 when it is, or may be, somebody’s',
    policy: 'crosscell:quarantine:destroy',
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      refuse(await destroy(p, actor, params.id));
      return { status: 202 };
    },
  }),
];
