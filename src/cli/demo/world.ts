// What every scene has at hand: the system through its API, the witnesses beside it, the printer and the report.
import type { Cloud } from './cloud.ts';
import type { ControlPlane } from './control-plane.ts';
import type { Disks } from './disks.ts';
import type { Hypervisors } from './hypervisors.ts';
import type { Printer } from './printer.ts';
import type { Report, Waited } from './report.ts';
import type { Servers } from './servers.ts';
import type { Watch } from './watch.ts';

export interface World {
  readonly directory: string;
  readonly hypervisor: 'qemu' | 'simulated';
  readonly cloud: Cloud;
  readonly control: ControlPlane;
  readonly hypervisors: Hypervisors;
  readonly watch: Watch;
  readonly disks: Disks;
  readonly servers: Servers;
  readonly print: Printer;
  readonly report: Report;
  /** Aborted on Ctrl-C. */
  readonly signal: AbortSignal;
  /** Number of the scene that is being played; 0 before the first. */
  scene: number;
}

export interface Scene {
  readonly number: number;
  readonly title: string;
  readonly play: (w: World) => Promise<void>;
}

/** A scene that cannot go on: the claim that failed is in the report already. */
export class SceneFailed extends Error {
  override readonly name = 'SceneFailed';
}

/** Says and writes down whether something holds; the scene goes on. */
export function claim(w: World, text: string, held: boolean, detail: string | null = null): boolean {
  w.print.verdict(held, held || detail === null ? text : `${text}: ${detail}`);
  w.report.claims.push({ scene: w.scene, claim: text, held, detail });
  return held;
}

/** As `claim`, for what the rest of the scene stands on. @throws SceneFailed */
export function must(w: World, text: string, held: boolean, detail: string | null = null): void {
  if (!claim(w, text, held, detail)) throw new SceneFailed(detail === null ? text : `${text}: ${detail}`);
}

export function lose(w: World, server: string): void {
  if (!w.report.lost.includes(server)) w.report.lost.push(server);
}

/** Does the work and writes down how long it took, as a part of where the demo's time went. */
export async function timed<T>(w: World, what: Waited, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  try {
    return await work();
  } finally {
    w.report.waited[what] += Math.round(performance.now() - began);
  }
}
