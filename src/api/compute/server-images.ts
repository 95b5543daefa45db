// The actions on a server that make an image of it. Source: nova/api/openstack/compute/servers.py:_action_create_image,
// create_backup.py.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import type { Actor, Server } from '../../model/types.ts';
import { createServerBackup, createServerImage, type ImageMade } from '../../moves/create-image.ts';
import { requireRule } from '../http/auth.ts';
import type { Answer } from '../http/route.ts';
import { closed, object, overQuotaOrElse, text } from './common.ts';
import { type Actions, action, targetOf } from './server-action.ts';

const Metadata = Type.Record(Type.String({ pattern: '^[a-zA-Z0-9-_:. ]{1,255}$' }), text(), closed);
/** Without spaces at its ends. */
const Name = Type.String({
  maxLength: 255,
  pattern: '^[^\\u0000-\\u0020\\u007f]([^\\u0000-\\u001f\\u007f]*[^\\u0000-\\u0020\\u007f])?$',
});

const CreateImage = object({ name: Name, metadata: Type.Optional(Metadata) });
const Rotation = Type.Union([Type.Integer({ minimum: 0, maximum: 1000 }), Type.String({ pattern: '^[0-9]{1,3}$' })]);
const CreateBackup = object({
  name: Name,
  backup_type: Type.String({ maxLength: 255 }),
  rotation: Rotation,
  metadata: Type.Optional(Metadata),
});

const Made = object({ image_id: Type.String() });

/** The image's id: in a header until 2.44, then in the body. */
function made(p: Platform, result: ImageMade, minor: number, isKept = true): Answer {
  if (result.kind === 'refused') throw overQuotaOrElse(result.refusal);
  const { imageId } = result;
  if (minor >= 45) return { status: 202, body: { image_id: imageId } };
  if (!isKept) return { status: 202 };
  return { status: 202, headers: { location: `${p.settings.publicUrl}/image/v2/images/${imageId}` } };
}

/**
 * The image service's rules, and block storage's where the server's root disk is a volume: Nova asks both with the user's
 * token. @throws ApiError 403
 */
function requireNewImage(p: Platform, actor: Actor, server: Server): void {
  const { projectId } = actor;
  const target = { project_id: projectId, tenant_id: projectId, owner: projectId };
  requireRule(p, 'image', actor, 'add_image', target);
  if (server.image.id === null) requireRule(p, 'volume', actor, 'volume:create_snapshot', target);
  else requireRule(p, 'image', actor, 'upload_image', target);
}

export const serverImageActions: Actions = {
  createImage: action(
    'os_compute_api:servers:create_image',
    CreateImage,
    async ({ p, actor, server, minor }, { name, metadata }) => {
      if (server.image.id === null) {
        requireRule(p, 'compute', actor, 'os_compute_api:servers:create_image:allow_volume_backed', targetOf(server));
      }
      requireNewImage(p, actor, server);
      return made(p, await createServerImage(p, actor, server.id, { name, metadata: metadata ?? {} }), minor);
    },
    Made,
  ),
  createBackup: action(
    'os_compute_api:os-create-backup',
    CreateBackup,
    async ({ p, actor, server, minor }, { name, backup_type: backupType, rotation, metadata }) => {
      const request = { name, backupType, rotation: Number(rotation), metadata: metadata ?? {} };
      requireNewImage(p, actor, server);
      const result = await createServerBackup(p, actor, server.id, request);
      return made(p, result, minor, request.rotation > 0);
    },
    Made,
  ),
};
