// Images of a Glance, mirrored here where they are used: the same records and files as images of our own.
//
// Theory of operation. Glance says what an image is (`find`, at each request that names one: its status, owner,
// visibility and properties of now), and its data is brought here once, under the same id, when a saga first needs it:
//   (no row) ── find ──> queued ── bring ──> saving ── all here and as Glance's digest says ──> active
//                          └── not used for KEEP_MS: no row        └── not used for KEEP_MS ──> deleted
// From there on the file is a base image like any other. A mirror that is `deleted` is one that nobody asked for lately: it
// goes when no server is made from it (collect.ts), and until then it still serves; Glance's word alone decides whether
// an image is offered. `image_mirrors` has a row for each image that is a mirror, with the time of its last use, so that
// images of our own, from before, are never taken for one.
// Bringing runs in the process whose saga asks first (upload.ts claims the row, limits, digests and inspects), and sagas
// wait for it by asking again (ImageOnItsWay). What went wrong is told once to the next who asks, and forgotten: the one
// after that tries anew. A process that dies leaves a row in saving, which collect.ts gives back.
// Images that are made here and sent to Glance are mirrors from their beginning: publisher.ts.
// Not handled: disk formats other than qcow2 and raw.
import { messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Glance, GlanceImage, GlanceMember } from '../../openstack/glance.ts';
import {
  CONTAINER_FORMATS,
  GUEST_FORMATS,
  type Image,
  ImageOnItsWay,
  imageOf,
  MEMBER_STATUSES,
  type Member,
  VISIBILITIES,
} from '../images.ts';
import type { Platform } from '../platform.ts';
import { createImagePublisher, digestOf, type ImagePublisher, recordMirror } from './publisher.ts';
import { isBaseAttribute } from './rules.ts';
import { receiveImage } from './upload.ts';

/** An image that no request has named for this long is not kept for its own sake. */
export const KEEP_MS = 24 * 3600_000;

export interface ImageMirror extends ImagePublisher {
  /** As Glance has it now, with what is known of its data here; null: it has none. @throws ServiceDown */
  find(p: Platform, imageId: string): Promise<Image | null>;
  /**
   * Sees to it that the data comes here; for images whose data is not here.
   * @throws ImageOnItsWay always, but Error when the last attempt failed or Glance has no such image
   */
  bring(p: Platform, imageId: string): Promise<never>;
  /** Mirrors that nobody has named for KEEP_MS are given up to collect.ts. */
  forgetUnused(p: Platform): Promise<void>;
  /** Ends what is being brought, and sent. */
  close(): Promise<void>;
}

export function createImageMirror(glance: Glance): ImageMirror {
  const underWay = new Map<string, Promise<void>>();
  const failures = new Map<string, string>();
  const closing = new AbortController();
  const { idle, ...publisher } = createImagePublisher(glance, closing.signal);

  async function find(p: Platform, imageId: string): Promise<Image | null> {
    const said = isUuid(imageId) ? await glance.find(imageId) : null;
    if (said === null || said.id !== imageId) return null;
    const members = said.visibility === 'shared' ? await glance.members(imageId) : [];
    return mirrored(p, imageFrom(said, members, p.clock.now()));
  }

  async function fetchData(p: Platform, image: Image): Promise<void> {
    const said = await glance.find(image.id);
    const digest = said && digestOf(said);
    if (!said || !digest) throw new Error('Glance has no such image, or no digest of it');
    const stream = await glance.data(image.id);
    if (stream === null) throw new Error('Glance does not give its data');
    // Whoever reads it finds out why it ends, and nobody may be reading yet.
    stream.on('error', () => undefined);
    const stop = (): void => void stream.destroy(new Error('the process stops'));
    closing.signal.addEventListener('abort', stop, { once: true });
    if (closing.signal.aborted) stop();
    try {
      const refusal = await receiveImage(p, image, { stream, declaredBytes: said.size ?? null, digest });
      // Another process was faster, and is at it.
      if (refusal && refusal.code !== 409) throw new Error(refusal.message);
    } finally {
      closing.signal.removeEventListener('abort', stop);
      stream.destroy();
    }
  }

  function begin(p: Platform, image: Image): void {
    const work = fetchData(p, image)
      .catch((error: unknown) => {
        p.log.warn({ err: error, imageId: image.id }, 'an image could not be brought from Glance');
        failures.set(image.id, messageOf(error));
      })
      .finally(() => underWay.delete(image.id));
    underWay.set(image.id, work);
  }

  return {
    ...publisher,
    find,
    async bring(p, imageId) {
      const failure = failures.get(imageId);
      failures.delete(imageId);
      if (failure !== undefined) throw new Error(`image ${imageId} cannot be brought from Glance: ${failure}`);
      if (!underWay.has(imageId)) {
        const known = (await rowOf(p, imageId)) ?? (await find(p, imageId));
        if (!known) throw new Error(`Glance has no image ${imageId}`);
        const row = await rowOf(p, imageId);
        if (row?.status === 'queued' && !closing.signal.aborted && !underWay.has(imageId)) begin(p, row);
      }
      throw new ImageOnItsWay(imageId);
    },
    forgetUnused,
    async close() {
      closing.abort();
      await Promise.all([...underWay.values(), idle()]);
    },
  };
}

