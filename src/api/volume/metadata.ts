// Metadata of volumes and snapshots: the same seven calls for both.
import type { Platform } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { IdAndKeyParams, IdParams } from '../compute/common.ts';
import { badRequest, errorOf, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import * as schema from './schemas.ts';

type Items = Readonly<Record<string, string>>;

export interface MetadataOf {
  /** Of the collection. */
  readonly url: string;
  readonly noun: string;
  readonly rules: Readonly<Record<'get' | 'create' | 'update' | 'remove', RuleName>>;
  /** @throws ApiError 404 */
  readonly read: (p: Platform, actor: Actor, id: string) => Promise<Items>;
  /** Answers what there is now; null: the thing is gone. */
  readonly write: (p: Platform, id: string, change: (present: Items) => Items) => Promise<Items | null>;
  readonly absent: (id: string) => Refusal;
}

const MOST_ITEMS = 128;
const service = 'volume' as const;

export function metadataRoutes(of: MetadataOf): readonly Route[] {
  const url = `${of.url}/:id/metadata`;
  const changed = async (p: Platform, actor: Actor, id: string, change: (present: Items) => Items): Promise<Items> => {
    await of.read(p, actor, id);
    const now = await of.write(p, id, (present) => limited(change(present)));
    if (now === null) throw errorOf(of.absent(id));
    return now;
  };
  return [
    route({
      ...{ method: 'GET', url, service, summary: `List a ${of.noun}'s metadata`, policy: of.rules.get },
      params: IdParams,
      answers: { 200: schema.MetadataAnswer },
      handle: async ({ p, actor, params }) => ({ status: 200, body: { metadata: await of.read(p, actor, params.id) } }),
    }),
    route({
      ...{ method: 'POST', url, service, summary: 'Add or replace metadata items', policy: of.rules.create },
      params: IdParams,
      body: schema.Item,
      answers: { 200: schema.MetadataAnswer },
      handle: async ({ p, actor, params, body }) => {
        const metadata = await changed(p, actor, params.id, (present) => ({ ...present, ...body.metadata }));
        return { status: 200, body: { metadata } };
      },
    }),
    route({
      ...{ method: 'PUT', url, service, summary: 'Replace all metadata', policy: of.rules.update },
      params: IdParams,
      body: schema.Item,
      answers: { 200: schema.MetadataAnswer },
      handle: async ({ p, actor, params, body }) => {
        const metadata = await changed(p, actor, params.id, () => body.metadata);
        return { status: 200, body: { metadata } };
      },
    }),
    route({
      ...{ method: 'GET', url: `${url}/:key`, service, summary: 'Show one metadata item', policy: of.rules.get },
      params: IdAndKeyParams,
      answers: { 200: schema.MetaAnswer },
      handle: async ({ p, actor, params }) => {
        const value = item(await of.read(p, actor, params.id), params.key);
        return { status: 200, body: { meta: { [params.key]: value } } };
      },
    }),
    route({
      ...{ method: 'PUT', url: `${url}/:key`, service, summary: 'Set one metadata item', policy: of.rules.update },
      params: IdAndKeyParams,
      body: schema.Meta,
      answers: { 200: schema.MetaAnswer },
      handle: async ({ p, actor, params, body }) => {
        const value = body.meta[params.key];
        if (value === undefined || Object.keys(body.meta).length !== 1) {
          throw badRequest('Request body and URI mismatch');
        }
        await changed(p, actor, params.id, (present) => ({ ...present, [params.key]: value }));
        return { status: 200, body: { meta: { [params.key]: value } } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${url}/:key`, service, summary: 'Delete one metadata item' },
      policy: of.rules.remove,
      params: IdAndKeyParams,
      answers: { 200: null },
      handle: async ({ p, actor, params }) => {
        item(await of.read(p, actor, params.id), params.key);
        await changed(p, actor, params.id, (present) =>
          Object.fromEntries(Object.entries(present).filter(([key]) => key !== params.key)),
        );
        return { status: 200 };
      },
    }),
  ];
}

function item(items: Items, key: string): string {
  const value = Object.hasOwn(items, key) ? items[key] : undefined;
  if (value === undefined) throw notFound(`Metadata item was not found: ${key.slice(0, 255)}`);
  return value;
}

/** @throws ApiError 413 */
export function limited(items: Items): Items {
  if (Object.keys(items).length > MOST_ITEMS) {
    throw errorOf({ code: 413, message: `Maximum number of metadata items exceeds ${MOST_ITEMS}` });
  }
  return items;
}
