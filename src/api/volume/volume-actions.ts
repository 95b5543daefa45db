// POST /volumes/{id}/action: one key names the action. Those by which Nova tells Cinder what it does with a volume
// (os-reserve, os-attach and so on) are not here: compute attaches and detaches by itself.
import { Type } from 'typebox';
import { editVolume, volumeFor } from '../../control/volumes/records.ts';
import { resetStatus } from '../../control/volumes/reset-status.ts';
import { retypeVolume } from '../../control/volumes/retype.ts';
import { findVolumeType, isMultiattach } from '../../control/volumes/types.ts';
import { MAX_VOLUME_GB, VOLUME_STATUSES, type VolumeStatus } from '../../model/volumes.ts';
import { deleteVolume } from '../../moves/volumes/delete.ts';
import { extendVolume } from '../../moves/volumes/extend.ts';
import { reimageVolume } from '../../moves/volumes/reimage.ts';
import { revertVolume } from '../../moves/volumes/revert.ts';
import { IdParams, nullable, object, StringMap, text } from '../compute/common.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { byBody, type Route, route } from '../http/route.ts';
import { checkBody } from '../http/validation.ts';
import { Metadata, orThrow, V3 } from './common.ts';
import { Flag, isTrue } from './filters.ts';
import { limited } from './metadata.ts';
import { imageMetadata } from './render.ts';
import { Uploading, uploadImageAction } from './upload-image.ts';
import { type Action, type ActionCall, action, Nothing } from './volume-action.ts';

const setImage = async ({ p, volume }: ActionCall, change: (now: Record<string, string>) => Record<string, string>) => {
  const edited = await editVolume(
    p.stores.global,
    volume.id,
    {
      image: (present) => {
        const image = present ?? EMPTY_IMAGE;
        return { ...image, properties: limited(change(image.properties)) };
      },
    },
    p.clock.now(),
  );
  return edited?.image ? imageMetadata(edited.image) : {};
};
const EMPTY_IMAGE = {
  ...{ id: '', name: null, checksum: null, containerFormat: null, diskFormat: null, sizeBytes: 0 },
  ...{ minDiskGb: 0, minRamMb: 0, properties: {} },
};