async function rowOf(p: Platform, imageId: string): Promise<Image | null> {
  const row = await p.stores.global.selectFrom('images').selectAll().where('id', '=', imageId).executeTakeFirst();
  return row ? imageOf(row) : null;
}

/** Writes down that the image is used now, and adds what is known of its data here. */
async function mirrored(p: Platform, image: Image): Promise<Image> {
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    await recordMirror(trx, image, now);
    // One that was given up has its full time of grace again.
    const touched = { updated_at: now };
    await trx.updateTable('images').set(touched).where('id', '=', image.id).where('status', '=', 'deleted').execute();
  });
  const row = await rowOf(p, image.id);
  const { sizeBytes, virtualBytes, md5, sha256, sha512 } = row ?? image;
  return { ...image, sizeBytes, virtualBytes: virtualBytes ?? image.virtualBytes, md5, sha256, sha512 };
}

async function forgetUnused(p: Platform): Promise<void> {
  const now = p.clock.now();
  const unused = p.stores.global
    .selectFrom('image_mirrors')
    .select('image_id')
    .where('used_at', '<', now - KEEP_MS);
  await p.stores.global
    .updateTable('images')
    .set({ status: 'deleted', updated_at: now })
    .where('id', 'in', unused)
    .where('status', '=', 'active')
    .execute();
  await p.stores.global.deleteFrom('images').where('id', 'in', unused).where('status', '=', 'queued').execute();
}

/** Glance's word in ours. An image that is not active there (queued, deactivated, …) is one without data here. */
function imageFrom(said: GlanceImage, members: readonly GlanceMember[], now: number): Image {
  const visibility = VISIBILITIES.find((each) => each === said.visibility) ?? 'private';
  return {
    ...{ id: said.id, name: said.name ?? null, status: said.status === 'active' ? 'active' : 'queued', visibility },
    ...{ owner: said.owner ?? '', diskFormat: GUEST_FORMATS.find((each) => each === said.disk_format) ?? null },
    ...{ containerFormat: CONTAINER_FORMATS.find((each) => each === said.container_format) ?? null, sizeBytes: null },
    ...{ virtualBytes: said.virtual_size ?? null, md5: null, sha256: null, sha512: null },
    ...{ minDiskGb: said.min_disk, minRamMb: said.min_ram, protected: said.protected },
    ...{ hidden: said.os_hidden ?? false, properties: propertiesOf(said), tags: said.tags },
    members: Object.fromEntries(members.map((each) => [each.member_id, memberFrom(each, now)])),
    ...{ createdAt: timeOf(said.created_at, now), updatedAt: timeOf(said.updated_at, now) },
  };
}

const memberFrom = ({ status, created_at, updated_at }: GlanceMember, now: number): Member => ({
  status: MEMBER_STATUSES.find((each) => each === status) ?? 'pending',
  ...{ createdAt: timeOf(created_at, now), updatedAt: timeOf(updated_at, now) },
});

const timeOf = (text: string, otherwise: number): number => {
  const time = Date.parse(text);
  return Number.isNaN(time) ? otherwise : time;
};

/** Properties of Glance's own (os_glance_…) say nothing about the image. */
const propertiesOf = (said: GlanceImage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(said).filter(
      (entry): entry is [string, string] =>
        typeof entry[1] === 'string' && !isBaseAttribute(entry[0]) && !entry[0].startsWith('os_glance'),
    ),
  );
