// Where simulated hosts find each other's exports, and volumes; one per simulation. It also sees every guest start and end
// on all of them, as nobody in a real network can, and so knows whether two of one server ever ran at once.
import type { SavedExport } from './records.ts';
import type { SimulatedDisk } from './simulated-disks.ts';
import { SimulatedRuns } from './simulated-runs.ts';
import { SimulatedVolumes } from './simulated-volumes.ts';

export class SimulatedFabric {
  readonly volumes = new SimulatedVolumes();
  readonly runs = new SimulatedRuns();
  readonly #exports = new Map<string, SimulatedDisk>();
  readonly #running = new Map<string, Set<string>>();
  readonly #twice: string[] = [];
  #nextPort = 1024;
  #nextName = 1;

  /** A guest of the server runs on the host. */
  started(serverId: string, host: string): void {
    const hosts = this.#running.get(serverId) ?? new Set<string>();
    this.#running.set(serverId, hosts.add(host));
    if (hosts.size > 1) this.#twice.push(`server ${serverId} ran at once on ${[...hosts].sort().join(' and ')}`);
  }

  ended(serverId: string, host: string): void {
    this.#running.get(serverId)?.delete(host);
  }

  /** Each time that a guest was started while another of its server ran, in order. */
  get ranTwice(): readonly string[] {
    return this.#twice;
  }

  open(disk: SimulatedDisk, saved: SavedExport | null): SavedExport {
    // Names count up instead of being random, so that a run can be repeated exactly.
    const name = saved?.name ?? (this.#nextName++).toString(16).padStart(32, '0');
    const port = saved?.port ?? 1024 + (this.#nextPort++ % 60000);
    this.#exports.set(name, disk);
    return { name, port };
  }

  close(name: string): void {
    this.#exports.delete(name);
  }

  find(name: string): SimulatedDisk | undefined {
    return this.#exports.get(name);
  }
}
