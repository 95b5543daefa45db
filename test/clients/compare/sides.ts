// The two deployments that are compared: addresses from the command line, ours started where only the peer's is given.
//
// Ours is like a real OpenStack that is set up for a trial: two cells of one host each, named as there, and flavors whose
// disks have the same size, so that a server can be resized to each of them and back.
import { startSystem } from '../system.ts';

const LIKE_A_TRIAL = `
hypervisor: simulated
cells:
  - { name: cell1, hosts: [{ name: cell1-compute1 }] }
  - { name: cell2, hosts: [{ name: cell2-compute1 }] }
flavors:
  - { id: '42', name: m1.nano, vcpus: 1, memory_mb: 128, disk_gb: 1 }
  - { id: '84', name: m1.micro, vcpus: 1, memory_mb: 192, disk_gb: 1 }
  - { id: '1', name: m1.tiny, vcpus: 1, memory_mb: 512, disk_gb: 1 }
  - { id: '2', name: m1.small, vcpus: 1, memory_mb: 2048, disk_gb: 1 }
`;

export interface Sides extends AsyncDisposable {
  /** Addresses of identity services, ending with /v3. */
  readonly oursAt: string;
  readonly peerAt: string;
}

/** Null: the arguments are not one or two addresses. @throws Error when ours does not start */
export async function openSides(addresses: readonly string[]): Promise<Sides | null> {
  const [first, second, ...rest] = addresses;
  if (first === undefined || rest.length > 0) return null;
  if (second !== undefined) return { oursAt: first, peerAt: second, [Symbol.asyncDispose]: async () => {} };
  const system = await startSystem('simulated', LIKE_A_TRIAL);
  return {
    oursAt: `${system.url}/identity/v3`,
    peerAt: first,
    [Symbol.asyncDispose]: () => system[Symbol.asyncDispose](),
  };
}
