// How big a simulated world is and how much happens in it: what the options of `crosscell simulate` say, and what follows.
import { aimedPlan } from './aims.ts';
import { operatorsAtWork } from './operators-at-work.ts';
import { type Plan, planOf } from './plan.ts';
import type { Safety } from './safety.ts';
import type { Progress, ScheduleResult } from './schedule.ts';
import { NoSuchEvents } from './shrink.ts';
import { Stage, type StageOptions } from './stage.ts';
import { SMALL } from './world.ts';

export interface Scenario {
  readonly servers: number;
  readonly cells: number;
  /** null: as many as the servers need. */
  readonly hostsPerCell: number | null;
  /** Processes of the control plane, each with API, conductor and monitor. */
  readonly conductors: number;
  /** Virtual time in which things happen. */
  readonly hours: number;
  /** Faults on average: per operation in a small world, per host and hour in a large one. */
  readonly faults: number;
  readonly without: Safety | null;
}

/** One schedule of the search: two servers in a small world, for a minute. */
export const DEFAULT_SCENARIO: Scenario = {
  ...{ servers: 2, cells: 2, hostsPerCell: null, conductors: 2, hours: 1 / 60, faults: 0.6, without: null },
};

const HOUR_MS = 3_600_000;
/** From here on hosts are large and asked less often. */
const MANY_SERVERS = 8;
const LARGE = { vcpus: 64, memoryMb: 262_144, diskGb: 4000 };
/** vCPUs that a server may come to hold: its flavor, and a resized one's beside it. */
const VCPUS_PER_SERVER = 6;

const isLarge = (scenario: Scenario): boolean => scenario.servers > MANY_SERVERS;
/** Seconds. The longer it takes, the less often: heartbeats of a large fleet are most of what happens in a day. */
const heartbeatOf = ({ hours }: Scenario): number => (hours >= 12 ? 120 : hours >= 1 ? 60 : 20);

function stageOptionsOf(scenario: Scenario): StageOptions {
  const size = isLarge(scenario) ? LARGE : SMALL.size;
  const needed = Math.ceil((scenario.servers * VCPUS_PER_SERVER) / size.vcpus / scenario.cells);
  return {
    shape: { cells: scenario.cells, hostsPerCell: scenario.hostsPerCell ?? Math.max(2, needed + 1), size },
    conductors: scenario.conductors,
    heartbeatSeconds: heartbeatOf(scenario),
    quota: isLarge(scenario) ? { instances: -1, cores: -1, ram: -1, volumes: -1, snapshots: -1 } : {},
    without: scenario.without,
  };
}

/**
 * What happens in this scenario with this seed; `only`: those events of it alone, by their numbers.
 * @throws NoSuchEvents when there are not so many
 */
export function planFor(scenario: Scenario, seed: number, only: readonly number[] | null = null): Plan {
  const { servers, hours, faults, cells } = scenario;
  const { shape, heartbeatSeconds } = stageOptionsOf(scenario);
  const ms = Math.round(hours * HOUR_MS);
  const operationsPerServer = 2.5 + hours / 12;
  const random = planOf({
    ...{ seed, servers },
    ...(isLarge(scenario)
      ? { faultsPerOperation: 0, faults: faults * cells * shape.hostsPerCell * hours }
      : { faultsPerOperation: faults, faults: 0 }),
    ...{ ms, operationsPerServer },
    silenceMs: heartbeatSeconds * 4000,
  });
  const scenes = operatorsAtWork({ seed, ms, operations: servers * operationsPerServer });
  const plan = (isLarge(scenario) ? null : aimedPlan(seed)) ?? {
    ...random,
    events: [...random.events, ...scenes].sort((a, b) => a.at - b.at),
  };
  if (only === null) return plan;
  const last = Math.max(...only);
  if (last >= plan.events.length) {
    throw new NoSuchEvents(`there is no event ${last}: seed ${seed} makes those from 0 to ${plan.events.length - 1}`);
  }
  const wanted = new Set(only);
  return { ...plan, events: plan.events.filter((_, index) => wanted.has(index)) };
}

export const openStage = (scenario: Scenario): Promise<Stage> => Stage.open(stageOptionsOf(scenario));

/** Opens a stage for one run. For many, keep the stage. */
export async function runOnce(
  scenario: Scenario,
  plan: Plan,
  onProgress?: (progress: Progress) => void,
): Promise<ScheduleResult> {
  const stage = await openStage(scenario);
  try {
    return await stage.run(plan, onProgress);
  } finally {
    stage.close();
  }
}
