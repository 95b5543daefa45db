// The image files of a simulated world: in memory, so that no time but the world's passes and nothing is left behind.
import type { ImageFile, ImageFiles } from '../control/images/files.ts';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';

export class SimImages implements ImageFiles {
  readonly #files = new Map<string, ImageFile & { readonly bytes: Uint8Array }>();

  /** A file of that name has these bytes from now on. */
  write(name: string, bytes: Uint8Array, clock: Clock): void {
    this.#files.set(name, { bytes, sizeBytes: bytes.length, modifiedAt: clock.now() });
  }

  async *names(): AsyncIterable<string> {
    yield* this.#files.keys();
  }

  async look(name: string): Promise<ImageFile | null> {
    return this.#files.get(name) ?? null;
  }

  async *read(name: string): AsyncIterable<Uint8Array> {
    const file = this.#files.get(name);
    invariant(file, `there is no image file ${name}`);
    yield file.bytes;
  }

  async remove(name: string): Promise<void> {
    this.#files.delete(name);
  }

  /** What another world begins with. */
  copy(): SimImages {
    const copy = new SimImages();
    for (const [name, file] of this.#files) copy.#files.set(name, file);
    return copy;
  }
}
