// How a guest's QEMU has its ports: a virtio network card each, behind a PCIe root port of its own.
//
// Theory of operation. q35 plugs nothing into its root bus while it runs, so there is a root port for each card that a
// guest may have, from the start. A card's name tells its root port (its slot) and its port's id, so nothing need be
// remembered: a look at the names says which slot is free and which card is whose. Guests have user-mode networking
// without a way out (restrict=on); what they are told of their network comes from the port's addresses alone.
import type { Clock } from '../../lib/clock.ts';
import { type GuestPort, MAX_PORTS } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { devices, type Monitor, unplugDevice } from './hotplug.ts';
import { portAddresses } from './port-addresses.ts';

/** Root ports are functions of these PCI slots, eight each; the ones of volumes are in the slots before. */
const FIRST_PCI_SLOT = 0x1c;
const FUNCTIONS = 8;
/** Chassis numbers up to here belong to the root ports of volumes. */
const CHASSIS_BEFORE = 26;

const bus = (slot: number): string => `nic-port-${slot}`;
const card = (slot: number, portId: string): string => `nic${slot}-${portId}`;
const backend = (portId: string): string => `net-${portId}`;

/** Command line: a root port for each slot, and the cards that the guest starts with. */
export function portArguments(ports: readonly GuestPort[]): string[] {
  const slots = Array.from({ length: MAX_PORTS }, (_, slot) => {
    const address = `${(FIRST_PCI_SLOT + Math.floor(slot / FUNCTIONS)).toString(16)}.${slot % FUNCTIONS}`;
    const multifunction = slot % FUNCTIONS === 0 ? ',multifunction=on' : '';
    const chassis = CHASSIS_BEFORE + slot + 1;
    return ['-device', `pcie-root-port,id=${bus(slot)},chassis=${chassis},addr=${address}${multifunction}`];
  });
  const cards = ports.map((port, slot) => {
    const { net, gateway, ip, dns } = portAddresses(port);
    return [
      '-netdev',
      `user,id=${backend(port.id)},restrict=on,ipv6=off,net=${net},host=${gateway},dhcpstart=${ip},dns=${dns}`,
      '-device',
      `virtio-net-pci,id=${card(slot, port.id)},bus=${bus(slot)},netdev=${backend(port.id)},mac=${port.mac}`,
    ];
  });
  return [...slots.flat(), ...cards.flat()];
}

/** The guest has the card afterwards; what is there already stays. */
export async function plugPort(qemu: Monitor, port: GuestPort): Promise<void> {
  const names = await devices(qemu);
  if (cardOf(names, port.id) !== undefined) return;
  const slot = Array.from({ length: MAX_PORTS }, (_, index) => index).find(
    (free) => !names.some((name) => name.startsWith(card(free, ''))),
  );
  if (slot === undefined) throw new HypervisorError('the guest has no slot left for a network card');
  const { net, gateway, ip, dns } = portAddresses(port);
  // What an attempt that was cut short has left.
  await removeBackend(qemu, port.id);
  await qemu.execute('netdev_add', {
    ...{ type: 'user', id: backend(port.id), restrict: true, ipv6: false },
    ...{ net, host: gateway, dhcpstart: ip, dns },
  });
  try {
    await qemu.execute('device_add', {
      ...{ driver: 'virtio-net-pci', id: card(slot, port.id), bus: bus(slot) },
      ...{ netdev: backend(port.id), mac: port.mac },
    });
  } catch (error) {
    await removeBackend(qemu, port.id);
    throw error;
  }
}

/** The guest has let go of the card afterwards, whatever it had of it. */
export async function unplugPort(qemu: Monitor, portId: string, clock: Clock, job: JobControl): Promise<void> {
  const name = cardOf(await devices(qemu), portId);
  if (name !== undefined) await unplugDevice(qemu, name, `port ${portId}`, clock, job);
  await removeBackend(qemu, portId);
}

const cardOf = (names: readonly string[], portId: string): string | undefined =>
  names.find((name) => /^nic[0-9]+-/.test(name) && name.endsWith(`-${portId}`));

async function removeBackend(qemu: Monitor, portId: string): Promise<void> {
  try {
    await qemu.execute('netdev_del', { id: backend(portId) });
  } catch (error) {
    if (!(error instanceof HypervisorError) || !/not found/i.test(error.message)) throw error;
  }
}
