// A route as data: what it takes, what it answers, who may call it, and the handler that joins them. Each service
// exports a list of its routes (`export const imageRoutes: readonly Route[]`); the list of all of them (api/routes.ts)
// is what the server mounts, what the OpenAPI document describes, and what the tests walk. HEAD comes with GET.
//
// Before a handler runs, token, policy, microversion, parameters, query and body have been checked. It answers, or throws
// ApiError (see errors.ts; `refuse(refusal)` throws what a use case refused).
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static, TSchema } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Actor } from '../../model/types.ts';
import type { Service } from './errors.ts';

/** Body schemas by microversion: `from` is N of 2.N or 3.N; the last one whose `from` is not above the request's counts. */
export interface VersionedSchema<S extends TSchema = TSchema> {
  readonly byVersion: readonly { readonly from: number; readonly schema: S }[];
}

/** Body schemas that changed over the microversions: `versions([1, A], [56, B])`. */
export function versions<const P extends readonly (readonly [number, TSchema])[]>(
  ...pairs: P
): VersionedSchema<P[number][1]> {
  return { byVersion: pairs.map(([from, schema]) => ({ from, schema: schema as P[number][1] })) };
}

/** The schema that counts at this microversion; null: none yet. */
export function schemaAt<S extends TSchema>(body: S | VersionedSchema<S>, minor: number): S | null {
  if (!isVersioned(body)) return body;
  return body.byVersion.filter((each) => each.from <= minor).at(-1)?.schema ?? null;
}

export const isVersioned = (body: TSchema | VersionedSchema): body is VersionedSchema => 'byVersion' in body;

/** What a body can be whose one key names an action. */
export interface Variant {
  readonly action: string;
  readonly schema: TSchema;
  /** Microversions (their N) in which it is so; absent: from the first, to the last. */
  readonly from?: number;
  readonly to?: number;
}

/** The schemas of a body that leaves its details open, as they are at the last microversion; null: there are none. */
export const variantsNow = ({ variants }: Route): readonly TSchema[] | null =>
  variants?.flatMap(({ schema, to }) => (to === undefined ? [schema] : [])) ?? null;

/** All schemas that the body of a route can have. */
export const bodySchemas = (route: Route): TSchema[] =>
  route.body === undefined
    ? []
    : isVersioned(route.body)
      ? route.body.byVersion.map((each) => each.schema)
      : [route.body];

/** A route whose body's one key says what is done: the rule of each key. */
export interface ByBody {
  readonly byBody: Readonly<Record<string, RuleName>>;
}
export const byBody = (rules: Readonly<Record<string, RuleName>>): ByBody => ({ byBody: rules });

/** The rule that lets an actor in; `public` needs no token, `anyone` one of any kind, where OpenStack has no rule. */
export type RoutePolicy = 'public' | 'anyone' | RuleName | ByBody;

/** A rule of another service, which compute asks for what it does there in the user's name. */
export interface Behind {
  readonly service: Service;
  readonly rule: RuleName;
  /** The path of that service's route to the record that `:id` names, about which the rule is asked again. */
  readonly record?: string;
}

/** What a handler is given: parsed, checked and authorised. */
export interface Call<Params, Query, Body> {
  readonly p: Platform;
  /** Of public routes: nobody, without roles. projectId is '' for an unscoped token. */
  readonly actor: Actor;
  /** N of the microversion: 2.N for compute, 3.N for volume; 1 elsewhere. */
  readonly minor: number;
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export interface Answer {
  readonly status: number;
  /** JSON value, or a Readable / Buffer / string with a content-type header. Absent: no body. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

type BodyOf<B> = B extends VersionedSchema<infer S> ? Static<S> : B extends TSchema ? Static<B> : undefined;
type TextOf<S> = S extends TSchema ? Static<S> : Record<string, never>;

/** The policy for documents: the rule's name, or those that the body chooses from, and that of the service behind. */
export const policyText = ({ policy, behind }: Route): string => {
  const own = typeof policy === 'string' ? policy : [...new Set(Object.values(policy.byBody))].join(', ');
  return behind === undefined ? own : `${own}; ${behind.rule}`;
};

/** The headers that single routes have, and what they say. */
export const HEADERS = {
  'content-md5': "The data's MD5 digest, in hexadecimal digits",
  'content-range': 'Which part of the data this is',
  'if-match': '`revision_number=N`: only if that is the current one',
  location: 'URL of what was made',
  'openstack-image-import-methods': 'The ways in which its data may come',
  range: 'Which part of the data is asked for: one range of bytes',
  'x-image-sha256': "The data's SHA-256 digest, in hexadecimal digits",
  'x-subject-token': 'The token that this is about',
} as const;
export type HeaderName = keyof typeof HEADERS;

export interface RouteSpec<
  P extends TSchema | undefined,
  Q extends TSchema | undefined,
  B extends TSchema | VersionedSchema | undefined,
> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';
  /** Full path with Fastify's parameters, such as /compute/v2.1/servers/:id. */
  readonly url: string;
  readonly service: Service;
  readonly summary: string;
  readonly policy: RoutePolicy;
  /**
   * What the rule is asked about where the path says it, such as another project's quota; `handler`: only the handler
   * can know, and asks itself. Absent: something of the actor's own, and then the record whose id is in the path (see
   * targets.ts).
   */
  readonly target?: ((id: string, actor: Actor) => Target) | 'handler';
  /** What the service behind has to allow, too. */
  readonly behind?: Behind;
  /** Microversions (their N) in which the route exists. */
  readonly since?: number;
  readonly until?: number;
  readonly params?: P;
  readonly query?: Q;
  /** Of a parameter that is there several times and is no list, the last counts, as in most of Nova's queries. */
  readonly lastOfRepeated?: true;
  readonly body?: B;
  /** What the body may be in detail where `body` leaves it open: for the OpenAPI document and the tests. */
  readonly variants?: readonly Variant[];
  /** The handler reads the request's stream itself (request.raw): for uploads. Sizes are then its own business. */
  readonly rawBody?: boolean;
  /** Content types taken for the body; default application/json. */
  readonly contentTypes?: readonly string[];
  /** Headers that it reads, besides those that every route does. */
  readonly asks?: readonly HeaderName[];
  /** Schemas of the answers by status; null: no body, or one of `media`. */
  readonly answers: Readonly<Record<number, TSchema | null>>;
  /** Content types of answers that are not JSON. */
  readonly media?: readonly string[];
  /** Headers that its answers may have, besides those that every answer has. */
  readonly tells?: readonly HeaderName[];
  readonly handle: (call: Call<TextOf<P>, TextOf<Q>, BodyOf<B>>) => Promise<Answer> | Answer;
}

/** A route with its types forgotten, as lists hold it. */
export interface Route extends Omit<RouteSpec<TSchema, TSchema, TSchema | VersionedSchema>, 'handle'> {
  /** The mount passes what the schemas let through, which is what the handler's own types say. */
  readonly handle: (call: Call<never, never, never>) => Promise<Answer> | Answer;
}

/** Declares a route; the handler's types follow from the schemas. */
export function route<
  P extends TSchema | undefined = undefined,
  Q extends TSchema | undefined = undefined,
  B extends TSchema | VersionedSchema | undefined = undefined,
>(spec: RouteSpec<P, Q, B>): Route {
  return spec as unknown as Route;
}
