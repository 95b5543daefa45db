// Receiving the data of an image.
//
// Theory of operation. The row is claimed (queued → saving) by one compare-and-set, so that one upload works on an image
// at a time. Bytes go to <id>.<nonce>.part, counted and digested on the way; when all are there and the content is what
// it is declared to be, the file is synced and renamed to <id>, and one compare-and-set makes the row active. Whatever
// goes wrong, the part file goes and the row returns to queued.
//
// While saving, `updated_at` is the upload's own: it is renewed every RENEW_MS and is the fence of every write to the row,
// so that an upload whose row was deleted, or taken back because it stood still for STALLED_MS (images/collect.ts), ends
// without effect. Between the last renewal and the rename lie milliseconds, between the renewal and a taking back
// minutes: that the two meet is not handled. A process that dies leaves a part file and a row in saving; both are
// cleaned up by collect.ts.
import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { syncDirectory } from '../../host/record-files.ts';
import { messageOf } from '../../lib/errors.ts';
import { detectFormat, HEAD_BYTES } from '../../model/image-format.ts';
import { judgeImage } from '../../model/qcow2.ts';
import { type Refused, refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { type DiskFormat, findImage, guestFormatOf, type Image, imageFile, mayChange, maySee } from '../images.ts';
import type { Platform } from '../platform.ts';
import { inspectQcow2 } from './inspect.ts';
import { type Claim, claimRow, type Purpose, type Received, type Watch, watchOver } from './upload-claim.ts';

/** Largest virtual size of an image: 16 TiB, what an ext4 file system takes as one file. */
export const MAX_VIRTUAL_BYTES = 16 * 1024 ** 4;
/** A saving row that was not renewed for this long belongs to no living upload. */
export const STALLED_MS = 10 * 60_000;
/** Suffix of files that are being received. */
export const PART_SUFFIX = '.part';

export interface Upload {
  readonly stream: Readable;
  /** The Content-Length; null: not said (chunked). */
  readonly declaredBytes: number | null;
  /** What the data must come to; absent: whatever it is. */
  readonly digest?: ExpectedDigest;
  /** Whether bytes that are no disk at all are kept as an image of no guest, although they are declared as qcow2. */
  readonly keepsAnything?: boolean;
}

export interface ExpectedDigest {
  readonly algorithm: 'sha512' | 'sha256' | 'md5';
  /** Hexadecimal. */
  readonly value: string;
}

/**
 * Receives, judges and stores the data of a queued image; null: it is active now. As in Glance bytes that are no disk may
 * be called qcow2: nothing but qcow2 will ever read them as one, and no server is made from them (`isForGuests`).
 * Refused: 404 not seen by the actor, 403 not the actor's, 409 not queued, 413 too large or no room, 400 content that is
 * not what it is declared to be, or an upload that ended early. The stream is left as it is, perhaps not read to its end.
 */
export async function uploadImage(p: Platform, actor: Actor, imageId: string, upload: Upload): Promise<Refusal | null> {
  const image = await findImage(p, imageId);
  if (!image || !maySee(actor, image)) return { code: 404, message: `No image found with ID ${imageId}` };
  if (!mayChange(actor, image))
    return { code: 403, message: 'You are not authorized to complete upload_image action.' };
  return receiveImage(p, image, { ...upload, keepsAnything: true });
}

/**
 * The same for whoever may write the image's data.
 * @param purpose `uploading`: the data is staged; the image is active when it is imported (members.ts beside this has that)
 */
export async function receiveImage(
  p: Platform,
  image: Image,
  upload: Upload,
  purpose: Purpose = 'saving',
): Promise<Refusal | null> {
  const { id: imageId, diskFormat } = image;
  if (diskFormat === null || image.containerFormat === null)
    return {
      code: 400,
      message: 'The properties disk_format and container_format must be set before data is uploaded.',
    };
  if (upload.declaredBytes !== null && upload.declaredBytes > p.settings.maxImageBytes) return tooLarge(p);
  const claim = await claimRow(p, image, purpose);
  if (!claim) {
    return { code: 409, message: `Image status transition from ${image.status} to ${purpose} is not allowed` };
  }

  const part = `${imageFile(p, imageId)}.${randomBytes(8).toString('hex')}${PART_SUFFIX}`;
  let stored = false;
  try {
    await mkdir(p.settings.imageDirectory, { recursive: true, mode: 0o700 });
    const received = await receive(p, upload, diskFormat, part, claim);
    if (received.kind === 'refused') return received.refusal;
    const { digest } = upload;
    if (digest && received[digest.algorithm] !== digest.value.toLowerCase())
      return badContent(`Its ${digest.algorithm} digest is not ${digest.value}.`);
    const bad =
      diskFormat === 'qcow2' && received.virtualBytes !== null ? await inspectQcow2(part, received.virtualBytes) : null;
    if (bad !== null) return badContent(bad);
    const refusal = await store(p, claim, part, received);
    stored = refusal === null;
    return refusal;
  } finally {
    if (!stored) {
      await rm(part, { force: true });
      await claim.giveBack();
    }
  }
}

const UNJUDGED = { ok: true, virtualBytes: null } as const;

type Reception = Received | Refused;

const badContent = (reason: string): Refusal => ({ code: 400, message: `The image data is not accepted. ${reason}` });
const tooLarge = (p: Platform): Refusal => ({
  code: 413,
  message: `The image data is larger than ${p.settings.maxImageBytes} bytes, the most that one image may have.`,
});

/** Writes the bytes to the part file and judges them. */
async function receive(
  p: Platform,
  upload: Upload,
  declared: DiskFormat,
  part: string,
  claim: Claim,
): Promise<Reception> {
  const file = await open(part, 'wx', 0o600);
  const watch = watchOver(p, upload.stream, claim);
  try {
    return await receiveInto(p, file, upload, declared, watch);
  } catch (error) {
    if (error instanceof UploadLost) return refused({ code: 400, message: error.message });
    if (isNoRoom(error)) return refused({ code: 413, message: 'There is not enough room to store the image data.' });
    throw error;
  } finally {
    await watch.end();
    await file.close();
  }
}

async function receiveInto(
  p: Platform,
  file: FileHandle,
  upload: Upload,
  declared: DiskFormat,
  watch: Watch,
): Promise<Reception> {
  const hashes = { md5: createHash('md5'), sha256: createHash('sha256'), sha512: createHash('sha512') };
  const head = Buffer.alloc(HEAD_BYTES);
  let size = 0;
  let headJudged = false;
  const format = guestFormatOf(declared);
  const judge = (fileBytes: number) => {
    const start = head.subarray(0, Math.min(size, HEAD_BYTES));
    const isNoDisk = format === 'qcow2' && size > 0 && detectFormat(start) === 'raw';
    // What no guest can have reaches no hypervisor, and is kept as it is.
    if (format === null || (upload.keepsAnything && isNoDisk)) return UNJUDGED;
    return judgeImage(start, { declared: format, fileBytes, maxVirtualBytes: MAX_VIRTUAL_BYTES });
  };

  for await (const chunk of bytesOf(upload, watch)) {
    watch.seen();
    if (size < HEAD_BYTES) chunk.copy(head, size, 0, Math.min(chunk.length, HEAD_BYTES - size));
    size += chunk.length;
    if (size > p.settings.maxImageBytes) return refused(tooLarge(p));
    // Where the length is known, a bad image is refused as soon as its head is here, not after hours of upload.
    if (!headJudged && size >= HEAD_BYTES && upload.declaredBytes !== null) {
      headJudged = true;
      const early = judge(upload.declaredBytes);
      if (!early.ok) return refused(badContent(early.reason));
    }
    for (const hash of Object.values(hashes)) hash.update(chunk);
    await file.writeFile(chunk);
  }
  if (upload.declaredBytes !== null && size !== upload.declaredBytes) throw new UploadLost(size, upload.declaredBytes);
  const judgement = judge(size);
  if (!judgement.ok) return refused(badContent(judgement.reason));
  await file.sync();
  return {
    kind: 'received',
    sizeBytes: size,
    virtualBytes: judgement.virtualBytes,
    md5: hashes.md5.digest('hex'),
    sha256: hashes.sha256.digest('hex'),
    sha512: hashes.sha512.digest('hex'),
  };
}

/** The upload ended before its end. */
class UploadLost extends Error {
  override readonly name = 'UploadLost';
  constructor(received: number, declared: number | null, reason = '') {
    const expected = declared === null ? '' : ` of the ${declared} that Content-Length announced`;
    super(`The upload ended early: ${received} bytes${expected} were received.${reason === '' ? '' : ` ${reason}`}`);
  }
}

/** The chunks of the stream. Leaving the loop does not destroy the stream: an answer must still be sent over it. */
async function* bytesOf({ stream, declaredBytes }: Upload, watch: Watch): AsyncGenerator<Buffer> {
  let received = 0;
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      received += chunk.length;
      yield chunk;
    }
  } catch (error) {
    // The stream's own errors only: those of the loop that takes the chunks do not pass through here.
    throw new UploadLost(received, declaredBytes, watch.reason ?? `(${messageOf(error)})`);
  }
}

const isNoRoom = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String(error.code));

/** Gives the file its name and the row its data. */
async function store(p: Platform, claim: Claim, part: string, data: Received): Promise<Refusal | null> {
  const lost: Refusal = { code: 404, message: `Image ${claim.imageId} was deleted during the upload.` };
  if (!(await claim.renew())) return lost;
  const file = imageFile(p, claim.imageId);
  await rename(part, file);
  await syncDirectory(p.settings.imageDirectory);
  if (await claim.activate(data)) return null;
  await rm(file, { force: true });
  return lost;
}
