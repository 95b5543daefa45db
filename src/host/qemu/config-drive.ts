// A guest's config drive as a file. It is made from the specification at every start, so what is on record is what the
// guest reads, whatever became of the file meanwhile; it lies in a directory that QEMU's user could write.
import { open, rm } from 'node:fs/promises';
import { configDriveImage } from '../../model/config-drive.ts';
import type { ConfigFile } from '../contract.ts';

export async function writeConfigDrive(path: string, files: readonly ConfigFile[]): Promise<void> {
  await rm(path, { force: true });
  // x: a link or a file that is put there in between is not followed.
  const file = await open(path, 'wx', 0o444);
  try {
    await file.writeFile(configDriveImage(files));
    // Whatever the umask: QEMU runs as another user.
    await file.chmod(0o444);
  } finally {
    await file.close();
  }
}
