// Volume attachments, to be looked at (3.27): compute makes and ends them (os-volume_attachments). One per server that has
// a volume; those that a move holds ready on its target are nobody's business.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { type Attachment, attachmentsOfVolumes } from '../../control/volumes/attachments.ts';
import { listVolumes, volumeFor } from '../../control/volumes/records.ts';
import { isUuid } from '../../lib/ids.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { IdParams, nullable, object, text } from '../compute/common.ts';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { ListParameters, type ListWish, projectOf, V3 } from './common.ts';

const ATTACHMENTS = `${V3}/attachments`;
const service = 'volume' as const;

const Short = { id: text(), status: text(), instance: text(), volume_id: text() };
const Full = object({
  ...Short,
  attached_at: nullable(text()),
  detached_at: Type.Null(),
  attach_mode: text(),
  connection_info: Type.Object({}),
});
const Query = object({
  ...ListParameters,
  volume_id: Type.Optional(text()),
  instance_id: Type.Optional(text()),
  attach_status: Type.Optional(text()),
});

const short = (attachment: Attachment) => ({
  id: attachment.id,
  status: attachment.attachedAt === null ? 'attaching' : 'attached',
  instance: attachment.serverId,
  volume_id: attachment.volumeId,
});

const full = (attachment: Attachment) => ({
  ...short(attachment),
  attached_at: attachment.attachedAt === null ? null : isoMicroseconds(attachment.attachedAt),
  detached_at: null,
  attach_mode: attachment.mode,
  // Keys are between the storage host and the compute host.
  connection_info: {},
});

async function listed(
  p: Platform,
  actor: Actor,
  query: ListWish & { readonly volume_id?: string; readonly instance_id?: string; readonly attach_status?: string },
): Promise<Attachment[]> {
  const volumes = await listVolumes(p.stores.global, {
    projectId: projectOf(isAdmin(actor), actor.projectId, query),
    ...(query.volume_id === undefined ? {} : { ids: [query.volume_id] }),
  });
  const ids = volumes.map((volume) => volume.id);
  const all = [...(await attachmentsOfVolumes(p.stores.global, ids)).values()].flat();
  return all
    .filter((each) => each.active)
    .filter((each) => query.instance_id === undefined || each.serverId === query.instance_id)
    .filter((each) => (query.attach_status ?? query.status ?? short(each).status) === short(each).status)
    .slice(query.offset ?? 0, (query.offset ?? 0) + (query.limit ?? 1000));
}

export const attachmentRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: ATTACHMENTS, service, summary: 'List volume attachments', since: 27 },
    policy: 'volume:get_all',
    query: Query,
    answers: { 200: object({ attachments: Type.Array(object(Short)) }) },
    handle: async ({ p, actor, query }) => ({
      ...{ status: 200, body: { attachments: (await listed(p, actor, query)).map(short) } },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${ATTACHMENTS}/detail`, service, summary: 'List volume attachments with details' },
    since: 27,
    policy: 'volume:get_all',
    query: Query,
    answers: { 200: object({ attachments: Type.Array(Full) }) },
    handle: async ({ p, actor, query }) => ({
      ...{ status: 200, body: { attachments: (await listed(p, actor, query)).map(full) } },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${ATTACHMENTS}/:id`, service, summary: 'Show a volume attachment', since: 27 },
    policy: 'volume:get',
    params: IdParams,
    answers: { 200: object({ attachment: Full }) },
    handle: async ({ p, actor, params: { id } }) => {
      const absent = notFound(`Volume attachment could not be found with filter: attachment_id = ${id.slice(0, 255)}.`);
      const row = isUuid(id)
        ? await p.stores.global
            .selectFrom('volume_attachments')
            .select('volume_id')
            .where('id', '=', id)
            .executeTakeFirst()
        : undefined;
      if (!row || 'code' in (await volumeFor(p.stores.global, actor, row.volume_id))) throw absent;
      const all = (await attachmentsOfVolumes(p.stores.global, [row.volume_id])).get(row.volume_id) ?? [];
      const attachment = all.find((each) => each.id === id);
      if (!attachment) throw absent;
      return { status: 200, body: { attachment: full(attachment) } };
    },
  }),
];
