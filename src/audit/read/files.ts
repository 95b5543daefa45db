// The image files whose names belong to a slice.
import type { ImageFiles } from '../../control/images/files.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Snapshot } from '../snapshot.ts';
import { type Slice, within } from './slice.ts';

export async function readImageFiles(directory: ImageFiles, slice: Slice): Promise<Snapshot['imageFiles']> {
  try {
    const files: { name: string; sizeBytes: number }[] = [];
    for await (const name of directory.names()) {
      // By the image's id: a part of an upload is named behind a dot.
      if (!within(slice, name.split('.')[0] ?? '')) continue;
      // Null: gone since the directory was read.
      const file = await directory.look(name);
      if (file !== null) files.push({ name, sizeBytes: file.sizeBytes });
    }
    return { unreachable: null, files };
  } catch (error) {
    return { unreachable: messageOf(error), files: [] };
  }
}
