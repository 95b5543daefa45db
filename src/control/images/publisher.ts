// Images that are made here and belong into a Glance: announced, recorded, sent, and taken away again.
//
// Theory of operation. The image is made in Glance (queued, its project's) before its record here, so that whoever asked
// for it finds it there. Its data comes here first, by the code that takes in uploads to our own images, and the file is
// that of a mirror from then on (mirror.ts): servers are made from it without another download, and it can be sent as
// often as it takes without its host. It is sent by the process whose saga asks first; sagas wait by asking again. What
// went wrong is told once to the next who asks, and forgotten: the one after that tries anew. Glance's own word ends the
// waiting: the image is active there, with the digest of the file here. What must go from Glance is on record
// (glance-writes.ts) and settled when a saga ends, or by the monitor when Glance is back.
// A process that dies as it sends leaves an image that Glance makes queued again when its connection breaks.
import { Readable } from 'node:stream';
import type { Transaction } from 'kysely';
import { messageOf } from '../../lib/errors.ts';
import type { Refusal } from '../../model/types.ts';
import type { BackupsOf, Glance, GlanceImage } from '../../openstack/glance.ts';
import { type Payload, ServiceDown } from '../../openstack/transport.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Image, imageOf } from '../images.ts';
import type { Platform } from '../platform.ts';
import { imageFilesOf } from './files.ts';
import { announceWrite, dueWrites, type GlanceWrite, settledWrite, unwantedInGlance } from './glance-writes.ts';
import { rowOf } from './records.ts';
import type { ExpectedDigest } from './upload.ts';

/** How long an image may be in Glance before it is recorded here. */
const GRACE_MS = 10 * 60_000;
/** Images that are taken from Glance in one round. */
const BATCH = 50;

export type Published =
  | { readonly kind: 'there' }
  | { readonly kind: 'on its way' }
  | { readonly kind: 'failed'; readonly reason: string; readonly final: boolean };

export interface PublishWish {
  /** It is to have no data: it says all by its properties. */
  readonly isEmpty?: boolean;
  /** Nobody is to delete it when it is there. */
  readonly protect?: boolean;
}

export interface ImagePublisher {
  /**
   * Makes the queued image in Glance, not protected yet; refused in its words. Who does not record it then gives it up.
   * @throws ServiceDown
   */
  announce(p: Platform, image: Image, requestId: string): Promise<Refusal | null>;
  /**
   * Sees to it that Glance has the data of the image, which is here. Asked again until it is not on its way.
   * @throws ServiceDown
   */
  publish(p: Platform, imageId: string, wish?: PublishWish): Promise<Published>;
  /**
   * Ids of the server's backups in Glance but for the `keep` youngest; protected ones stay, and count.
   * @throws ServiceDown
   */
  oldBackups(of: BackupsOf, keep: number): Promise<readonly string[]>;
  /** What is to go from Glance goes, as far as it can now. */
  settle(p: Platform): Promise<void>;
}

/** The image is a mirror of Glance's: queued, if it is new here. Until its data comes it is what is said of it now. */
export async function recordMirror(trx: Transaction<GlobalTables>, image: Image, now: number): Promise<void> {
  const row = { ...rowOf(image), status: 'queued', size_bytes: null, virtual_bytes: null, updated_at: now };
  await trx
    .insertInto('images')
    .values(row)
    .onConflict((any) => any.doNothing())
    .execute();
  const { id, created_at: _created, ...said } = row;
  const mirrors = trx.selectFrom('image_mirrors').select('image_id').where('image_id', '=', id);
  await trx.updateTable('images').set(said).where('id', 'in', mirrors).where('status', '=', 'queued').execute();
  await trx
    .insertInto('image_mirrors')
    .values({ image_id: id, used_at: now })
    .onConflict((any) => any.column('image_id').doUpdateSet({ used_at: now }))
    .execute();
}

/** The digest to hold the data against: the one that Glance was configured to make, or the older MD5. */
export function digestOf(said: GlanceImage): ExpectedDigest | null {
  const { os_hash_algo: algorithm, os_hash_value: value, checksum } = said;
  if ((algorithm === 'sha512' || algorithm === 'sha256') && value) return { algorithm, value };
  return checksum ? { algorithm: 'md5', value: checksum } : null;
}

