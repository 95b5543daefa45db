// What servers have used in a period: hours, and hours times what their flavors promise. Pure.
//
// A server counts from its first start until it is deleted, whether it runs or not, with the flavor that it has now, as
// Nova's simple tenant usage counts it (nova/api/openstack/compute/simple_tenant_usage.py). One that never started counts
// for nothing.
import type { Server } from './types.ts';

const HOUR_MS = 3_600_000;

/** Milliseconds since the epoch; `until` is not in it. */
export interface Period {
  readonly from: number;
  readonly until: number;
}

/** How long the server has counted within the period, in hours. */
export function hoursWithin(
  { launchedAt, deletedAt }: Pick<Server, 'launchedAt' | 'deletedAt'>,
  period: Period,
): number {
  if (launchedAt === null) return 0;
  const from = Math.max(launchedAt, period.from);
  const until = Math.min(deletedAt ?? period.until, period.until);
  return Math.max(0, until - from) / HOUR_MS;
}

export interface Sums {
  readonly hours: number;
  readonly vcpuHours: number;
  readonly memoryMbHours: number;
  readonly localGbHours: number;
}

export const localGb = ({ flavor }: Pick<Server, 'flavor'>): number => flavor.rootGb + flavor.ephemeralGb;

/** Of several servers together. */
export function sumsOf(servers: readonly Server[], period: Period): Sums {
  const sum = (of: (server: Server) => number): number =>
    servers.reduce((total, server) => total + of(server) * hoursWithin(server, period), 0);
  return {
    hours: sum(() => 1),
    vcpuHours: sum(({ flavor }) => flavor.vcpus),
    memoryMbHours: sum(({ flavor }) => flavor.memoryMb),
    localGbHours: sum(localGb),
  };
}
