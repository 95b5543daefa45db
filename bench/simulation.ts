// How many schedules of the simulation one thread runs in a second, and what happens in one; and a day of twenty servers.
import { DEFAULT_SCENARIO, openStage, planFor, runOnce } from '../src/simulation/scenario.ts';
import { runPart } from '../src/simulation/search.ts';
import type { Figure } from './table.ts';

const SCHEDULES = 400;
const WARM_UP = 50;
const DAY = { ...DEFAULT_SCENARIO, servers: 20, cells: 5, hours: 24 };

export async function benchSimulation(): Promise<Figure[]> {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    await runPart(stage, DEFAULT_SCENARIO, { first: 1, count: WARM_UP });
    const begun = performance.now();
    const { counts, failed } = await runPart(stage, DEFAULT_SCENARIO, { first: 1000, count: SCHEDULES });
    const seconds = (performance.now() - begun) / 1000;
    if (failed !== null) throw new Error(`seed ${failed} fails: bin/crosscell simulate --seed ${failed}`);
    const figure = (what: string, ours: number, unit: string): Figure => ({
      ...{ part: 'simulation', what, ours, unit, peer: null },
    });
    return [
      figure('schedules, one thread', SCHEDULES / seconds, '/s'),
      figure('operations accepted in a schedule', counts.accepted / SCHEDULES, ''),
      figure('effects of steps in a schedule', counts.steps / SCHEDULES, ''),
      figure('faults that strike in a schedule', counts.faults / SCHEDULES, ''),
      await oneDay(figure),
    ];
  } finally {
    stage.close();
  }
}

async function oneDay(figure: (what: string, ours: number, unit: string) => Figure): Promise<Figure> {
  const begun = performance.now();
  const { violations } = await runOnce(DAY, planFor(DAY, 1));
  if (violations.length > 0) throw new Error(`the day went wrong: ${violations.join('; ')}`);
  return figure('a virtual day of 20 servers in 5 cells', (performance.now() - begun) / 1000, 's');
}
