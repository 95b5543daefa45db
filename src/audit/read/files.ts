// The image files whose names belong to a slice.
import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import type { Snapshot } from '../snapshot.ts';
import { type Slice, within } from './slice.ts';

export async function readImageFiles(directory: string, slice: Slice): Promise<Snapshot['imageFiles']> {
  try {
    const files: { name: string; sizeBytes: number }[] = [];
    for await (const { name } of await opendir(directory)) {
      // By the image's id: a part of an upload is named behind a dot.
      if (!within(slice, name.split('.')[0] ?? '')) continue;
      const sizeBytes = await sizeOf(join(directory, name));
      if (sizeBytes !== null) files.push({ name, sizeBytes });
    }
    return { unreachable: null, files };
  } catch (error) {
    // Before the first upload there is no directory, and no file either.
    if (isMissing(error)) return { unreachable: null, files: [] };
    return { unreachable: messageOf(error), files: [] };
  }
}

/** Null: gone since the directory was read. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
