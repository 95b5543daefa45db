// Snapshots of volumes.
import { type Static, Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { volumeFor } from '../../control/volumes/records.ts';
import { resetSnapshotStatus } from '../../control/volumes/reset-status.ts';
import { editSnapshot, snapshotFor, snapshotsFrom } from '../../control/volumes/snapshots.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { SNAPSHOT_STATUSES, type Snapshot, snapshotNotFound } from '../../model/volumes.ts';
import { createSnapshot, deleteSnapshot } from '../../moves/volumes/snapshots.ts';
import { IdParams, Links, object, text } from '../compute/common.ts';
import { badRequest, errorOf, refuse } from '../http/errors.ts';
import { byBody, type Route, route } from '../http/route.ts';
import {
  dictionaryOf,
  type ListPage,
  type ListWish,
  listExtras,
  newestPage,
  orThrow,
  projectOf,
  V3,
} from './common.ts';
import { type Flag, flagOf, isTrue } from './filters.ts';
import { metadataRoutes } from './metadata.ts';
import { renderSnapshot } from './render.ts';
import * as schema from './schemas.ts';
import { editOf } from './volumes.ts';

const SNAPSHOTS = `${V3}/snapshots`;
const service = 'volume' as const;
const pages = { snapshots_links: Type.Optional(Links), count: Type.Optional(Type.Integer()) };

async function listed(
  p: Platform,
  actor: Actor,
  query: ListWish & {
    readonly volume_id?: string;
    readonly availability_zone?: string;
    readonly metadata?: string;
    readonly consumes_quota?: string;
  },
  minor: number,
): Promise<ListPage<Snapshot>> {
  // Every snapshot counts in its project's quota.
  const counted = query.consumes_quota === undefined || flagOf('use_quota', query.consumes_quota);
  const wanted = Object.entries(query.metadata === undefined ? {} : dictionaryOf('metadata', query.metadata));
  const filter = {
    projectId: projectOf(isAdmin(actor), actor.projectId, query),
    ...(query.volume_id === undefined ? {} : { volumeId: query.volume_id }),
    ...(query.availability_zone === undefined ? {} : { zone: query.availability_zone }),
    ...(query.name === undefined ? {} : { name: query.name }),
    ...(query.status === undefined ? {} : { statuses: [query.status] }),
  };
  async function* read(from?: string): AsyncGenerator<readonly Snapshot[]> {
    for await (const snapshots of snapshotsFrom(p.stores.global, filter, from)) {
      yield snapshots.filter((each) => counted && wanted.every(([key, value]) => each.metadata[key] === value));
    }
  }
  return newestPage(read, { wish: query, minor }, snapshotNotFound, { volume_id: (each) => each.volumeId });
}

/** From 3.66 on a volume in use needs no `force`. @throws ApiError 400 */
function forced(force: Static<typeof Flag> | null, minor: number): boolean {
  if (minor < 66) return isTrue(force ?? false);
  if (force !== null && !isTrue(force)) {
    throw badRequest(
      "Since microversion 3.66 the 'force' flag is invalid for this request.  For backward compatability, however, when " +
        "the 'force' flag is passed with a value evaluating to True, it is silently ignored.",
    );
  }
  return true;
}

const lists = [
  { url: SNAPSHOTS, full: false, summary: 'List snapshots', item: schema.Snapshot },
  { url: `${SNAPSHOTS}/detail`, full: true, summary: 'List snapshots with details', item: schema.FullSnapshot },
].map(({ url, full, summary, item }) =>
  route({
    ...{ method: 'GET', url, service, summary, policy: 'volume:get_all_snapshots' },
    query: schema.SnapshotQuery,
    answers: { 200: object({ snapshots: Type.Array(item), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const found = await listed(p, actor, query, minor);
      const whole = full && showsAll(p, actor);
      const snapshots = found.page.map((each) => renderSnapshot(each, minor, whole));
      const extras = listExtras(p.settings, 'snapshots', found, { url: request.originalUrl, minor, wish: query });
      return { status: 200, body: { snapshots, ...extras } };
    },
  }),
);

const showsAll = (p: Platform, actor: Actor): boolean =>
  p.policies.allows('volume', 'volume_extension:extended_snapshot_attributes', actor);

const ResetStatus = object({ 'os-reset_status': object({ status: text(30) }) });
const ForceDelete = object({ 'os-force_delete': Type.Union([object({}), Type.Null(), Type.Literal('')]) });

export const snapshotRoutes: readonly Route[] = [
  ...lists,
  route({
    ...{ method: 'GET', url: `${SNAPSHOTS}/:id`, service, summary: 'Show a snapshot', policy: 'volume:get_snapshot' },
    params: IdParams,
    answers: { 200: object({ snapshot: schema.FullSnapshot }) },
    handle: async ({ p, actor, params, minor }) => {
      const snapshot = orThrow(await snapshotFor(p.stores.global, actor, params.id));
      return { status: 200, body: { snapshot: renderSnapshot(snapshot, minor, showsAll(p, actor)) } };
    },
  }),
  route({
    ...{ method: 'POST', url: SNAPSHOTS, service, summary: 'Take a snapshot of a volume' },
    policy: 'volume:create_snapshot',
    body: schema.CreateSnapshot,
    answers: { 202: object({ snapshot: schema.Snapshot }) },
    handle: async ({ p, actor, body: { snapshot: wish }, minor }) => {
      const volume = orThrow(await volumeFor(p.stores.global, actor, wish.volume_id ?? 'None'));
      const result = await createSnapshot(p, actor, {
        ...{ volumeId: volume.id, name: wish.name ?? wish.display_name ?? null },
        ...{ description: wish.description ?? wish.display_description ?? null, metadata: wish.metadata ?? {} },
        force: forced(wish.force ?? null, minor),
      });
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 202, body: { snapshot: renderSnapshot(result.snapshot, minor, false) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${SNAPSHOTS}/:id`, service, summary: 'Rename or describe a snapshot' },
    policy: 'volume:update_snapshot',
    params: IdParams,
    body: schema.UpdateSnapshot,
    answers: { 200: object({ snapshot: schema.Snapshot }) },
    handle: async ({ p, actor, params, body, minor }) => {
      const { id } = orThrow(await snapshotFor(p.stores.global, actor, params.id));
      const snapshot = await editSnapshot(p.stores.global, id, editOf(body.snapshot), p.clock.now());
      if (!snapshot) throw errorOf(snapshotNotFound(id));
      return { status: 200, body: { snapshot: renderSnapshot(snapshot, minor, false) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${SNAPSHOTS}/:id`, service, summary: 'Delete a snapshot' },
    policy: 'volume:delete_snapshot',
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const snapshot = orThrow(await snapshotFor(p.stores.global, actor, params.id));
      refuse(await deleteSnapshot(p, actor, snapshot));
      return { status: 202 };
    },
  }),
  route({
    ...{ method: 'POST', url: `${SNAPSHOTS}/:id/action`, service },
    summary: 'Act on a snapshot: os-reset_status, os-force_delete',
    policy: byBody({
      'os-reset_status': 'volume_extension:snapshot_admin_actions:reset_status',
      'os-force_delete': 'volume_extension:snapshot_admin_actions:force_delete',
    }),
    params: IdParams,
    body: Type.Union([ResetStatus, ForceDelete]),
    answers: { 202: null },
    handle: async ({ p, actor, params, body }) => {
      const snapshot = orThrow(await snapshotFor(p.stores.global, actor, params.id));
      if ('os-force_delete' in body) {
        refuse(await deleteSnapshot(p, actor, snapshot, { force: true }));
        return { status: 202 };
      }
      const { status } = body['os-reset_status'];
      const wanted = SNAPSHOT_STATUSES.find((each) => each === status.toLowerCase());
      if (!wanted) throw badRequest(`Invalid input for field/attribute status. Value: ${status}.`);
      refuse(await resetSnapshotStatus(p, snapshot, wanted));
      return { status: 202 };
    },
  }),
  ...metadataRoutes({
    ...{ url: SNAPSHOTS, noun: 'snapshot' },
    rules: {
      get: 'volume:get_snapshot_metadata',
      create: 'volume:update_snapshot_metadata',
      update: 'volume:update_snapshot_metadata',
      remove: 'volume:delete_snapshot_metadata',
    },
    read: async (p, actor, id) => orThrow(await snapshotFor(p.stores.global, actor, id)).metadata,
    write: async (p, id, metadata) =>
      (await editSnapshot(p.stores.global, id, { metadata }, p.clock.now()))?.metadata ?? null,
    absent: snapshotNotFound,
  }),
];
