// The action by which a volume becomes an image (cinder/api/contrib/volume_actions.py:_volume_upload_image).
import { Type } from 'typebox';
import { CONTAINER_FORMATS, GUEST_FORMATS, VISIBILITIES } from '../../control/images.ts';
import { volumeTypeById } from '../../control/volumes/types.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { uploadVolume } from '../../moves/volumes/upload.ts';
import { nullable, object, text } from '../compute/common.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { Flag, isTrue } from './filters.ts';
import { action } from './volume-action.ts';

/** Cinder's. */
const DISK_FORMATS = ['raw', 'vmdk', 'vdi', 'qcow2', 'vhd', 'vhdx', 'ploop'] as const;

const Wish = object({
  image_name: Type.String({ minLength: 1, maxLength: 255 }),
  force: Type.Optional(Flag),
  disk_format: Type.Optional(Type.Enum([...DISK_FORMATS])),
  container_format: Type.Optional(Type.Enum([...CONTAINER_FORMATS])),
  visibility: Type.Optional(Type.Enum([...VISIBILITIES])),
  protected: Type.Optional(Flag),
});

/** What it answers. */
export const Uploading = object({
  'os-volume_upload_image': object({
    ...{ id: text(), status: text(), size: Type.Integer(), updated_at: nullable(text()) },
    display_description: nullable(text()),
    volume_type: nullable(
      object({ id: text(), name: text(), description: nullable(text()), is_public: Type.Boolean() }),
    ),
    ...{ image_id: text(), image_name: nullable(text()), container_format: text(), disk_format: text() },
    ...{ visibility: Type.Optional(text()), protected: Type.Optional(Type.Boolean()) },
  }),
});

export const uploadImageAction = action(
  'volume_extension:volume_actions:upload_image',
  Wish,
  async ({ p, actor, volume, minor }, wish) => {
    // Whose it shall be: from 3.1 on.
    const isOlder = minor < 1;
    for (const field of ['visibility', 'protected'] as const) {
      if (isOlder && wish[field] !== undefined) {
        throw badRequest(`Additional properties are not allowed ('${field}' was unexpected)`);
      }
    }
    const visibility = wish.visibility ?? 'private';
    if (visibility === 'public') requireRule(p, 'volume', actor, 'volume_extension:volume_actions:upload_public');
    const format = GUEST_FORMATS.find((each) => each === (wish.disk_format ?? 'raw'));
    if (format === undefined) {
      throw badRequest(`Volumes are uploaded as ${GUEST_FORMATS.join(' or ')} here, not as ${wish.disk_format}.`);
    }
    if (wish.container_format === 'compressed') {
      throw badRequest('Image compression upload disallowed, but container_format is compressed');
    }
    const result = await uploadVolume(p, actor, volume.id, {
      ...{ name: wish.image_name, format, containerFormat: wish.container_format ?? 'bare', visibility },
      ...{ protected: isTrue(wish.protected ?? false), force: isTrue(wish.force ?? false) },
    });
    if (result.kind === 'refused') throw errorOf(result.refusal);
    const { image } = result;
    const type = await volumeTypeById(p, volume.typeId);
    const shown = {
      ...{ id: volume.id, status: 'uploading', size: volume.sizeGb, display_description: volume.description },
      updated_at: isoMicroseconds(result.volume.updatedAt),
      volume_type: type && {
        ...{ id: type.id, name: type.name, description: type.description, is_public: type.isPublic },
      },
      ...{ image_id: image.id, image_name: image.name, container_format: image.containerFormat },
      ...{ disk_format: image.diskFormat, protected: image.protected, visibility: image.visibility },
    };
    return { status: 202, body: { 'os-volume_upload_image': shown } };
  },
);
