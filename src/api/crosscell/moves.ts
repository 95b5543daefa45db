// Moves (sagas) as operators see them: which there are, what each has done, why one failed, and what can be ordered.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { failureOf } from '../../moves/failure.ts';
import { orderMove } from '../../moves/orders.ts';
import { ROLES } from '../../moves/places.ts';
import { MOVES } from '../../moves/registry.ts';
import { listMoves, showMove } from '../../moves/view.ts';
import { phasesOf } from '../../saga/decide.ts';
import type { Definition, StepSpec } from '../../saga/types.ts';
import { notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  BASE,
  closed,
  IdParams,
  markerUnknown,
  orNull,
  page,
  pageOf,
  pageQuery,
  reading,
  text,
  time,
} from './pages.ts';

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
  {
    id: text(),
    kind: text(),
    where: text(),
    reason: text(),
    attempts: Type.Integer(),
    lastError: orNull(text()),
    since: time(),
  },
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
const Shown = Type.Object({ move: Move, failure: orNull(FailureCard) }, closed);

export const moveRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/moves`,
    service: 'crosscell',
    summary: 'List moves (sagas) with their steps, newest first',
    policy: 'crosscell:moves',
    query: Type.Object(
      {
        ...pageQuery(),
        server_id: Type.Optional(Type.String({ maxLength: 255 })),
        status: Type.Optional(Type.Enum(['active', 'done', 'unwound', 'stuck'])),
      },
      closed,
    ),
    answers: { 200: page('moves', Move) },
    handle: async ({ p, query }) => {
      if (query.marker !== undefined && !(await showMove(p, query.marker))) throw markerUnknown(query.marker);
      const moves = await listMoves(p, {
        ...reading(query),
        ...(query.server_id === undefined ? {} : { serverId: query.server_id }),
        ...(query.status === undefined ? {} : { status: query.status }),
      });
      return { status: 200, body: pageOf('moves', moves, (each) => each.id, query) };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/moves/:id`,
    service: 'crosscell',
    summary: "Show a move, by its own id or its migration's, with its failure card",
    policy: 'crosscell:moves',
    params: IdParams,
    answers: { 200: Shown },
    handle: async ({ p, params }) => ({ status: 200, body: await shownMove(p, params.id) }),
  }),
  route({
    method: 'POST',
    url: `${BASE}/moves/:id/retry`,
    service: 'crosscell',
    summary: 'Have a stuck move go on, or one that waits for its next attempt try at once',
    policy: 'crosscell:moves:retry',
    params: IdParams,
    answers: { 202: Shown },
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
    params: IdParams,
    answers: { 202: Shown },
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
    params: IdParams,
    body: Type.Object({ step: Type.String({ minLength: 1, maxLength: 255 }) }, closed),
    answers: { 202: Shown },
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
