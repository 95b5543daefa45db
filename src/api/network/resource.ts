// The routes that every resource of the network API has: list, show, create (one or several at once), change, delete.
// A resource says what differs: its columns, its shapes, its use cases.
import { type TSchema, Type } from 'typebox';
import type { Collection, Selection } from '../../control/network/listing.ts';
import { NETWORKS } from '../../control/network/quotas.ts';
import { absent, type NetworkResource, type NetworkResult } from '../../control/network/results.ts';
import type { Db } from '../../control/network/standard.ts';
import type { Platform } from '../../control/platform.ts';
import { NETWORK_RULES } from '../../model/policy/defaults/network.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { type ListQuery, listAnswer, listed, listQuery, selectionOf } from './listing.ts';
import { orThrow } from './refusals.ts';
import { only, Params, ShowQuery, service, strict, V2 } from './shapes.ts';
import { tagRoutes } from './tags.ts';

/** Records made by one request. */
const MAX_BULK = 100;

export interface Context {
  readonly p: Platform;
  readonly db: Db;
  readonly actor: Actor;
  readonly now: number;
}
interface Revised {
  readonly id: string;
  readonly tags: readonly string[];
  /** Grows with each change. */
  readonly revision: number;
}
type Attributes = Readonly<Record<string, unknown>>;

export interface Resource<R extends { readonly id: string }> {
  /** As in paths: `security-groups`. */
  readonly path: string;
  /** As in bodies: `security_group`; also the name of its rules. */
  readonly single: NetworkResource;
  /** For summaries: `a security group`. */
  readonly called: string;
  readonly collection: Collection;
  /** Filters of its list that are no columns. */
  readonly filters?: Record<string, TSchema>;
  readonly item: TSchema;
  readonly list: (context: Context, selection: Selection, query: ListQuery) => Promise<R[]>;
  readonly find: (context: Context, id: string) => Promise<R | null>;
  readonly render: (record: R, context: Context) => object;
  readonly create?: {
    readonly attributes: TSchema;
    /** Makes one for the actor, who is of the project that the record is for. */
    readonly run: (context: Context, attributes: never) => Promise<NetworkResult<R>>;
  };
  readonly update?: {
    readonly attributes: TSchema;
    readonly run: (context: Context, id: string, attributes: never) => Promise<NetworkResult<R>>;
  };
  readonly remove: (context: Context, id: string) => Promise<NetworkResult<null>>;
}

