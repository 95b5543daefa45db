// Sends a disk's file to the image service, piece by piece, as long as it goes on.
import { constants } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { sendBytes } from '../upload.ts';
import { openUntrusted } from './privileges.ts';
import { withWatchdog } from './watchdog.ts';

export interface FileSending {
  readonly url: string;
  readonly secret: string;
  readonly clock: Clock;
  /** Sending without progress is given up after this time, ms. */
  readonly stallMs: number;
}

const PIECE_BYTES = 1024 * 1024;

/** The file is at that URL. HypervisorError when it is not there, or not taken. */
export async function sendFile(
  path: string,
  { url, secret, clock, stallMs }: FileSending,
  job: JobControl,
): Promise<void> {
  const file = await openUntrusted(path, constants.O_RDONLY);
  if (file === null) throw new HypervisorError('the file to be sent is not there');
  try {
    const { size } = await file.stat();
    let done = 0;
    const pieces = async function* () {
      while (done < size) {
        const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, size - done));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, done);
        if (bytesRead === 0) throw new HypervisorError('the file to be sent became shorter');
        done += bytesRead;
        job.progress(done, size);
        yield buffer.subarray(0, bytesRead);
      }
    };
    await withWatchdog(
      clock,
      stallMs,
      job.signal,
      () => String(done),
      (signal) => sendBytes(pieces(), { url, secret, sizeBytes: size, signal }),
    );
  } finally {
    await file.close();
  }
}
