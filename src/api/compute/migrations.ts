// Migrations: the record of every move, for administrators; and those of one server that are under way.
import { Type } from 'typebox';
import { listMigrations, type Migration } from '../../control/migrations.ts';
import type { Settings } from '../../control/platform.ts';
import { invalidState } from '../../model/actions.ts';
import { isoMicroseconds } from '../../model/time.ts';
import type { Server } from '../../model/types.ts';
import { ApiError, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  BASE,
  IdAndKeyParams,
  IdParams,
  Links,
  linksOf,
  MAX_PAGE,
  markerNotFound,
  nextLink,
  nullable,
  object,
  pageSize,
  serverFor,
  text,
  timeOf,
} from './common.ts';

const shared = {
  id: Type.Integer(),
  status: text(),
  source_compute: text(),
  source_node: text(),
  dest_compute: nullable(text()),
  dest_node: nullable(text()),
  dest_host: nullable(text()),
  created_at: text(),
  updated_at: nullable(text()),
  uuid: Type.Optional(text()),
  user_id: Type.Optional(text()),
  project_id: Type.Optional(text()),
};
const MigrationAnswer = object({
  ...shared,
  instance_uuid: text(),
  old_instance_type_id: Type.Integer(),
  new_instance_type_id: Type.Integer(),
  migration_type: Type.Optional(text()),
  links: Type.Optional(Links),
});
const InProgress = object({
  ...shared,
  server_uuid: text(),
  memory_total_bytes: Type.Null(),
  memory_processed_bytes: Type.Null(),
  memory_remaining_bytes: Type.Null(),
  disk_total_bytes: Type.Null(),
  disk_processed_bytes: Type.Null(),
  disk_remaining_bytes: Type.Null(),
});

const ListQuery = object({
  limit: Type.Optional(Type.Integer({ minimum: 0 })),
  marker: Type.Optional(text()),
  instance_uuid: Type.Optional(text()),
  host: Type.Optional(text()),
  source_compute: Type.Optional(text()),
  status: Type.Optional(text()),
  migration_type: Type.Optional(text()),
  hidden: Type.Optional(text()),
  user_id: Type.Optional(text()),
  project_id: Type.Optional(text()),
  'changes-since': Type.Optional(text(64)),
  'changes-before': Type.Optional(text(64)),
});

export const migrationRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-migrations`,
    service: 'compute',
    summary: 'List migrations, newest first',
    policy: 'os_compute_api:os-migrations:index',
    query: ListQuery,
    answers: { 200: object({ migrations: Type.Array(MigrationAnswer), migrations_links: Type.Optional(Links) }) },
    handle: async ({ p, query, minor, request }) => {
      const size = minor >= 59 ? pageSize(query.limit) : MAX_PAGE;
      const changesSince = timeOf('changes-since', query['changes-since']);
      const changesBefore = timeOf('changes-before', query['changes-before']);
      const found = await listMigrations(p, {
        limit: size + 1,
        ...(query.marker === undefined || minor < 59 ? {} : { marker: query.marker }),
        ...(query.instance_uuid === undefined ? {} : { serverId: query.instance_uuid }),
        ...(query.host === undefined ? {} : { host: query.host }),
        ...(query.source_compute === undefined ? {} : { sourceHost: query.source_compute }),
        ...(query.status === undefined ? {} : { status: query.status }),
        ...(query.migration_type === undefined ? {} : { type: query.migration_type }),
        ...(query.user_id === undefined ? {} : { userId: query.user_id }),
        ...(query.project_id === undefined ? {} : { projectId: query.project_id }),
        ...(changesSince === undefined ? {} : { changesSince }),
        ...(changesBefore === undefined ? {} : { changesBefore }),
      });
      if (!found) throw markerNotFound(query.marker);
      const page = found.slice(0, size);
      const marker = minor >= 59 && found.length > size ? (page.at(-1)?.uuid ?? null) : null;
      const migrations = page.map((each) => render(p.settings, each, minor));
      return { status: 200, body: { migrations, ...nextLink(p.settings, 'migrations_links', request.url, marker) } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/migrations`,
    service: 'compute',
    summary: "List a server's migrations that are under way",
    policy: 'os_compute_api:servers:migrations:index',
    since: 23,
    params: IdParams,
    answers: { 200: object({ migrations: Type.Array(InProgress) }) },
    handle: async ({ p, actor, params, minor }) => {
      await serverFor(p, actor, params.id);
      const all = (await listMigrations(p, { serverId: params.id, limit: MAX_PAGE })) ?? [];
      const migrations = all.filter(isUnderWay).map((each) => renderInProgress(each, minor));
      return { status: 200, body: { migrations } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/migrations/:key`,
    service: 'compute',
    summary: "Show one of a server's migrations that is under way, by its number or uuid",
    policy: 'os_compute_api:servers:migrations:show',
    since: 23,
    params: IdAndKeyParams,
    answers: { 200: object({ migration: InProgress }) },
    handle: async ({ p, actor, params, minor }) => {
      await serverFor(p, actor, params.id);
      const all = (await listMigrations(p, { serverId: params.id, limit: MAX_PAGE })) ?? [];
      const migration = all.find(
        (each) => isUnderWay(each) && (String(each.id) === params.key || each.uuid === params.key),
      );
      if (!migration) {
        throw notFound(`In-progress live migration ${params.key.slice(0, 40)} is not found for server ${params.id}.`);
      }
      return { status: 200, body: { migration: renderInProgress(migration, minor) } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/servers/:id/migrations/:key`,
    service: 'compute',
    summary: 'Abort a live migration: there are none',
    policy: 'os_compute_api:servers:migrations:delete',
    since: 24,
    params: IdAndKeyParams,
    answers: { 409: null },
    handle: async ({ p, actor, params }) =>
      notLive((await serverFor(p, actor, params.id)).server, 'abort live migration'),
  }),
  route({
    method: 'POST',
    url: `${BASE}/servers/:id/migrations/:key/action`,
    service: 'compute',
    summary: 'Have a live migration end: there are none',
    policy: 'os_compute_api:servers:migrations:force_complete',
    since: 22,
    params: IdAndKeyParams,
    body: object({ force_complete: Type.Null() }),
    answers: { 409: null },
    handle: async ({ p, actor, params }) => notLive((await serverFor(p, actor, params.id)).server, 'force_complete'),
  }),
];

