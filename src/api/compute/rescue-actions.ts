// Rescuing a server, and ending that. The password is answered and told to nobody (see docs/api.md).
import { randomBytes } from 'node:crypto';
import { Type } from 'typebox';
import { rescueServer, unrescueServer } from '../../moves/rescue.ts';
import { refuse } from '../http/errors.ts';
import { nullable, object, text } from './common.ts';
import { type Actions, AdminPass, accepted, action, Nothing } from './server-action.ts';

const Rescue = nullable(
  object({ adminPass: Type.Optional(AdminPass), rescue_image_ref: Type.Optional(Type.String({ format: 'uuid' })) }),
);

export const RESCUE_ACTIONS: Actions = {
  rescue: action(
    'os_compute_api:os-rescue',
    Rescue,
    async ({ p, actor, server, minor }, value) => {
      const imageRef = value?.rescue_image_ref?.toLowerCase() ?? null;
      refuse(await rescueServer(p, actor, server.id, { imageRef, fromVolume: minor >= 87 }));
      return { status: 200, body: { adminPass: value?.adminPass ?? randomBytes(9).toString('base64url') } };
    },
    object({ adminPass: text() }),
  ),
  unrescue: action('os_compute_api:os-unrescue', Nothing, ({ p, actor, server }) =>
    accepted(unrescueServer(p, actor, server.id)),
  ),
};
