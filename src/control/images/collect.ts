// Giving back the room of images that nobody needs any more, and of uploads that died.
//
// Theory of operation. Called again and again by the periodic work. Three kinds of remains:
// - rows in saving that were not renewed for STALLED_MS: their process died; they return to queued;
// - deleted images: when every cell has been asked and none has a server that names the image, row and file go. A cell
//   that is down may have one, so then nothing of that round goes. Nor does an image go whose id an unfinished saga
//   carries: a server or a volume is being made of it. Whoever makes one looks its image up first and has a saga a moment
//   later; GRACE_MS lies between, so that it is seen;
// - files that no row accounts for (parts of dead uploads, a file whose row never became active): they go when they are
//   older than STALLED_MS.
// A file goes before its row, so that a crash between the two leaves a row that brings us back here. Two processes may
// do all this at once: every step is harmless when repeated.
import { sql } from 'kysely';
import { isUuid } from '../../lib/ids.ts';
import { CellDown } from '../../store/stores.ts';
import type { Platform } from '../platform.ts';
import { type ImageFiles, imageFilesOf } from './files.ts';
import { PART_SUFFIX, STALLED_MS } from './upload.ts';

/** How long a deleted image stays at least. */
export const GRACE_MS = 10 * 60_000;
/** Deleted images looked at in one round (the rest has its turn in a later one), and files looked up at once. */
const BATCH = 50;

export interface Collection {
  /** Deleted images whose file and row are gone now. */
  readonly removed: readonly string[];
  /** Images that were being uploaded by a dead process and wait for data again. */
  readonly requeued: readonly string[];
  /** Names of files without an owner that are gone now. */
  readonly swept: readonly string[];
}

/** One round; see above. Never throws for a cell that is down. */
export async function collectUnusedImages(p: Platform): Promise<Collection> {
  const requeued = await requeueStalled(p, STALLED_MS);
  await p.imageMirror?.forgetUnused(p);
  const removed = await removeUnused(p);
  const swept = await sweepFiles(p, STALLED_MS);
  return { removed, requeued, swept };
}

/**
 * Ends what the uploads of a process that died left behind, without waiting. Only for the start of a control plane that
 * is alone on its databases, before it takes requests: any upload that is recorded is dead then.
 */
export async function forgetUploads(p: Platform): Promise<Pick<Collection, 'requeued' | 'swept'>> {
  return { requeued: await requeueStalled(p, 0), swept: await sweepFiles(p, 0) };
}

async function requeueStalled(p: Platform, stalledMs: number): Promise<string[]> {
  const now = p.clock.now();
  // By a clock that was put forward since then, uploads that go on may look as if they had stalled.
  if (now - (p.clock.steadySince?.() ?? 0) < stalledMs) return [];
  const rows = await p.stores.global
    .updateTable('images')
    .set({ status: 'queued', updated_at: now })
    .where('status', 'in', ['saving', 'uploading'])
    // What has been staged waits to be imported.
    .where('size_bytes', 'is', null)
    .where('updated_at', '<=', now - stalledMs)
    .returning('id')
    .execute();
  for (const { id } of rows) {
    p.log.warn({ imageId: id }, 'an image upload ended without a word; the image is queued again');
  }
  return rows.map((row) => row.id);
}

async function removeUnused(p: Platform): Promise<string[]> {
  const doomed = await p.stores.global
    .selectFrom('images')
    .select('id')
    .where('status', '=', 'deleted')
    .where('updated_at', '<', p.clock.now() - GRACE_MS)
    .orderBy('updated_at')
    .limit(BATCH)
    .execute();
  if (doomed.length === 0) return [];
  const used = await usedImages(
    p,
    doomed.map((row) => row.id),
  );
  if (used === 'unknown') return [];
  const removed: string[] = [];
  for (const { id } of doomed) {
    if (used.has(id)) continue;
    await imageFilesOf(p).remove(id);
    await p.stores.global.deleteFrom('images').where('id', '=', id).where('status', '=', 'deleted').execute();
    p.log.info({ imageId: id }, 'a deleted image is not used any more; its file is gone');
    removed.push(id);
  }
  // Those that are still used go to the end of the queue, so that a full batch of them does not hide the others.
  const kept = doomed.map((row) => row.id).filter((id) => used.has(id));
  if (doomed.length === BATCH && kept.length > 0) {
    const touched = { updated_at: p.clock.now() };
    await p.stores.global
      .updateTable('images')
      .set(touched)
      .where('id', 'in', kept)
      .where('status', '=', 'deleted')
      .execute();
  }
  return removed;
}

