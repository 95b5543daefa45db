// How many schedules of the simulation one thread runs in a second, what CPU one takes, and what happens in one; a day of
// twenty servers, and an hour of two hundred.
import { DEFAULT_SCENARIO, openStage, planFor, runOnce, type Scenario } from '../src/simulation/scenario.ts';
import { runPart } from '../src/simulation/search.ts';
import type { Figure } from './table.ts';

const SCHEDULES = 400;
const WARM_UP = 50;
const HOUR = { ...DEFAULT_SCENARIO, servers: 200, cells: 4, conductors: 3, hours: 1 };
const DAY = { ...DEFAULT_SCENARIO, servers: 20, cells: 5, hours: 24 };

export async function benchSimulation(): Promise<Figure[]> {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    await runPart(stage, DEFAULT_SCENARIO, { first: 1, count: WARM_UP });
    const [begun, before] = [performance.now(), process.cpuUsage()];
    const { counts, failed } = await runPart(stage, DEFAULT_SCENARIO, { first: 1000, count: SCHEDULES });
    const [seconds, cpu] = [(performance.now() - begun) / 1000, process.cpuUsage(before)];
    if (failed !== null) throw new Error(`seed ${failed} fails: bin/crosscell simulate --seed ${failed}`);
    const figure = (what: string, ours: number, unit: string): Figure => ({
      ...{ part: 'simulation', what, ours, unit, peer: null },
    });
    return [
      figure('schedules, one thread', SCHEDULES / seconds, '/s'),
      figure('CPU of a schedule', (cpu.user + cpu.system) / 1000 / SCHEDULES, 'ms'),
      figure('operations accepted in a schedule', counts.accepted / SCHEDULES, ''),
      figure('effects of steps in a schedule', counts.steps / SCHEDULES, ''),
      figure('faults that strike in a schedule', counts.faults / SCHEDULES, ''),
      figure('a virtual day of 20 servers in 5 cells', await secondsOf(DAY), 's'),
      figure('a virtual hour of 200 servers in 4 cells, three control planes', await secondsOf(HOUR), 's'),
    ];
  } finally {
    stage.close();
  }
}

async function secondsOf(world: Scenario): Promise<number> {
  const begun = performance.now();
  const { violations } = await runOnce(world, planFor(world, 1));
  if (violations.length > 0) throw new Error(`something went wrong: ${violations.join('; ')}`);
  return (performance.now() - begun) / 1000;
}
