// A compute host far away, as a Host (wire-client.ts).
import type { Host } from './contract.ts';
import { ROUTES } from './routes.ts';
import { connectWire, type HostAddress } from './wire-client.ts';

/** The host at this address. Never throws and holds nothing that would need closing. */
export const connectHost = (address: HostAddress): Host => connectWire(ROUTES, address) as Host;