/** Which of the images a server in any cell was made from; `unknown` when a cell cannot be asked. */
async function usedImages(p: Platform, imageIds: readonly string[]): Promise<Set<string> | 'unknown'> {
  const used = await usedBySagas(p, imageIds);
  const cells = await p.stores.global.selectFrom('cells').select('id').execute();
  for (const { id: cellId } of cells) {
    const found = await usedInCell(p, cellId, imageIds);
    if (found === 'down') return 'unknown';
    for (const id of found) used.add(id);
  }
  return used;
}

/** Those of which something is being made. */
async function usedBySagas(p: Platform, imageIds: readonly string[]): Promise<Set<string>> {
  const used = new Set<string>();
  for (const id of imageIds) {
    const saga = await p.stores.global
      .selectFrom('sagas')
      .select('id')
      // Written out, for the index over unfinished sagas.
      .where(sql<boolean>`status in ('active', 'stuck')`)
      .where('state_json', 'like', `%${id}%`)
      .limit(1)
      .executeTakeFirst();
    if (saga) used.add(id);
  }
  return used;
}

async function usedInCell(p: Platform, cellId: string, imageIds: readonly string[]): Promise<string[] | 'down'> {
  try {
    const cell = await p.stores.cell(cellId);
    const found: string[] = [];
    for (const id of imageIds) {
      // By text, which any way of writing the JSON satisfies; a chance mention elsewhere in it only keeps the file.
      const server = await cell
        .selectFrom('servers')
        .select('id')
        .where((eb) => eb.or([eb('image_json', 'like', `%${id}%`), eb('shelved_image_id', '=', id)]))
        .where('deleted_at', 'is', null)
        .limit(1)
        .executeTakeFirst();
      if (server) found.push(id);
    }
    return found;
  } catch (error) {
    if (!(error instanceof CellDown)) throw error;
    p.log.warn({ err: error, cellId }, 'a cell is down; deleted images are kept until it can be asked');
    return 'down';
  }
}

interface ImageFileName {
  readonly name: string;
  readonly id: string;
  readonly isPart: boolean;
}

/** What does not look like ours is not ours to delete. */
function parseFileName(name: string): ImageFileName[] {
  const [id = '', ...rest] = name.split('.');
  const isPart = rest.length === 2 && name.endsWith(PART_SUFFIX);
  return isUuid(id) && (rest.length === 0 || isPart) ? [{ name, id, isPart }] : [];
}

async function sweepFiles(p: Platform, olderThanMs: number): Promise<string[]> {
  const directory = imageFilesOf(p);
  const files: ImageFileName[] = [];
  for await (const name of directory.names()) files.push(...parseFileName(name));
  const swept: string[] = [];
  for (let at = 0; at < files.length; at += BATCH) {
    const batch = files.slice(at, at + BATCH);
    // Looked at before the rows: a file that appears in between is too young.
    const old = new Set<string>();
    for (const { name } of batch) if (await isOld(p, directory, name, olderThanMs)) old.add(name);
    const ids = batch.map((file) => file.id);
    const rows = await p.stores.global.selectFrom('images').select(['id', 'status']).where('id', 'in', ids).execute();
    const statuses = new Map(rows.map((row) => [row.id, row.status]));
    for (const { name, id, isPart } of batch) {
      const status = statuses.get(id);
      const isOwned = isPart
        ? status === 'saving' || status === 'uploading'
        : status !== undefined && status !== 'queued';
      if (isOwned || !old.has(name)) continue;
      await directory.remove(name);
      p.log.warn({ file: name }, 'an image file without an owner is gone');
      swept.push(name);
    }
  }
  return swept;
}

async function isOld(p: Platform, directory: ImageFiles, name: string, olderThanMs: number): Promise<boolean> {
  const file = await directory.look(name);
  // Gone since the directory was read: another process sweeps too.
  return file !== null && p.clock.now() - file.modifiedAt >= olderThanMs;
}
