// Copies of disks by `qemu-img convert`, ended when they do not get on.
//
// Theory of operation. A copy gets on as long as its file grows or qemu-img's own percentage does: long runs of zeros move
// the percentage alone, and the last percent may be much.
import type { Clock } from '../../lib/clock.ts';
import type { DiskTools } from './disk.ts';
import { allocatedBytes } from './disk-files.ts';
import { run } from './tools.ts';
import { withWatchdog } from './watchdog.ts';

/** A copy without progress is given up after `stallMs`. */
export type CopyTools = DiskTools & { readonly clock: Clock; readonly stallMs: number };

/** @param args of qemu-img, with `-p`. @param path the file that grows. @param written is told how far it has. */
export async function runConvert(
  tools: CopyTools,
  args: readonly string[],
  path: string,
  stop: AbortSignal,
  written: (bytes: number) => void = () => undefined,
): Promise<void> {
  let percent = '';
  const measure = async () => {
    const bytes = (await allocatedBytes(path)) ?? 0;
    written(bytes);
    return `${bytes} ${percent}`;
  };
  await withWatchdog(tools.clock, tools.stallMs, stop, measure, async (signal) => {
    await run(tools.qemuImg, args, {
      identity: tools.identity,
      signal,
      onOutput: (text) => {
        percent = text.slice(-32);
      },
    });
  });
}
