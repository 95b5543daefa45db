// A storage host far away, as a StorageHost (host/wire-client.ts).
import { connectWire, type HostAddress } from '../host/wire-client.ts';
import type { StorageHost } from './contract.ts';
import { STORAGE_ROUTES } from './routes.ts';

/** The storage host at this address. Never throws and holds nothing that would need closing. */
export const connectStorage = (address: HostAddress): StorageHost =>
  connectWire(STORAGE_ROUTES, address) as StorageHost;
