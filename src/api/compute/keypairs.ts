// Key pairs of users.
import { Type } from 'typebox';
import {
  createKeypair,
  deleteKeypair,
  findKeypair,
  type Keypair,
  type KeyType as KeypairType,
  keypairNotFound,
  listKeypairs,
} from '../../control/keypairs.ts';
import type { Platform } from '../../control/platform.ts';
import { isoMicroseconds } from '../../model/time.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, Links, markerNotFound, nextLink, nullable, object, Page, pageOf, text } from './common.ts';

const Name = Type.String({ minLength: 1, maxLength: 255 });
const PublicKey = Type.String({ minLength: 1, maxLength: 16384 });
const KeyType = Type.Enum(['ssh', 'x509']);
const shared = {
  name: text(),
  type: Type.Optional(text()),
  public_key: Type.String(),
  fingerprint: text(),
};
const Ref = object({ keypair: object(shared) });
const create = { name: Name, public_key: Type.Optional(PublicKey) };
const NameParams = object({ name: Type.String({ maxLength: 1024 }) });
const userId = { user_id: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) };

export const keypairRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-keypairs`,
    service: 'compute',
    summary: 'List key pairs',
    policy: 'os_compute_api:os-keypairs:index',
    query: object({ ...Page, ...userId }),
    answers: { 200: object({ keypairs: Type.Array(Ref), keypairs_links: Type.Optional(Links) }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const keypairs = await listKeypairs(p, ownerOf(p, 'index', actor, query.user_id, minor));
      // Pages came with 2.35; before, a limit is passed over.
      const result = pageOf(keypairs, (each) => each.name, minor < 35 ? {} : query);
      if (!result) throw markerNotFound(query.marker);
      return {
        status: 200,
        body: {
          keypairs: result.page.map((each) => ({ keypair: brief(each, minor) })),
          ...nextLink(p.settings, 'keypairs_links', request.url, result.marker),
        },
      };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/os-keypairs`,
    service: 'compute',
    summary: 'Import a public key, or (before 2.92) generate a pair',
    policy: 'os_compute_api:os-keypairs:create',
    body: versions(
      [1, object({ keypair: object(create) })],
      [2, object({ keypair: object({ ...create, type: Type.Optional(KeyType) }) })],
      [10, object({ keypair: object({ ...create, type: Type.Optional(KeyType), ...userId }) })],
      [92, object({ keypair: object({ ...create, public_key: PublicKey, type: Type.Optional(KeyType), ...userId }) })],
    ),
    answers: {
      200: object({ keypair: object({ ...shared, user_id: text(), private_key: Type.Optional(Type.String()) }) }),
      201: object({ keypair: object({ ...shared, user_id: text(), private_key: Type.Optional(Type.String()) }) }),
    },
    handle: async ({ p, actor, body, minor }) => {
      const wish = body.keypair as { name: string; public_key?: string; type?: KeypairType; user_id?: string };
      const owner = { userId: ownerOf(p, 'create', actor, wish.user_id, minor), projectId: actor.projectId };
      const { name, public_key: publicKey = null, type = 'ssh' } = wish;
      const request = { name, publicKey, type };
      const result = await createKeypair(p, owner, request, minor);
      if (result.kind === 'refused') throw errorOf(result.refusal);
      const keypair = {
        ...brief(result.keypair, minor),
        user_id: result.keypair.userId,
        ...(result.privateKey === null ? {} : { private_key: result.privateKey }),
      };
      return { status: minor >= 2 ? 201 : 200, body: { keypair } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-keypairs/:name`,
    service: 'compute',
    summary: 'Show a key pair',
    policy: 'os_compute_api:os-keypairs:show',
    params: NameParams,
    query: object(userId),
    answers: {
      200: object({
        keypair: object({
          ...shared,
          id: Type.Integer(),
          user_id: text(),
          created_at: text(),
          updated_at: nullable(text()),
          deleted: Type.Boolean(),
          deleted_at: Type.Null(),
        }),
      }),
    },
    handle: async ({ p, actor, params, query, minor }) => {
      const owner = ownerOf(p, 'show', actor, query.user_id, minor);
      const keypair = await findKeypair(p, owner, params.name);
      if (!keypair) throw errorOf(keypairNotFound(owner, params.name.slice(0, 255)));
      const body = {
        keypair: {
          ...brief(keypair, minor),
          id: 0,
          user_id: keypair.userId,
          created_at: isoMicroseconds(keypair.createdAt),
          updated_at: null,
          deleted: false,
          deleted_at: null,
        },
      };
      return { status: 200, body };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/os-keypairs/:name`,
    service: 'compute',
    summary: 'Delete a key pair; servers keep the key they were made with',
    policy: 'os_compute_api:os-keypairs:delete',
    params: NameParams,
    query: object(userId),
    answers: { 202: null, 204: null },
    handle: async ({ p, actor, params, query, minor }) => {
      const owner = ownerOf(p, 'delete', actor, query.user_id, minor);
      if (!(await deleteKeypair(p, owner, params.name)))
        throw errorOf(keypairNotFound(owner, params.name.slice(0, 255)));
      return { status: minor >= 2 ? 204 : 202 };
    },
  }),
];

type Verb = 'index' | 'create' | 'show' | 'delete';

/** Whose key pairs: the caller's own, or from 2.10 on anybody's as the policy allows (by default to administrators). */
function ownerOf(p: Platform, verb: Verb, actor: Actor, userId: string | undefined, minor: number): string {
  if (userId === undefined || minor < 10 || userId === actor.userId) return actor.userId;
  requireRule(p, 'compute', actor, `os_compute_api:os-keypairs:${verb}`, { user_id: userId });
  return userId;
}

const brief = (keypair: Keypair, minor: number): object => ({
  name: keypair.name,
  ...(minor >= 2 ? { type: keypair.type } : {}),
  public_key: keypair.publicKey,
  fingerprint: keypair.fingerprint,
});
