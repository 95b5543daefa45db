// Telling a running guest that a volume of it has grown.
//
// Theory of operation. To grow, a volume's export is away for an instant, and QEMU's client connects again with its next
// request, not before; then it knows the new size, and `block_resize` passes it on to the guest. A guest that is idle makes
// no request, and one that the monitor makes holds QEMU's main loop up until it is answered, which may take for ever. So
// QEMU serves the volume read-only on a socket of its own, and one block is read there: that waits, if it must, in nobody's
// way. Only when it has been answered is QEMU told of the size, which takes a moment.
// A read that is not answered in time is left behind, with its export, until the storage host is back or the guest is off;
// until then the volume is not asked again. Stopping the server, too, would wait for it.
import { type Clock, passed } from '../../lib/clock.ts';
import type { GuestVolume } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import type { DiskTools } from './disk.ts';
import type { Monitor } from './hotplug.ts';
import { GROWN_SOCKET } from './layout.ts';
import { run } from './tools.ts';
import { nodeOf } from './volumes.ts';

const READ_LIMIT_MS = 2000;
const CLOSE_LIMIT_MS = 1000;
const CLOSE_POLL_MS = 10;
const BLOCK = 512;

export interface GrownPlace {
  /** QEMU's working directory. */
  readonly directory: string;
  readonly tools: DiskTools;
  readonly clock: Clock;
}

/** The guest sees that the volume has `volume.connection.sizeBytes`. HypervisorError when that cannot be now. */
export async function showGrown(qemu: Monitor, volume: GuestVolume, place: GrownPlace): Promise<void> {
  const { connection } = volume;
  if (connection.kind === 'share') throw new HypervisorError('the volume is a file on a share');
  const node = nodeOf(volume);
  if ((await sizeOf(qemu, node)) >= connection.sizeBytes) return;
  await readOnce(qemu, node, place);
  await qemu.execute('block_resize', { 'node-name': node, size: connection.sizeBytes });
}

async function sizeOf(qemu: Monitor, node: string): Promise<number> {
  const nodes = (await qemu.execute('query-named-block-nodes', { flat: true })) as ReadonlyArray<{
    'node-name': string;
    image: { 'virtual-size': number };
  }>;
  const found = nodes.find((each) => each['node-name'] === node);
  if (!found) throw new HypervisorError('the guest does not have the volume plugged in');
  return found.image['virtual-size'];
}

/** QEMU has read the first block of the node, over whatever connection it has got for that. */
async function readOnce(qemu: Monitor, node: string, { directory, tools, clock }: GrownPlace): Promise<void> {
  if (!(await isShut(qemu, clock))) throw new HypervisorError('an earlier look at a volume is not answered yet');
  let obstacle: string | null = null;
  try {
    await startServer(qemu);
    await qemu.execute('block-export-add', {
      ...{ type: 'nbd', id: node, 'node-name': node, name: node, writable: false },
    });
    const url = `nbd+unix:///${node}?socket=${GROWN_SOCKET}`;
    const args = ['bench', '-f', 'raw', '-c', '1', '-d', '1', '-s', String(BLOCK), url];
    await run(tools.qemuImg, args, { identity: tools.identity, cwd: directory, timeoutMs: READ_LIMIT_MS });
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    obstacle = error.message;
  }
  if (await isShut(qemu, clock)) await qemu.execute('nbd-server-stop');
  else obstacle ??= 'the read does not end';
  if (obstacle !== null) throw new HypervisorError(`the volume does not answer: ${obstacle}`);
}

/** One that an agent before has left is as good. */
async function startServer(qemu: Monitor): Promise<void> {
  try {
    await qemu.execute('nbd-server-start', { addr: { type: 'unix', data: { path: GROWN_SOCKET } } });
  } catch (error) {
    if (!(error instanceof HypervisorError && /already running/i.test(error.message))) throw error;
  }
}

/** Closes what is served; false when a read of it still waits. */
async function isShut(qemu: Monitor, clock: Clock): Promise<boolean> {
  const deadline = passed(clock) + CLOSE_LIMIT_MS;
  for (;;) {
    const open = (await qemu.execute('query-block-exports')) as ReadonlyArray<{ id: string; 'shutting-down': boolean }>;
    if (open.length === 0) return true;
    for (const { id, 'shutting-down': isClosing } of open)
      if (!isClosing) await qemu.execute('block-export-del', { id, mode: 'hard' });
    if (passed(clock) > deadline) return false;
    await clock.sleep(CLOSE_POLL_MS);
  }
}
