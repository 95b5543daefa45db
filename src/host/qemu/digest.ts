// SHA-256 of a disk file, hour-long files included: read in pieces, told progress, ended by an abort.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { openUntrusted } from './privileges.ts';

/** One piece blocks the agent's other work for about a millisecond. */
const PIECE_BYTES = 1024 * 1024;

/** Digest of the file's bytes, holes read as zeros, in lower-case hexadecimal. */
export async function sha256File(path: string, job: JobControl): Promise<string> {
  const file = await openUntrusted(path, constants.O_RDONLY);
  if (file === null) throw new HypervisorError('the disk is not there');
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    let done = 0;
    for (;;) {
      job.signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, done);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
      done += bytesRead;
      job.progress(done, size);
    }
  } finally {
    await file.close();
  }
}
