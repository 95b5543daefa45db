// What operators see of the system itself: cells, hosts, moves with their steps, debts. Administrators only, read-only.
import { Type } from 'typebox';
import { openDebts } from '../../control/debts.ts';
import { listCells, listHosts } from '../../control/hosts.ts';
import { listMoves, showMove } from '../../moves/view.ts';
import { badRequest, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';

const BASE = '/crosscell/v1';
const MAX_PAGE = 200;
const closed = { additionalProperties: false } as const;

const text = () => Type.String();
const time = () => Type.Integer({ description: 'Milliseconds since the Unix epoch' });
const orNull = <S extends Parameters<typeof Type.Array>[0]>(schema: S) => Type.Union([schema, Type.Null()]);

const Cell = Type.Object(
  { id: text(), name: text(), disabled: Type.Boolean(), hosts: Type.Integer(), servers: Type.Integer() },
  closed,
);
const Host = Type.Object(
  {
    id: text(),
    name: text(),
    cellId: text(),
    cellName: text(),
    url: text(),
    zone: text(),
    disabled: Type.Boolean(),
    disabledReason: orNull(text()),
    forcedDown: Type.Boolean(),
    up: Type.Boolean(),
    lastSeenAt: orNull(time()),
    agentId: orNull(text()),
    hypervisorType: text(),
    hypervisorVersion: Type.Integer(),
    architecture: text(),
    vcpus: Type.Integer(),
    memoryMb: Type.Integer(),
    diskGb: Type.Integer(),
    vcpusUsed: Type.Integer(),
    memoryMbUsed: Type.Integer(),
    diskGbUsed: Type.Integer(),
    runningVms: Type.Integer(),
    createdAt: time(),
    updatedAt: time(),
  },
  closed,
);
const Place = Type.Object({ host: text(), cellId: text() }, closed);
const Step = Type.Object(
  {
    step: text(),
    direction: text(),
    outcome: text(),
    startedAt: time(),
    endedAt: orNull(time()),
    durationMs: Type.Integer(),
    attempts: Type.Integer(),
    note: orNull(text()),
  },
  closed,
);
const Move = Type.Object(
  {
    id: text(),
    move: text(),
    serverId: text(),
    requestId: text(),
    status: text(),
    direction: text(),
    step: orNull(text()),
    reason: orNull(text()),
    migrationId: orNull(text()),
    source: orNull(Place),
    target: orNull(Place),
    progress: orNull(Type.Object({})),
    copiedBytes: orNull(Type.Integer()),
    sha256: orNull(text()),
    steps: Type.Array(Step),
    createdAt: time(),
    endedAt: orNull(time()),
  },
  closed,
);
const Debt = Type.Object(
  {
    id: text(),
    kind: text(),
    host: text(),
    serverId: text(),
    generation: Type.Integer(),
    sagaId: text(),
    reason: text(),
    attempts: Type.Integer(),
    createdAt: time(),
    dueAt: time(),
  },
  closed,
);

const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PAGE }));
const marker = Type.Optional(Type.String({ maxLength: 255 }));
const Page = Type.Object({ limit, marker }, closed);
/** `next`: the marker of the next page, null on the last. */
const page = (key: string, item: Parameters<typeof Type.Array>[0]) =>
  Type.Object({ [key]: Type.Array(item), next: orNull(text()) }, closed);

export const crosscellRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/cells`,
    service: 'crosscell',
    summary: 'List cells, with how many hosts and servers are in them',
    access: 'admin',
    policy: 'cells',
    query: Page,
    answers: { 200: page('cells', Cell) },
    handle: async ({ p, query }) => ({
      status: 200,
      body: paged('cells', await listCells(p), (each) => each.name, query),
    }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/hosts`,
    service: 'crosscell',
    summary: 'List hosts of all cells',
    access: 'admin',
    policy: 'hosts',
    query: Page,
    answers: { 200: page('hosts', Host) },
    handle: async ({ p, query }) => ({
      status: 200,
      body: paged('hosts', await listHosts(p), (each) => each.name, query),
    }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/moves`,
    service: 'crosscell',
    summary: 'List moves (sagas) with their steps, newest first',
    access: 'admin',
    policy: 'moves',
    query: Type.Object(
      {
        limit,
        marker,
        server_id: Type.Optional(Type.String({ maxLength: 255 })),
        status: Type.Optional(Type.String({ maxLength: 50 })),
      },
      closed,
    ),
    answers: { 200: page('moves', Move) },
    handle: async ({ p, query }) => {
      const size = query.limit ?? MAX_PAGE;
      if (query.marker !== undefined && !(await showMove(p, query.marker))) throw markerUnknown(query.marker);
      const moves = await listMoves(p, {
        limit: size + 1,
        ...(query.marker === undefined ? {} : { marker: query.marker }),
        ...(query.server_id === undefined ? {} : { serverId: query.server_id }),
        ...(query.status === undefined ? {} : { status: query.status }),
      });
      const shown = moves.slice(0, size);
      return { status: 200, body: { moves: shown, next: moves.length > size ? (shown.at(-1)?.id ?? null) : null } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/moves/:id`,
    service: 'crosscell',
    summary: "Show a move, by its own id or its migration's",
    access: 'admin',
    policy: 'moves',
    params: Type.Object({ id: Type.String({ maxLength: 255 }) }, closed),
    answers: { 200: Type.Object({ move: Move }, closed) },
    handle: async ({ p, params }) => {
      const move = await showMove(p, params.id);
      if (!move) throw notFound(`Move ${params.id} could not be found.`);
      return { status: 200, body: { move } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/debts`,
    service: 'crosscell',
    summary: 'List clean-ups that wait for their host, oldest first',
    access: 'admin',
    policy: 'debts',
    query: Page,
    answers: { 200: page('debts', Debt) },
    handle: async ({ p, query }) => ({
      status: 200,
      body: paged('debts', await openDebts(p, MAX_DEBTS), (each) => each.id, query),
    }),
  }),
];

const MAX_DEBTS = 10_000;

const markerUnknown = (given: string) => badRequest(`marker [${given}] not found`);

function paged<T>(
  key: string,
  items: readonly T[],
  idOf: (item: T) => string,
  query: { readonly limit?: number; readonly marker?: string },
): object {
  const start = query.marker === undefined ? 0 : items.findIndex((each) => idOf(each) === query.marker) + 1;
  if (query.marker !== undefined && start === 0) throw markerUnknown(query.marker);
  const size = query.limit ?? MAX_PAGE;
  const shown = items.slice(start, start + size);
  const last = shown.at(-1);
  return { [key]: shown, next: last !== undefined && start + size < items.length ? idOf(last) : null };
}
