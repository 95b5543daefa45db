// A server's volumes: list, show, attach, change, detach (os-volume_attachments).
import { type TSchema, Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { attachmentsOfServer } from '../../control/volumes/attachments.ts';
import { type Mapping, mappingsOfServer, notAttached } from '../../control/volumes/mappings.ts';
import { volumeNow } from '../../control/volumes/service.ts';
import { multiattachTooOld } from '../../model/volumes.ts';
import { attachVolume, detachVolume, updateAttachment } from '../../moves/attach.ts';
import { badRequest, errorOf, refuse } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { requireBehind } from '../http/targets.ts';
import {
  BASE,
  closed,
  type Found,
  IdAndKeyParams,
  IdParams,
  markerNotFound,
  nullable,
  object,
  Page,
  pageOf,
  serverFor,
  text,
} from './common.ts';

const OF_VOLUME = { service: 'volume', rule: 'volume:get', record: '/volume/v3/volumes/:id' } as const;
const ATTACHMENTS = `${BASE}/servers/:id/os-volume_attachments`;
const service = 'compute' as const;

const Attachment = object({
  id: Type.Optional(text()),
  volumeId: text(),
  serverId: text(),
  device: nullable(text()),
  tag: Type.Optional(nullable(text())),
  delete_on_termination: Type.Optional(Type.Boolean()),
  attachment_id: Type.Optional(nullable(text())),
  bdm_uuid: Type.Optional(text()),
});
const OneAttachment = object({ volumeAttachment: Attachment });

/** Which names there are is the use case's to say. */
const Device = Type.Optional(nullable(text()));
const wish = { volumeId: Type.String({ format: 'uuid' }), device: Device };
const Tag = Type.Optional(Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/]*$' }));
const attach = (properties: Record<string, TSchema>) =>
  object({ volumeAttachment: Type.Object({ ...wish, ...properties }, closed) });
const AttachBody = versions(
  [1, attach({})],
  [49, attach({ tag: Tag })],
  [79, attach({ tag: Tag, delete_on_termination: Type.Optional(Type.Boolean()) })],
);

/** The body as the handler reads it, whatever the version. */
interface AttachWish {
  readonly volumeId: string;
  readonly device?: string | null;
  readonly tag?: string;
  readonly delete_on_termination?: boolean;
}

const UpdateBody = versions(
  [1, object({ volumeAttachment: object({ volumeId: Type.String({ format: 'uuid' }) }) })],
  [
    85,
    object({
      volumeAttachment: object({
        volumeId: Type.String({ format: 'uuid' }),
        id: Type.Optional(text()),
        serverId: Type.Optional(text()),
        device: Device,
        tag: Tag,
        delete_on_termination: Type.Optional(Type.Boolean()),
      }),
    }),
  ],
);

interface Seen {
  readonly mapping: Omit<Mapping, 'device'> & { readonly device: string | null };
  readonly attachmentId: string | null;
}

const render = ({ mapping, attachmentId }: Seen, minor: number): object => ({
  ...(minor >= 89 ? {} : { id: mapping.volumeId }),
  ...{ volumeId: mapping.volumeId, serverId: mapping.serverId, device: mapping.device },
  ...(minor >= 70 ? { tag: mapping.tag } : {}),
  ...(minor >= 79 ? { delete_on_termination: mapping.deleteOnTermination } : {}),
  ...(minor >= 89 ? { attachment_id: attachmentId, bdm_uuid: mapping.id } : {}),
});

/**
 * The volumes that the server has by its own record, and those that it is being parted from, until they are free for
 * others, as in Nova: who sees a volume go here can do with it what block storage says that can be done.
 */
async function seenOf(p: Platform, { server, cellId }: Found): Promise<Seen[]> {
  // In this order: what is attached meanwhile has its mapping before it is settled.
  const attachments = (await attachmentsOfServer(p.stores.global, server.id)).filter((each) => each.active);
  const mappings = await mappingsOfServer(await p.stores.cell(cellId), server.id);
  const leaving = attachments
    .filter((each) => each.attachedAt !== null && !mappings.some((one) => one.volumeId === each.volumeId))
    .map(({ id, volumeId }) => ({
      mapping: { id, volumeId, serverId: server.id, device: null, ...FORGOTTEN },
      attachmentId: id,
    }));
  const kept = mappings.map((mapping) => ({
    mapping,
    attachmentId: attachments.find((each) => each.volumeId === mapping.volumeId)?.id ?? null,
  }));
  return [...kept, ...leaving];
}

/** What only the mapping said. */
const FORGOTTEN = { bootIndex: null, deleteOnTermination: false, tag: null, createdAt: 0 } as const;

export const serverVolumeRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: ATTACHMENTS, service, summary: "List a server's volumes" },
    policy: 'os_compute_api:os-volumes-attachments:index',
    params: IdParams,
    query: object({ ...Page, offset: Type.Optional(Type.Integer({ minimum: 0 })) }),
    answers: { 200: object({ volumeAttachments: Type.Array(Attachment) }) },
    handle: async ({ p, actor, params, query, minor }) => {
      const seen = await seenOf(p, await serverFor(p, actor, params.id));
      const found = pageOf(seen.slice(query.offset ?? 0), (each) => each.mapping.volumeId, query);
      if (found === null) throw markerNotFound(query.marker);
      return { status: 200, body: { volumeAttachments: found.page.map((each) => render(each, minor)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${ATTACHMENTS}/:key`, service, summary: "Show one of a server's volumes" },
    policy: 'os_compute_api:os-volumes-attachments:show',
    params: IdAndKeyParams,
    answers: { 200: OneAttachment },
    handle: async ({ p, actor, params: { id, key }, minor }) => {
      const seen = await seenOf(p, await serverFor(p, actor, id));
      const one = seen.find((each) => each.mapping.volumeId === key);
      if (!one) throw errorOf(notAttached(id, key.slice(0, 255)));
      return { status: 200, body: { volumeAttachment: render(one, minor) } };
    },
  }),
  route({
    ...{ method: 'POST', url: ATTACHMENTS, service, summary: 'Attach a volume to a server' },
    policy: 'os_compute_api:os-volumes-attachments:create',
    params: IdParams,
    body: AttachBody,
    answers: { 200: OneAttachment },
    handle: async ({ p, actor, params, body, minor }) => {
      const { server } = await serverFor(p, actor, params.id);
      const asked = body.volumeAttachment as unknown as AttachWish;
      const volume = await volumeNow(p, actor, asked.volumeId);
      if ('code' in volume) throw errorOf(volume);
      await requireBehind(p, actor, OF_VOLUME, volume.id);
      if (volume.multiattach && minor < 60) throw errorOf(multiattachTooOld());
      const result = await attachVolume(p, actor, server.id, {
        ...{ volumeId: volume.id, device: asked.device || null, tag: asked.tag ?? null },
        deleteOnTermination: asked.delete_on_termination ?? false,
        readOnly: volume.metadata['readonly'] === 'True',
      });
      if (result.kind === 'refused') throw errorOf(result.refusal);
      const { mapping } = result;
      const volumeAttachment = {
        ...{ id: mapping.volumeId, volumeId: mapping.volumeId, serverId: server.id, device: mapping.device },
        ...(minor >= 70 ? { tag: mapping.tag } : {}),
        ...(minor >= 79 ? { delete_on_termination: mapping.deleteOnTermination } : {}),
      };
      return { status: 200, body: { volumeAttachment } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${ATTACHMENTS}/:key`, service },
    summary: 'Say whether a volume is deleted with its server (from 2.85); a volume cannot be swapped for another',
    policy: 'os_compute_api:os-volumes-attachments:update',
    params: IdAndKeyParams,
    body: UpdateBody,
    answers: { 202: null },
    handle: async ({ p, actor, params: { id, key }, body }) => {
      const { server, ...found } = await serverFor(p, actor, id);
      const asked = body.volumeAttachment as unknown as AttachWish;
      const seen = await seenOf(p, { ...found, server });
      if (!seen.some((each) => each.mapping.volumeId === key)) throw errorOf(notAttached(id, key.slice(0, 255)));
      if (asked.volumeId !== key)
        throw badRequest('A volume cannot be swapped for another: detach it and attach that one.');
      if (asked.delete_on_termination === undefined) return { status: 202 };
      const change = { deleteOnTermination: asked.delete_on_termination };
      refuse(await updateAttachment(p, actor, server.id, key, change));
      return { status: 202 };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${ATTACHMENTS}/:key`, service, summary: 'Detach a volume from a server' },
    policy: 'os_compute_api:os-volumes-attachments:delete',
    params: IdAndKeyParams,
    answers: { 202: null },
    handle: async ({ p, actor, params: { id, key } }) => {
      const { server } = await serverFor(p, actor, id);
      refuse(await detachVolume(p, actor, server.id, key));
      return { status: 202 };
    },
  }),
];
