// What this machine can run: real guests on QEMU with the journal-keeping image, or simulated ones.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { whyNoGuests } from '../../../guest/run.ts';
import { ensureGuestImage } from '../guest-image.ts';
import { DemoError } from './place.ts';

export type Means =
  | { readonly hypervisor: 'qemu'; readonly image: string }
  /** `reason`: why it is not QEMU; null when simulated hosts were asked for. */
  | { readonly hypervisor: 'simulated'; readonly reason: string | null };

/** @throws DemoError when QEMU was asked for and cannot be had */
export async function findMeans(wanted: 'qemu' | 'simulated' | undefined, say: (line: string) => void): Promise<Means> {
  if (wanted === 'simulated') return { hypervisor: 'simulated', reason: null };
  let reason = await whyNoGuests();
  if (reason === null) {
    let last = 'for no known reason';
    const image = await ensureGuestImage((line) => {
      last = line;
      say(`guest image: ${line}`);
    });
    if (image !== null) return { hypervisor: 'qemu', image };
    reason = last;
  }
  if (wanted === 'qemu') throw new DemoError(`no guest can run on QEMU here: ${reason}`);
  return { hypervisor: 'simulated', reason };
}

/** Simulated guests boot anything: a small raw disk will do. */
export async function makeRawImage(directory: string): Promise<string> {
  const file = join(directory, 'tmp', 'disk.raw');
  await writeFile(file, Buffer.alloc(2 ** 20, 'a disk for simulated guests\n'));
  return file;
}
