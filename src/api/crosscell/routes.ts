// What operators see of the system itself: cells, hosts, moves with their steps, debts; and what they can order a move
// to do. Administrators only.
import { Type } from 'typebox';
import { setCellDisabled } from '../../control/cell-health.ts';
import { listCells } from '../../control/cells.ts';
import { openDebts } from '../../control/debts.ts';
import { isHost, listHosts } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { listStorageHosts } from '../../control/volumes/storage-hosts.ts';
import { failureOf } from '../../moves/failure.ts';
import { orderMove } from '../../moves/orders.ts';
import { ROLES } from '../../moves/places.ts';
import { MOVES } from '../../moves/registry.ts';
import { listMoves, showMove } from '../../moves/view.ts';
import { phasesOf } from '../../saga/decide.ts';
import type { Definition, StepSpec } from '../../saga/types.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';

const BASE = '/crosscell/v1';
const MAX_PAGE = 200;
const closed = { additionalProperties: false } as const;

const text = () => Type.String();
const time = () => Type.Integer({ description: 'Milliseconds since the Unix epoch' });
const orNull = <S extends Parameters<typeof Type.Array>[0]>(schema: S) => Type.Union([schema, Type.Null()]);

const Cell = Type.Object(
  {
    id: text(),
    name: text(),
    disabled: Type.Boolean(),
    unreachableSince: orNull(time()),
    hosts: Type.Integer(),
    servers: Type.Integer(),
  },
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
    reconciled: Type.Boolean(),
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
const StorageHost = Type.Object(
  {
    id: text(),
    name: text(),
    url: text(),
    disabled: Type.Boolean(),
    up: Type.Boolean(),
    lastSeenAt: orNull(time()),
    agentId: orNull(text()),
    driver: text(),
    totalGb: Type.Integer(),
    freeGb: Type.Integer(),
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
    by: orNull(text()),
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
    volumeId: orNull(text()),
    generation: Type.Integer(),
    sagaId: text(),
    reason: text(),
    attempts: Type.Integer(),
    createdAt: time(),
    dueAt: time(),
  },
  closed,
);

const Failed = Type.Object(
  {
    step: text(),
    direction: text(),
    reason: text(),
    attempts: Type.Integer(),
    firstAt: time(),
    lastAt: time(),
    host: orNull(text()),
    cell: orNull(text()),
  },
  closed,
);
const Owed = Type.Object(
  { id: text(), kind: text(), where: text(), reason: text(), attempts: Type.Integer(), since: time() },
  closed,
);
const FailureCard = Type.Object(
  {
    situation: text(),
    failed: orNull(Failed),
    tried: Type.Array(Type.Object({ host: text(), cell: orNull(text()), reason: text() }, closed)),
    undone: Type.Array(text()),
    toUndo: Type.Array(text()),
    skipped: Type.Array(text()),
    cancelledBy: orNull(text()),
    owed: Type.Array(Owed),
    advice: text(),
  },
  closed,
);
const Saga = Type.Object(
  {
    name: text(),
    version: Type.Integer(),
    pivot: text(),
    steps: Type.Array(
      Type.Object(
        {
          name: text(),
          attempts: Type.Integer(),
          retryFrom: orNull(text()),
          where: text(),
          /** In which of them a fault can strike. */
          phases: Type.Array(Type.Union([Type.Literal('do'), Type.Literal('undo')])),
        },
        closed,
      ),
    ),
  },
  closed,
);
const MoveId = Type.Object({ id: Type.String({ maxLength: 255 }) }, closed);

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
    policy: 'crosscell:cells',
    query: Page,
    answers: { 200: page('cells', Cell) },
    handle: async ({ p, query }) => ({
      status: 200,
      body: paged('cells', await listCells(p), (each) => each.name, query),
    }),
  }),
  route({
    method: 'PUT',
    url: `${BASE}/cells/:name`,
    service: 'crosscell',
    summary: 'Disable a cell, which gets no new servers then, or enable it',
    policy: 'crosscell:cells:update',
    params: Type.Object({ name: Type.String({ maxLength: 255 }) }, closed),
    body: Type.Object({ disabled: Type.Boolean() }, closed),
    answers: { 200: Type.Object({ cell: Cell }, closed) },
    handle: async ({ p, params, body }) => {
      refuse(await setCellDisabled(p, params.name, body.disabled));
      const cell = (await listCells(p)).find((each) => each.name === params.name);
      return { status: 200, body: { cell } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/hosts`,
    service: 'crosscell',
    summary: 'List hosts of all cells',
    policy: 'crosscell:hosts',
    query: Page,
    answers: { 200: page('hosts', Host) },
    handle: async ({ p, query }) => {
      const size = query.limit ?? MAX_PAGE;
      const after = query.marker ?? null;
      if (after !== null && !(await isHost(p, after))) throw markerUnknown(after);
      const hosts = await listHosts(p, { after, limit: size + 1 });
      const shown = hosts.slice(0, size);
      return { status: 200, body: { hosts: shown, next: hosts.length > size ? (shown.at(-1)?.name ?? null) : null } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/storage`,
    service: 'crosscell',
    summary: 'List storage hosts',
    policy: 'crosscell:storage',
    query: Page,
    answers: { 200: page('storage', StorageHost) },
    handle: async ({ p, query }) => ({
      status: 200,
      body: paged('storage', await listStorageHosts(p), (each) => each.name, query),
    }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/moves`,
    service: 'crosscell',
    summary: 'List moves (sagas) with their steps, newest first',
    policy: 'crosscell:moves',
    query: Type.Object(
      {
        limit,
        marker,
        server_id: Type.Optional(Type.String({ maxLength: 255 })),
        status: Type.Optional(Type.Enum(['active', 'done', 'unwound', 'stuck'])),
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
    summary: "Show a move, by its own id or its migration's, with its failure card",
    policy: 'crosscell:moves',
    params: MoveId,
    answers: { 200: Type.Object({ move: Move, failure: orNull(FailureCard) }, closed) },
    handle: async ({ p, params }) => ({ status: 200, body: await shownMove(p, params.id) }),
  }),
  route({
    method: 'POST',
    url: `${BASE}/moves/:id/retry`,
    service: 'crosscell',
    summary: 'Have a stuck move go on, or one that waits for its next attempt try at once',
    policy: 'crosscell:moves:retry',
    params: MoveId,
    answers: { 202: Type.Object({ move: Move, failure: orNull(FailureCard) }, closed) },
    handle: async ({ p, actor, params }) => {
      refuse(await orderMove(p, actor, params.id, { kind: 'retry' }));
      return { status: 202, body: await shownMove(p, params.id) };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/moves/:id/cancel`,
    service: 'crosscell',
    summary: 'Have a move turn back; 409 from its pivot on',
    policy: 'crosscell:moves:cancel',
    params: MoveId,
    answers: { 202: Type.Object({ move: Move, failure: orNull(FailureCard) }, closed) },
    handle: async ({ p, actor, params }) => {
      refuse(await orderMove(p, actor, params.id, { kind: 'cancel' }));
      return { status: 202, body: await shownMove(p, params.id) };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/moves/:id/skip`,
    service: 'crosscell',
    summary: 'Take the step at which a move is stuck for done; its name is the confirmation',
    policy: 'crosscell:moves:skip',
    params: MoveId,
    body: Type.Object({ step: Type.String({ minLength: 1, maxLength: 255 }) }, closed),
    answers: { 202: Type.Object({ move: Move, failure: orNull(FailureCard) }, closed) },
    handle: async ({ p, actor, params, body }) => {
      refuse(await orderMove(p, actor, params.id, { kind: 'skip', step: body.step }));
      return { status: 202, body: await shownMove(p, params.id) };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/sagas`,
    service: 'crosscell',
    summary: 'List the operations (sagas) that there are, with their steps by name',
    policy: 'crosscell:sagas',
    answers: { 200: Type.Object({ sagas: Type.Array(Saga) }, closed) },
    handle: () => ({ status: 200, body: { sagas: MOVES.map(({ definition }) => sagaView(definition)) } }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/policy`,
    service: 'crosscell',
    summary: 'Show the policy file in force, what it warns of, and why a newer one is refused',
    policy: 'crosscell:policy',
    answers: {
      200: Type.Object(
        {
          policy: Type.Object(
            { file: orNull(Type.String()), warnings: Type.Array(Type.String()), refused: orNull(Type.String()) },
            closed,
          ),
        },
        closed,
      ),
    },
    handle: ({ p }) => ({ status: 200, body: { policy: p.policies.state() } }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/debts`,
    service: 'crosscell',
    summary: 'List clean-ups that wait for their host, oldest first',
    policy: 'crosscell:debts',
    query: Page,
    answers: { 200: page('debts', Debt) },
    handle: async ({ p, query }) => {
      const size = query.limit ?? MAX_PAGE;
      const marker = query.marker === undefined ? {} : { marker: query.marker };
      const debts = await openDebts(p, { limit: size + 1, ...marker });
      if (!debts) throw markerUnknown(query.marker ?? '');
      const shown = debts.slice(0, size);
      return { status: 200, body: { debts: shown, next: debts.length > size ? (shown.at(-1)?.id ?? null) : null } };
    },
  }),
];

async function shownMove(p: Platform, id: string): Promise<object> {
  const move = await showMove(p, id);
  if (!move) throw notFound(`Move ${id} could not be found.`);
  return { move, failure: await failureOf(p, id) };
}

const sagaView = (definition: Definition): object => {
  const { name, version, steps, pivot } = definition;
  return { name, version, pivot: steps[pivot]?.name ?? '', steps: steps.map(stepView(definition)) };
};

const stepView =
  (definition: Definition) =>
  (step: StepSpec, index: number): object => ({
    name: step.name,
    attempts: step.attempts,
    retryFrom: step.retryFrom === undefined ? null : (definition.steps[step.retryFrom]?.name ?? null),
    where: ROLES[definition.name]?.[step.name] ?? 'global',
    phases: phasesOf(definition, index),
  });

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
