// What was done to a server: its actions with their events, newest first. Those of deleted
// servers can be read for as long as their records are kept.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { type ServerAction, type ServerActionEvent, serverActions } from '../../control/servers.ts';
import { isUuid } from '../../lib/ids.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  BASE,
  IdAndKeyParams,
  IdParams,
  Links,
  markerNotFound,
  nextLink,
  nullable,
  object,
  Page,
  pageOf,
  serverFor,
  text,
  timeOf,
} from './common.ts';

const Event = object({
  event: text(),
  start_time: nullable(text()),
  finish_time: nullable(text()),
  result: nullable(text()),
  traceback: Type.Optional(nullable(Type.String())),
  host: Type.Optional(nullable(text())),
  hostId: Type.Optional(text()),
  details: Type.Optional(nullable(Type.String())),
});
const Action = object({
  action: text(),
  instance_uuid: text(),
  request_id: text(),
  user_id: text(),
  project_id: text(),
  start_time: text(),
  message: nullable(Type.String()),
  updated_at: Type.Optional(nullable(text())),
  events: Type.Optional(Type.Array(Event)),
});

const URL = `${BASE}/servers/:id/os-instance-actions`;

export const instanceActionRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: URL,
    service: 'compute',
    summary: "List a server's actions",
    policy: 'os_compute_api:os-instance-actions:list',
    params: IdParams,
    query: object({ ...Page, 'changes-since': Type.Optional(text(64)), 'changes-before': Type.Optional(text(64)) }),
    answers: { 200: object({ instanceActions: Type.Array(Action), links: Type.Optional(Links) }) },
    handle: async ({ p, actor, params, query, minor, request }) => {
      const serverId = await knownServer(p, actor, params.id, minor);
      const since = timeOf('changes-since', query['changes-since']) ?? 0;
      const before = timeOf('changes-before', query['changes-before']) ?? Number.POSITIVE_INFINITY;
      const actions = (await serverActions(p, serverId)).filter(
        (each) => each.updatedAt >= since && each.updatedAt <= before,
      );
      const result = pageOf(actions, (each) => each.requestId, query);
      if (!result) throw markerNotFound(query.marker);
      return {
        status: 200,
        body: {
          instanceActions: result.page.map((each) => render(serverId, each, minor)),
          ...nextLink(p.settings, 'links', request.url, result.marker),
        },
      };
    },
  }),
  route({
    method: 'GET',
    url: `${URL}/:key`,
    service: 'compute',
    summary: 'Show an action, by the request id of the call that caused it',
    policy: 'os_compute_api:os-instance-actions:show',
    params: IdAndKeyParams,
    answers: { 200: object({ instanceAction: Action }) },
    handle: async ({ p, actor, params, minor }) => {
      const serverId = await knownServer(p, actor, params.id, minor);
      const action = (await serverActions(p, serverId)).find((each) => each.requestId === params.key);
      if (!action) throw notFound(`Action ${params.key.slice(0, 100)} not found`);
      const full = p.policies.allows('compute', 'os_compute_api:os-instance-actions:events', actor);
      const details = p.policies.allows('compute', 'os_compute_api:os-instance-actions:events:details', actor);
      // From 2.51 on everybody sees the events, but not their host and not what went wrong there.
      const events =
        full || minor >= 51 ? { events: action.events.map((each) => renderEvent(each, minor, full, details)) } : {};
      return { status: 200, body: { instanceAction: { ...render(serverId, action, minor), ...events } } };
    },
  }),
];

/** The id of a server of the actor's; from 2.21 on also of one that is deleted. @throws ApiError 404, 503 */
async function knownServer(p: Platform, actor: Actor, id: string, minor: number): Promise<string> {
  const deleted =
    minor >= 21 && isUuid(id)
      ? await p.stores.global
          .selectFrom('server_mappings')
          .select('project_id')
          .where('server_id', '=', id)
          .where('deleted_at', 'is not', null)
          .executeTakeFirst()
      : undefined;
  if (deleted && (deleted.project_id === actor.projectId || isAdmin(actor))) return id;
  return (await serverFor(p, actor, id)).server.id;
}

const render = (serverId: string, action: ServerAction, minor: number): object => ({
  action: action.action,
  instance_uuid: serverId,
  request_id: action.requestId,
  user_id: action.userId,
  project_id: action.projectId,
  start_time: isoMicroseconds(action.startedAt),
  message: action.message,
  ...(minor >= 58 ? { updated_at: isoMicroseconds(action.updatedAt) } : {}),
});

const renderEvent = (event: ServerActionEvent, minor: number, full: boolean, details: boolean): object => ({
  event: event.event,
  start_time: isoMicroseconds(event.startedAt),
  finish_time: event.finishedAt === null ? null : isoMicroseconds(event.finishedAt),
  result: event.result,
  ...(full ? { traceback: event.result === 'Error' ? event.details : null } : {}),
  ...(minor >= 62 && full ? { host: event.host ?? '' } : {}),
  ...(minor >= 62 ? { hostId: '' } : {}),
  // Names hosts and addresses: by default for administrators alone.
  ...(minor >= 84 && details ? { details: event.result === 'Error' ? event.details : null } : {}),
});