const ACTIONS: Readonly<Record<string, Action>> = {
  'os-extend': action(
    'volume:extend',
    object({
      new_size: Type.Union([
        Type.Integer({ minimum: 1, maximum: MAX_VOLUME_GB }),
        Type.String({ pattern: '^[1-9][0-9]{0,6}$' }),
      ]),
    }),
    async ({ p, actor, volume, minor }, { new_size }) => {
      const attached = minor >= 42;
      if (attached && volume.status === 'in-use') {
        requireRule(p, 'volume', actor, 'volume:extend_attached_volume', { project_id: volume.projectId });
      }
      refuse(await extendVolume(p, actor, volume.id, Number(new_size), { attached }));
      return { status: 202 };
    },
  ),
  'os-set_bootable': action('volume:update', object({ bootable: Flag }), async ({ p, volume }, { bootable }) => {
    await editVolume(p.stores.global, volume.id, { bootable: isTrue(bootable) }, p.clock.now());
    return { status: 200 };
  }),
  'os-update_readonly_flag': action(
    'volume:update_readonly_flag',
    object({ readonly: Flag }),
    async ({ p, volume }, { readonly }) => {
      if (volume.status !== 'available') {
        throw badRequest(
          `Invalid volume: Volume ${volume.id} status must be available to update readonly flag, but current status is: ${volume.status}.`,
        );
      }
      const flag = isTrue(readonly) ? 'True' : 'False';
      const metadata = (present: Readonly<Record<string, string>>) => ({ ...present, readonly: flag });
      await editVolume(p.stores.global, volume.id, { metadata }, p.clock.now());
      return { status: 202 };
    },
  ),
  'os-reset_status': action(
    'volume_extension:volume_admin_actions:reset_status',
    Type.Object(
      {
        status: Type.Optional(text(30)),
        attach_status: Type.Optional(text(30)),
        migration_status: Type.Optional(text(30)),
      },
      { additionalProperties: false, minProperties: 1 },
    ),
    async ({ p, volume }, { status }) => {
      if (status === undefined) return { status: 202 };
      const wanted = VOLUME_STATUSES.find((each) => each === status.toLowerCase());
      if (wanted === undefined || !RESETTABLE.includes(wanted)) {
        throw badRequest(
          `Invalid input for field/attribute status. Value: ${status}. One of ${RESETTABLE.join(', ')}.`,
        );
      }
      refuse(await resetStatus(p, volume.id, wanted));
      p.log.warn({ volumeId: volume.id, from: volume.status, to: wanted }, "a volume's status was reset by hand");
      return { status: 202 };
    },
  ),
  'os-retype': action(
    'volume:retype',
    object({
      new_type: Type.String({ minLength: 1, maxLength: 255 }),
      migration_policy: Type.Optional(nullable(Type.Enum(['never', 'on-demand']))),
    }),
    async ({ p, actor, volume }, { new_type }) => {
      const type = await findVolumeType(p, actor, new_type);
      if (!type) throw badRequest(`Invalid input received: Invalid volume_type passed: ${new_type}.`);
      if (isMultiattach(type) && !volume.multiattach) {
        requireRule(p, 'volume', actor, 'volume:multiattach', { project_id: volume.projectId });
      }
      refuse(await retypeVolume(p, volume.id, type));
      return { status: 202 };
    },
  ),
  revert: action(
    'volume:revert_to_snapshot',
    object({ snapshot_id: Type.Optional(nullable(text())) }),
    async ({ p, actor, volume }, { snapshot_id }) => {
      refuse(await revertVolume(p, actor, volume.id, snapshot_id ?? null));
      return { status: 202 };
    },
    40,
  ),
  'os-reimage': action(
    'volume:reimage',
    // Also with the flag a reserved volume is refused: it is some server's.
    object({ image_id: Type.String({ format: 'uuid' }), reimage_reserved: Type.Optional(Flag) }),
    async ({ p, actor, volume }, { image_id }) => {
      refuse(await reimageVolume(p, actor, volume.id, image_id));
      return { status: 202 };
    },
    68,
  ),
  'os-force_delete': action(
    'volume_extension:volume_admin_actions:force_delete',
    Nothing,
    async ({ p, actor, volume }) => {
      refuse(await deleteVolume(p, actor, volume.id, { cascade: false, force: true }));
      return { status: 202 };
    },
  ),
  'os-set_image_metadata': action(
    'volume_extension:volume_image_metadata:set',
    object({ metadata: Metadata }),
    async (call, { metadata }) => {
      const items = await setImage(call, (now) => ({ ...now, ...metadata }));
      return { status: 200, body: { metadata: items } };
    },
  ),
  'os-unset_image_metadata': action(
    'volume_extension:volume_image_metadata:remove',
    object({ key: text() }),
    async (call, { key }) => {
      const properties = call.volume.image?.properties ?? {};
      if (!Object.hasOwn(properties, key)) throw notFound('Metadata item was not found');
      await setImage(call, (now) => Object.fromEntries(Object.entries(now).filter(([each]) => each !== key)));
      return { status: 200 };
    },
  ),
  'os-volume_upload_image': uploadImageAction,
  'os-show_image_metadata': action('volume_extension:volume_image_metadata:show', Nothing, async ({ volume }) => ({
    ...{ status: 200, body: { metadata: volume.image ? imageMetadata(volume.image) : {} } },
  })),
};

/** What an administrator may say of a volume; what attachments decide is theirs to say. */
const RESETTABLE: readonly VolumeStatus[] = ['available', 'in-use', 'error', 'error_deleting', 'maintenance'];

const wrapped = new Map(Object.entries(ACTIONS).map(([name, each]) => [name, object({ [name]: each.schema })]));

export const volumeActionRoutes: readonly Route[] = [
  route({
    ...{ method: 'POST', url: `${V3}/volumes/:id/action`, service: 'volume' },
    summary: `Act on a volume: ${Object.keys(ACTIONS).join(', ')}`,
    policy: byBody(Object.fromEntries(Object.entries(ACTIONS).map(([name, each]) => [name, each.rule]))),
    params: IdParams,
    body: Type.Object({}, { additionalProperties: true, minProperties: 1 }),
    variants: [...wrapped].map(([action, schema]) => ({ action, schema, from: ACTIONS[action]?.since ?? 0 })),
    answers: { 200: nullable(object({ metadata: Type.Optional(StringMap) })), 202: nullable(Uploading) },
    handle: async ({ p, actor, params, body, minor }) => {
      const [name, ...others] = Object.keys(body);
      const wanted = name !== undefined && Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
      const schema = wrapped.get(name ?? '');
      if (name === undefined || others.length > 0 || !wanted || wanted.since > minor || !schema) {
        throw badRequest(`There is no such action: ${(name ?? '').slice(0, 100)}`);
      }
      const checked = checkBody(schema, body) as Record<string, unknown>;
      const volume = orThrow(await volumeFor(p.stores.global, actor, params.id));
      return wanted.run({ p, actor, volume, minor }, checked[name] as never);
    },
  }),
];
