// What a guest's user-mode network is told of its port: pure, and written anew from what was parsed.
import type { GuestPort } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';

/** The port's addresses, checked against each other; HypervisorError names what is wrong. */
export function portAddresses(port: Pick<GuestPort, 'ip' | 'cidr' | 'gateway'>): {
  readonly net: string;
  readonly gateway: string;
  readonly ip: string;
  readonly dns: string;
} {
  const [network = '', length = ''] = port.cidr.split('/');
  const prefix = Number(length);
  if (!/^[0-9]{1,2}$/.test(length) || prefix < 8 || prefix > 29) throw new HypervisorError(`bad subnet ${port.cidr}`);
  const size = 2 ** (32 - prefix);
  const base = Math.floor(parseIpv4(network) / size) * size;
  const ip = parseIpv4(port.ip);
  const gateway = parseIpv4(port.gateway);
  for (const [name, address] of [['address', ip] as const, ['gateway', gateway] as const]) {
    if (address <= base || address >= base + size - 1) throw new HypervisorError(`the ${name} is not in ${port.cidr}`);
  }
  if (ip === gateway) throw new HypervisorError('the address is the gateway');
  // QEMU wants a name server of its own in the subnet; nobody can reach it. The last address that is free will do.
  let dns = base + size - 2;
  while (dns === ip || dns === gateway) dns -= 1;
  return {
    net: `${formatIpv4(base)}/${prefix}`,
    gateway: formatIpv4(gateway),
    ip: formatIpv4(ip),
    dns: formatIpv4(dns),
  };
}

function parseIpv4(text: string): number {
  const parts = text.split('.');
  const numbers = parts.map(Number);
  const valid = parts.length === 4 && parts.every((part) => /^[0-9]{1,3}$/.test(part)) && numbers.every((n) => n < 256);
  if (!valid) throw new HypervisorError(`bad address ${text}`);
  return numbers.reduce((sum, part) => sum * 256 + part, 0);
}

function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}