export function resourceRoutes<R extends Revised>(resource: Resource<R>): Route[] {
  const { path, single, called, item } = resource;
  const plural = path.replaceAll('-', '_');
  const rule = (verb: string) => `${verb}_${single}` as RuleName;
  const answer = Type.Object({ [single]: item }, strict);
  const contextOf = (p: Platform, actor: Actor): Context => ({ p, actor, db: p.stores.global, now: p.clock.now() });
  const routes: Route[] = [
    route({
      ...{ method: 'GET', url: `${V2}/${path}`, service, summary: `List ${plural.replaceAll('_', ' ')}` },
      policy: rule('get'),
      query: listQuery(resource.collection, resource.filters),
      answers: { 200: listAnswer(path, item) },
      handle: async ({ p, actor, query }) => {
        const context = contextOf(p, actor);
        const wanted = query as ListQuery;
        const found = await resource.list(context, selectionOf(resource.collection, wanted), wanted);
        // Nothing is behind a marker that is not there either.
        const { marker } = wanted;
        if (found.length === 0 && marker !== undefined && !(await resource.find(context, marker)))
          orThrow(absent(single, marker));
        return listed(p.settings, path, found, wanted, (record) => resource.render(record, context));
      },
    }),
    route({
      ...{ method: 'GET', url: `${V2}/${path}/:id`, service, summary: `Show ${called}`, policy: rule('get') },
      params: Params,
      query: ShowQuery,
      answers: { 200: answer },
      handle: async ({ p, actor, params, query }) => {
        const context = contextOf(p, actor);
        const record = (await resource.find(context, params.id)) ?? orThrow<R>(absent(single, params.id));
        return { status: 200, body: { [single]: only(resource.render(record, context), query.fields) } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${V2}/${path}/:id`, service, summary: `Delete ${called}`, policy: rule('delete') },
      params: Params,
      asks: ['if-match'],
      answers: { 204: null },
      handle: async ({ p, actor, params, request }) => {
        const remove = async (context: Context) => orThrow(await resource.remove(context, params.id));
        await ifMatched(resource, contextOf(p, actor), params.id, request.headers['if-match'], remove);
        return { status: 204 };
      },
    }),
  ];
  const { create, update } = resource;
  if (create) {
    routes.push(
      route({
        ...{ method: 'POST', url: `${V2}/${path}`, service, summary: `Create ${called}, or several` },
        policy: rule('create'),
        body: Type.Union([
          Type.Object({ [single]: create.attributes }, strict),
          Type.Object({ [plural]: Type.Array(create.attributes, { minItems: 1, maxItems: MAX_BULK }) }, strict),
        ]),
        answers: {
          201: Type.Union([answer, Type.Object({ [plural]: Type.Array(item) }, strict)]),
        },
        handle: async ({ p, actor, body }) => {
          const asked = body as Readonly<Record<string, Attributes | Attributes[]>>;
          const wishes = [asked[single] ?? asked[plural] ?? []].flat() as Attributes[];
          const now = p.clock.now();
          // All or none, as Neutron.
          const rendered = await p.stores.global.transaction().execute(async (db) => {
            await exclusively(db, NETWORKS);
            const made: object[] = [];
            for (const wish of wishes) {
              const record = orThrow(await create.run({ p, db, now, actor: acting(actor, wish) }, wish as never));
              made.push(resource.render(record, { p, db, now, actor }));
            }
            return made;
          });
          return { status: 201, body: single in asked ? { [single]: rendered[0] } : { [plural]: rendered } };
        },
      }),
    );
  }
  if (update) {
    routes.push(
      route({
        ...{ method: 'PUT', url: `${V2}/${path}/:id`, service, summary: `Change ${called}`, policy: rule('update') },
        params: Params,
        body: Type.Object({ [single]: update.attributes }, strict),
        asks: ['if-match'],
        answers: { 200: answer },
        handle: async ({ p, actor, params, body, request }) => {
          const context = contextOf(p, actor);
          const asked = body as Readonly<Record<string, Attributes>>;
          const change = async (within: Context) =>
            orThrow(await update.run(within, params.id, (asked[single] ?? {}) as never));
          const changed = await ifMatched(resource, context, params.id, request.headers['if-match'], change);
          return { status: 200, body: { [single]: resource.render(changed, context) } };
        },
      }),
    );
    // Whatever can be changed can be tagged.
    routes.push(...tagRoutes(path, single, async (context, id) => (await resource.find(context, id))?.tags ?? null));
  }
  return routes;
}

/**
 * Does the work, and, where a revision is named, only on a record that is at it; nobody changes it meanwhile (Neutron's
 * extension revision-if-match). `work` throws what it refuses, so that nothing of it stays.
 * @throws ApiError 412; 400 for a number that is none
 */
async function ifMatched<R extends Revised, T>(
  resource: Resource<R>,
  context: Context,
  id: string,
  header: string | undefined,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  const wanted = revisionNamed(header);
  if (wanted === null) return work(context);
  return context.db.transaction().execute(async (db) => {
    await exclusively(db, NETWORKS);
    const within = { ...context, db };
    const record = await resource.find(within, id);
    if (record && record.revision !== wanted) {
      const message = `Constrained to ${wanted}, but current revision is ${record.revision}`;
      throw new ApiError(412, message, { type: 'RevisionNumberConstraintFailed' });
    }
    return work(within);
  });
}

/** Of `If-Match: revision_number=5`, quoted or not; null: the header names none. */
function revisionNamed(header = ''): number | null {
  const named = header
    .split(',')
    .map((tag) => tag.trim().replaceAll('"', ''))
    .filter((tag) => tag.startsWith('revision_number='));
  const [first] = named;
  if (first === undefined) return null;
  const bad = (said: string) => new ApiError(400, `Bad if-match request: ${said}.`, { type: 'BadRequest' });
  if (named.length > 1) throw bad('Multiple revision_number etags are not supported');
  const number = /^revision_number=(\d{1,9})$/.exec(first)?.[1];
  if (number === undefined) throw bad('Revision number etag must be in the format of revision_number=<int>');
  return Number(number);
}

/** The actor as one of the project that a new record is for: its own, or another's when an administrator names it. */
function acting(actor: Actor, wish: { readonly project_id?: string; readonly tenant_id?: string }): Actor {
  const projectId = wish.project_id ?? wish.tenant_id ?? actor.projectId;
  if (projectId === actor.projectId) return actor;
  if (!isAdmin(actor)) {
    throw new ApiError(403, 'Specifying a project_id other than your own is disallowed by policy', {
      type: 'PolicyNotAuthorized',
    });
  }
  return { ...actor, projectId };
}

/**
 * Asks the rules that attributes have of their own (`create_port:mac_address`), down to the attributes of attributes
 * (`create_port:fixed_ips:ip_address`). What stands at its default when a record is made was not asked for.
 * @throws ApiError 403
 */
export function requireAttributes(
  { p, actor }: Pick<Context, 'p' | 'actor'>,
  action: string,
  attributes: object,
  target: Target,
): void {
  for (const [name, value] of Object.entries(attributes)) {
    const rule = `${action}:${name}`;
    if (value === undefined || (action.startsWith('create') && DEFAULTS.get(name) === value)) continue;
    if (isRule(rule)) requireRule(p, service, actor, rule, target);
    for (const part of [value].flat())
      if (typeof part === 'object' && part !== null) requireAttributes({ p, actor }, rule, part, target);
  }
}

const DEFAULTS = new Map<string, unknown>([
  ...([
    ['shared', false],
    ['router:external', false],
    ['is_default', false],
    ['enable_snat', true],
  ] as const),
  ...([
    ['device_owner', ''],
    ['binding:host_id', ''],
    ['binding:vnic_type', 'normal'],
  ] as const),
  ...([
    ['distributed', false],
    ['ha', false],
  ] as const),
]);

const isRule = (name: string): name is RuleName & string => Object.hasOwn(NETWORK_RULES, name);
