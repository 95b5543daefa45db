// What operators see of the system itself: cells, hosts, storage hosts, debts, and the policy in force.
import { Type } from 'typebox';
import { setCellDisabled } from '../../control/cell-health.ts';
import { listCells } from '../../control/cells.ts';
import { openDebts } from '../../control/debts.ts';
import { forgetHost } from '../../control/host-removal.ts';
import { isHost, listHosts } from '../../control/hosts.ts';
import { listStorageHosts } from '../../control/volumes/storage-hosts.ts';
import { forgetStorageHost, isStorageHost } from '../../control/volumes/storage-removal.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, closed, markerUnknown, orNull, Page, page, pageOf, pageOfAll, reading, text, time } from './pages.ts';

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
    lastError: orNull(text()),
    createdAt: time(),
    dueAt: time(),
  },
  closed,
);
const WrittenOff = Type.Object(
  { debts: Type.Integer(), quarantined: Type.Integer(), volumes: Type.Integer(), snapshots: Type.Integer() },
  closed,
);

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
      body: pageOfAll('cells', await listCells(p), (each) => each.name, query),
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
      const { limit, marker: after = null } = reading(query);
      if (after !== null && !(await isHost(p, after))) throw markerUnknown(after);
      return { status: 200, body: pageOf('hosts', await listHosts(p, { after, limit }), (each) => each.name, query) };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/hosts/:name`,
    service: 'crosscell',
    summary:
      'Forget a host, or storage host, that will never return, and write off what is owed, kept in quarantine, or lost there; 409 while it answers or holds a server',
    policy: 'crosscell:hosts:forget',
    params: Type.Object({ name: Type.String({ maxLength: 255 }) }, closed),
    // For a storage host that has the name of a host.
    query: Type.Object({ storage: Type.Optional(Type.Boolean()) }, closed),
    answers: { 200: Type.Object({ writtenOff: WrittenOff }, closed) },
    handle: async ({ p, actor, params: { name }, query }) => {
      const isStorage = query.storage ?? (!(await isHost(p, name)) && (await isStorageHost(p, name)));
      const removal = await (isStorage ? forgetStorageHost : forgetHost)(p, actor, name);
      if (removal.kind === 'refused') throw errorOf(removal.refusal);
      const nothing = { debts: 0, quarantined: 0, volumes: 0, snapshots: 0 };
      return { status: 200, body: { writtenOff: { ...nothing, ...removal.left } } };
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
      body: pageOfAll('storage', await listStorageHosts(p), (each) => each.name, query),
    }),
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
      const debts = await openDebts(p, reading(query));
      if (!debts) throw markerUnknown(query.marker ?? '');
      return { status: 200, body: pageOf('debts', debts, (each) => each.id, query) };
    },
  }),
];
