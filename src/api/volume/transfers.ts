// Transfers of volumes to other projects (cinder/api/v3/volume_transfer.py), under two paths: the older one always takes a
// volume's snapshots along.
import { Type } from 'typebox';
import { volumeFor } from '../../control/volumes/records.ts';
import {
  acceptTransfer,
  endTransfer,
  listTransfers,
  offerVolume,
  type Transfer,
  transferFor,
  transferNotFound,
} from '../../control/volumes/transfers.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { isAdmin } from '../../model/types.ts';
import { IdParams, Links, nullable, object, text } from '../compute/common.ts';
import { refuse } from '../http/errors.ts';
import { type Call, type Route, route } from '../http/route.ts';
import { ListParameters, type ListWish, linksOf, listExtras, listPage, orThrow, projectOf, V3 } from './common.ts';
import { Flag, isTrue } from './filters.ts';

const service = 'volume' as const;
const optional = Type.Optional;

const Brief = { id: text(), volume_id: text(), name: nullable(text()), links: Links };
const Detail = {
  ...{ ...Brief, created_at: text(), no_snapshots: optional(Type.Boolean()) },
  ...{ source_project_id: optional(text()), destination_project_id: optional(Type.Null()) },
  accepted: optional(Type.Literal(false)),
};
const pages = { transfers_links: optional(Links) };
/** They are not counted, as in Cinder. */
const { with_count: _, ...Parameters } = ListParameters;
const Query = object(Parameters);
const wish = { volume_id: Type.String({ format: 'uuid' }), name: optional(nullable(text())) };
const Offer = object({ transfer: object(wish) });
const OfferWithSnapshots = object({
  transfer: object({ ...wish, no_snapshots: optional(Flag) }),
});
const Accept = object({ accept: object({ auth_key: Type.Union([text(), Type.Integer()]) }) });

type Asked = Pick<Call<unknown, unknown, unknown>, 'p' | 'actor' | 'minor'>;

const brief = ({ p, actor }: Asked, { id, volumeId, name }: Transfer) => ({
  ...{ id, volume_id: volumeId, name },
  links: linksOf(p.settings, actor.projectId, `/os-volume-transfer/${id}`),
});

/** One that is shown has not been accepted: then it is gone. */
const detail = (asked: Asked, transfer: Transfer) => ({
  ...{ ...brief(asked, transfer), created_at: isoMicroseconds(transfer.createdAt) },
  ...(asked.minor >= 55 ? { no_snapshots: transfer.noSnapshots } : {}),
  ...(asked.minor >= 57
    ? { source_project_id: transfer.projectId, destination_project_id: null, accepted: false as const }
    : {}),
});

const transfersOf = (url: string, Body: typeof Offer | typeof OfferWithSnapshots, since?: number): readonly Route[] => {
  const from = since === undefined ? {} : { since };
  return [
    ...([false, true] as const).map((full) =>
      route({
        ...{ method: 'GET', url: full ? `${url}/detail` : url, service, ...from },
        summary: full ? 'List transfers of volumes with details' : 'List transfers of volumes',
        policy: 'volume:get_all_transfers',
        query: Query,
        answers: { 200: object({ transfers: Type.Array(object(full ? Detail : Brief)), ...pages }) },
        handle: async ({ p, actor, query, minor, request }) => {
          const found = await pageOf({ p, actor, minor }, query);
          const transfers = found.page.map((each) => (full ? detail : brief)({ p, actor, minor }, each));
          const extras = listExtras(p.settings, 'transfers', found, { url: request.originalUrl, minor, wish: query });
          return { status: 200, body: { transfers, ...extras } };
        },
      }),
    ),
    route({
      ...{ method: 'GET', url: `${url}/:id`, service, summary: 'Show a transfer of a volume', ...from },
      policy: 'volume:get_transfer',
      params: IdParams,
      answers: { 200: object({ transfer: object(Detail) }) },
      handle: async ({ p, actor, params, minor }) => {
        const transfer = orThrow(await transferFor(p.stores.global, actor, params.id));
        return { status: 200, body: { transfer: detail({ p, actor, minor }, transfer) } };
      },
    }),
    route({
      ...{ method: 'POST', url, service, summary: 'Offer a volume to another project', ...from },
      policy: 'volume:create_transfer',
      body: Body,
      answers: { 202: object({ transfer: object({ ...Detail, auth_key: text() }) }) },
      handle: async ({ p, actor, body, minor }) => {
        const { volume_id, name, ...more } = body.transfer;
        const volume = orThrow(await volumeFor(p.stores.global, actor, volume_id));
        const noSnapshots = 'no_snapshots' in more && isTrue(more.no_snapshots);
        const offer = orThrow(await offerVolume(p, volume.id, { name: name?.trim() ?? null, noSnapshots }));
        const transfer = { ...detail({ p, actor, minor }, offer.transfer), auth_key: offer.key };
        return { status: 202, body: { transfer } };
      },
    }),
    route({
      ...{ method: 'POST', url: `${url}/:id/accept`, service, summary: 'Accept a volume', ...from },
      policy: 'volume:accept_transfer',
      params: IdParams,
      body: Accept,
      answers: { 202: object({ transfer: object(Brief) }) },
      handle: async ({ p, actor, params, body, minor }) => {
        const key = String(body.accept.auth_key);
        const transfer = orThrow(await acceptTransfer(p, actor, params.id, key));
        return { status: 202, body: { transfer: brief({ p, actor, minor }, transfer) } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${url}/:id`, service, summary: 'Take back the offer of a volume', ...from },
      policy: 'volume:delete_transfer',
      params: IdParams,
      answers: { 202: null },
      handle: async ({ p, actor, params }) => {
        refuse(await endTransfer(p, orThrow(await transferFor(p.stores.global, actor, params.id))));
        return { status: 202 };
      },
    }),
  ];
};

/** Before it a list is in the order in which volumes were offered. */
const PAGED = 59;

async function pageOf({ p, actor, minor }: Asked, query: ListWish) {
  const projectId = projectOf(isAdmin(actor), actor.projectId, query);
  const found = await listTransfers(p.stores.global, projectId, query.name);
  const { sort: _, sort_key: _key, sort_dir: _direction, ...rest } = query;
  const wish = minor >= PAGED ? query : { ...rest, sort: 'created_at:asc' };
  return listPage(found, wish, transferNotFound, { volume_id: (each) => each.volumeId });
}

export const transferRoutes: readonly Route[] = [
  ...transfersOf(`${V3}/os-volume-transfer`, Offer),
  ...transfersOf(`${V3}/volume-transfers`, OfferWithSnapshots, 55),
];
