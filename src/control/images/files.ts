// The files in which the bytes of images are, as who looks after them sees them: named <image id>, or
// <image id>.<…>.part while they are uploaded. Uploads and downloads of users and hosts go to the directory themselves;
// a simulated world has no files at all.
import { createReadStream } from 'node:fs';
import { opendir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Platform } from '../platform.ts';

export interface ImageFile {
  readonly sizeBytes: number;
  /** When it was last written to, ms since the epoch. */
  readonly modifiedAt: number;
}

export interface ImageFiles {
  /** Names of all, in no order. */
  names(): AsyncIterable<string>;
  /** Null: there is no such file (any more). */
  look(name: string): Promise<ImageFile | null>;
  /** Its bytes; throws as they are read when there is no such file. */
  read(name: string): AsyncIterable<Uint8Array>;
  /** One that is not there is no error. */
  remove(name: string): Promise<void>;
}

/** Those of this control plane. */
export const imageFilesOf = (p: Platform): ImageFiles => p.imageFiles ?? filesIn(p.settings.imageDirectory);

const filesIn = (directory: string): ImageFiles => ({
  async *names() {
    try {
      for await (const { name } of await opendir(directory)) yield name;
    } catch (error) {
      // Before the first upload there is no directory, and no file either.
      if (!isMissing(error)) throw error;
    }
  },
  async look(name) {
    try {
      const { size, mtimeMs } = await stat(join(directory, name));
      return { sizeBytes: size, modifiedAt: mtimeMs };
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
  read: (name) => createReadStream(join(directory, name)),
  remove: (name) => rm(join(directory, name), { force: true }),
});

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
