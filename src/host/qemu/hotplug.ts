// Taking a device out of a running guest: the guest has to agree.
import { type Clock, passed } from '../../lib/clock.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import type { QemuProcess } from './process.ts';

/** What is needed of a guest's QEMU here. */
export type Monitor = Pick<QemuProcess, 'execute'>;

/** How long a guest may take to let go, and how often it is asked, ms. */
const UNPLUG_LIMIT_MS = 30_000;
const UNPLUG_REPEAT_MS = 5000;
const UNPLUG_POLL_MS = 100;

/** The device has left the tree afterwards. `what`: the device in the words of a refusal. */
export async function unplugDevice(
  qemu: Monitor,
  id: string,
  what: string,
  clock: Clock,
  job: JobControl,
): Promise<void> {
  const deadline = passed(clock) + UNPLUG_LIMIT_MS;
  let nextAsk = passed(clock);
  while (await hasDevice(qemu, id)) {
    job.signal.throwIfAborted();
    const now = passed(clock);
    if (now > deadline) throw new HypervisorError(`the guest does not let go of ${what}`);
    if (now >= nextAsk) {
      nextAsk = now + UNPLUG_REPEAT_MS;
      await ask(qemu, id);
    }
    await clock.sleep(UNPLUG_POLL_MS, job.signal);
  }
}

/** A guest that has not booted far enough does not hear the first time; one that is at it already is left at it. */
async function ask(qemu: Monitor, id: string): Promise<void> {
  try {
    await qemu.execute('device_del', { id });
  } catch (error) {
    if (!(error instanceof HypervisorError) || !/already in the process of unplug|not found/i.test(error.message))
      throw error;
  }
}

const PERIPHERALS = '/machine/peripheral';

export const hasDevice = async (qemu: Monitor, id: string): Promise<boolean> => (await devices(qemu)).includes(id);

/** Names of the devices that have one. */
export const devices = (qemu: Monitor): Promise<string[]> => list(qemu, PERIPHERALS);

export async function list(qemu: Monitor, path: string): Promise<string[]> {
  const entries = (await qemu.execute('qom-list', { path })) as ReadonlyArray<{ name: string }>;
  return entries.map(({ name }) => name);
}
