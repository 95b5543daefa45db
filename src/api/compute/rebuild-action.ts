// Rebuilding a server: what may be said with it at which microversion, and the answer, which is the server as an update shows
// it with the password that nobody is told of (see docs/api.md).
import { randomBytes } from 'node:crypto';
import { type TSchema, Type } from 'typebox';
import { MAX_USER_DATA } from '../../model/config-drive.ts';
import { type RebuildRequest, rebuildServer } from '../../moves/rebuild-server.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, refuse } from '../http/errors.ts';
import { nullable, object, text } from './common.ts';
import { type Actions, AdminPass, action, targetOf } from './server-action.ts';
import { userDataOf } from './server-create.ts';
import { HOSTNAMES, Metadata, Server } from './server-schemas.ts';
import { changedServer } from './servers.ts';

const Flag = Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]);
const Name = Type.String({ minLength: 1, maxLength: 255 });
const TrustedCerts = nullable(Type.Array(Name, { minItems: 1, maxItems: 50, uniqueItems: true }));

const base = {
  imageRef: Type.String({ format: 'uuid' }),
  name: Type.Optional(Name),
  adminPass: Type.Optional(AdminPass),
  metadata: Type.Optional(Metadata),
  preserve_ephemeral: Type.Optional(Flag),
  'OS-DCF:diskConfig': Type.Optional(Type.Enum(['AUTO', 'MANUAL'])),
  accessIPv4: Type.Optional(Type.Union([Type.String({ format: 'ipv4' }), Type.Literal('')])),
  accessIPv6: Type.Optional(Type.Union([Type.String({ format: 'ipv6' }), Type.Literal('')])),
};
const personality = {
  personality: Type.Optional(Type.Array(object({ path: text(), contents: Type.String() }), { maxItems: 50 })),
};
const description = { description: Type.Optional(nullable(text())) };
const keyName = { key_name: Type.Optional(nullable(Name)) };
const userData = { user_data: Type.Optional(nullable(Type.String({ maxLength: MAX_USER_DATA }))) };
const certificates = { trusted_image_certificates: Type.Optional(TrustedCerts) };

/** By the microversion that brought them; personality went with 2.57. */
const SCHEMAS: readonly (readonly [number, TSchema])[] = [
  [94, object({ ...base, ...description, ...keyName, ...userData, ...certificates, ...HOSTNAMES.whole })],
  [90, object({ ...base, ...description, ...keyName, ...userData, ...certificates, ...HOSTNAMES.plain })],
  [63, object({ ...base, ...description, ...keyName, ...userData, ...certificates })],
  [57, object({ ...base, ...description, ...keyName, ...userData })],
  [54, object({ ...base, ...description, ...keyName, ...personality })],
  [19, object({ ...base, ...description, ...personality })],
  [1, object({ ...base, ...personality })],
];

interface Wish {
  readonly imageRef: string;
  readonly name?: string;
  readonly adminPass?: string;
  readonly metadata?: Record<string, string>;
  readonly 'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly personality?: readonly object[];
  readonly description?: string | null;
  readonly key_name?: string | null;
  readonly user_data?: string | null;
  readonly trusted_image_certificates?: readonly string[] | null;
  readonly hostname?: string;
}

export const REBUILD_ACTIONS: Actions = {
  rebuild: action(
    'os_compute_api:servers:rebuild',
    (minor) => SCHEMAS.find(([from]) => from <= minor)?.[1] ?? null,
    async ({ p, actor, server, minor }, value) => {
      const wish = value as Wish;
      if (wish.trusted_image_certificates !== undefined) {
        requireRule(p, 'compute', actor, 'os_compute_api:servers:rebuild:trusted_certs', targetOf(server));
        const [certificate] = wish.trusted_image_certificates ?? [];
        if (certificate !== undefined)
          throw badRequest(
            `Image signature certificate validation failed for certificate: ${certificate}. Signatures of images are not checked here.`,
          );
      }
      if (wish.personality && wish.personality.length > 0)
        throw badRequest('Invalid input for field/attribute personality. Files cannot be put into guests here.');
      refuse(await rebuildServer(p, actor, server.id, requestOf(wish, minor)));
      const shown = await changedServer(p, actor, minor, server.id);
      const body = {
        ...withoutUserData(shown.view),
        // Told of here before every update shows them, and to everybody.
        ...(minor >= 54 ? { key_name: shown.server.keyName } : {}),
        ...(minor >= 57 ? { user_data: shown.server.userData } : {}),
        adminPass: wish.adminPass ?? randomBytes(9).toString('base64url'),
      };
      return { status: 202, body: { server: body } };
    },
    object({
      server: object({ ...Server.properties, adminPass: text(), user_data: Type.Optional(nullable(Type.String())) }),
    }),
  ),
};

/** Administrators see them elsewhere under a name of their own. */
function withoutUserData(view: object): object {
  return Object.fromEntries(Object.entries(view).filter(([key]) => key !== 'OS-EXT-SRV-ATTR:user_data'));
}

function requestOf(wish: Wish, minor: number): RebuildRequest {
  const { name, description: described, metadata, key_name: key, hostname: host, accessIPv4, accessIPv6 } = wish;
  const diskConfig = wish['OS-DCF:diskConfig'];
  return {
    imageId: wish.imageRef.toLowerCase(),
    reimages: minor >= 93,
    ...(name === undefined ? {} : { name }),
    ...(described === undefined ? {} : { description: described }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(key === undefined ? {} : { keyName: key }),
    ...(wish.user_data === undefined ? {} : { userData: userDataOf(wish) }),
    ...(host === undefined ? {} : { hostname: host }),
    ...(diskConfig === undefined ? {} : { diskConfig }),
    ...(accessIPv4 === undefined ? {} : { accessIpV4: accessIPv4 }),
    ...(accessIPv6 === undefined ? {} : { accessIpV6: accessIPv6 }),
  };
}