/** @param closing ends what is being sent */
export function createImagePublisher(
  glance: Glance,
  closing: AbortSignal,
): ImagePublisher & { idle(): Promise<unknown> } {
  const underWay = new Map<string, Promise<void>>();
  const failures = new Map<string, Published>();

  async function send(p: Platform, imageId: string, sizeBytes: number): Promise<void> {
    const payload: Payload = {
      ...{ sizeBytes, signal: closing },
      bytes: () => (sizeBytes === 0 ? Readable.from([]) : imageFilesOf(p).read(imageId)),
    };
    const said = await glance.upload(imageId, payload);
    if (said.kind === 'refused') failures.set(imageId, failedBy(said));
  }

  function begin(p: Platform, imageId: string, sizeBytes: number): void {
    const work = send(p, imageId, sizeBytes)
      .catch((error: unknown) => {
        p.log.warn({ err: error, imageId }, 'an image could not be sent to Glance');
        failures.set(imageId, failed(messageOf(error)));
      })
      .finally(() => underWay.delete(imageId));
    underWay.set(imageId, work);
  }

  async function remove(p: Platform, { imageId, fate }: GlanceWrite): Promise<void> {
    if (fate !== 'unwanted' && hasItsData(await glance.find(imageId))) {
      await settledWrite(p, imageId, fate);
      return;
    }
    const said = await glance.remove(imageId);
    if (said.kind === 'refused') {
      p.log.warn({ imageId }, `an image stays in Glance: ${said.message}`);
      // In use there (409): later. Else its owner or an operator has a reason, such as its protection.
      if (said.status === 409) return;
    }
    await settledWrite(p, imageId, fate);
  }

  return {
    async announce(p, image, requestId) {
      await announceWrite(p, image.id);
      const said = await glance.create(image, requestId);
      if (said.kind === 'ok') return null;
      await settledWrite(p, image.id, 'making');
      return { code: codeOf(said.status), message: said.message };
    },
    async publish(p, imageId, { isEmpty = false, protect = false } = {}) {
      const failure = failures.get(imageId);
      failures.delete(imageId);
      if (failure) return failure;
      if (underWay.has(imageId)) return ON_ITS_WAY;
      const said = await glance.find(imageId);
      if (said === null) return DELETED;
      const row = await p.stores.global.selectFrom('images').selectAll().where('id', '=', imageId).executeTakeFirst();
      if (!row) return DELETED;
      const here = imageOf(row);
      switch (said.status) {
        case 'active':
        case 'deactivated': {
          const digest = digestOf(said);
          if (digest && !isEmpty && here[digest.algorithm] !== digest.value.toLowerCase()) {
            return { kind: 'failed', reason: 'Glance has other data for the image', final: true };
          }
          if (protect && !said.protected) {
            const protecting = await glance.protect(imageId);
            if (protecting.kind === 'refused') return failed(`Glance does not protect it: ${protecting.message}`);
          }
          await settledWrite(p, imageId, 'making');
          return { kind: 'there' };
        }
        case 'queued': {
          const sizeBytes = isEmpty ? 0 : here.sizeBytes;
          if (sizeBytes === null) return failed('the data is not here');
          if (!underWay.has(imageId) && !closing.aborted) begin(p, imageId, sizeBytes);
          return ON_ITS_WAY;
        }
        default:
          // Such as saving: somebody else is at it, or was and has died.
          return failed(`the image is ${said.status} in Glance`);
      }
    },
    async oldBackups(of, keep) {
      const old = (await glance.backups(of)).slice(keep);
      return old.filter((each) => !each.protected).map(({ id }) => id);
    },
    async settle(p) {
      for (const write of await dueWrites(p, p.clock.now() - GRACE_MS, BATCH)) {
        try {
          await remove(p, write);
        } catch (error) {
          if (!(error instanceof ServiceDown)) throw error;
          p.log.warn({ err: error, imageId: write.imageId }, 'Glance is away; what is to go from it is owed');
          return;
        }
      }
    },
    idle: () => Promise.all(underWay.values()),
  };
}

const hasItsData = (said: GlanceImage | null): boolean => said?.status === 'active' || said?.status === 'deactivated';

const ON_ITS_WAY: Published = { kind: 'on its way' };
const DELETED: Published = { kind: 'failed', reason: 'the image has been deleted', final: true };
const failed = (reason: string): Published => ({ kind: 'failed', reason, final: false });

/** 409 and 410: it is not queued any more, which the next look tells. */
const failedBy = ({ status, message }: { readonly status: number; readonly message: string }): Published => ({
  ...{ kind: 'failed', reason: `Glance refuses the data: ${message}`, final: status !== 409 && status !== 410 },
});

function codeOf(status: number): Refusal['code'] {
  return status === 403 || status === 409 || status === 413 ? status : 400;
}

/** An image that was announced is not to be after all. */
export async function giveUpAnnounced(p: Platform, imageId: string): Promise<void> {
  if (!p.imageMirror) return;
  await p.stores.global.transaction().execute((trx) => unwantedInGlance(trx, [imageId], p.clock.now()));
  await p.imageMirror.settle(p);
}