/** Moves are cold: none is cancelled or hurried so. @throws ApiError 409 as Nova while no live migration runs */
function notLive({ id, taskState }: Server, word: string): never {
  const { code, message } = invalidState(word, id, 'task_state', taskState);
  throw new ApiError(code, message);
}

function isUnderWay(migration: Migration): boolean {
  switch (migration.status) {
    case 'pre-migrating':
    case 'migrating':
    case 'post-migrating':
    case 'confirming':
    case 'reverting':
      return true;
    case 'finished':
    case 'confirmed':
    case 'reverted':
    case 'done':
    case 'error':
      return false;
  }
}

const common = (migration: Migration, minor: number): object => ({
  id: migration.id,
  status: migration.status,
  source_compute: migration.sourceHost,
  source_node: migration.sourceHost,
  dest_compute: migration.destHost,
  dest_node: migration.destHost,
  dest_host: migration.destHost,
  created_at: isoMicroseconds(migration.createdAt),
  updated_at: isoMicroseconds(migration.updatedAt),
  ...(minor >= 59 ? { uuid: migration.uuid } : {}),
  ...(minor >= 80 ? { user_id: migration.userId, project_id: migration.projectId } : {}),
});

const render = (settings: Settings, migration: Migration, minor: number): object => ({
  ...common(migration, minor),
  instance_uuid: migration.serverId,
  old_instance_type_id: flavorNumber(migration.oldFlavor.flavorId),
  new_instance_type_id: flavorNumber(migration.newFlavor.flavorId),
  ...(minor >= 23 ? { migration_type: migration.type } : {}),
  ...(minor >= 23 && isUnderWay(migration)
    ? { links: linksOf(settings, `/servers/${migration.serverId}/migrations/${migration.id}`) }
    : {}),
});

const renderInProgress = (migration: Migration, minor: number): object => ({
  ...common(migration, minor),
  server_uuid: migration.serverId,
  memory_total_bytes: null,
  memory_processed_bytes: null,
  memory_remaining_bytes: null,
  disk_total_bytes: null,
  disk_processed_bytes: null,
  disk_remaining_bytes: null,
});

/**
 * Nova shows its database's number of the flavor; flavors here have none that lasts, so a number is shown for ids that
 * are numbers.
 */
const flavorNumber = (flavorId: string): number => (/^\d{1,9}$/.test(flavorId) ? Number(flavorId) : 0);
