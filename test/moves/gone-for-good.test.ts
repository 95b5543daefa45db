// Machines that are gone for good in the middle of a move: a sample, by seed (CROSSCELL_SEED), of each step of each move × each
// host that has to do with it, or all storage hosts; with CROSSCELL_LONG=1 all. Those that once broke a promise are always tried.
import { test } from 'node:test';
import { playOut, type Victim } from './gone-for-good.ts';
import { definitionOfMove } from './matrix/cells.ts';
import { FIXTURES, type Fixture, VOLUME_BACKED } from './matrix/fixtures.ts';
import { LONG, SEED } from './matrix/pair-tests.ts';
import { sample } from './matrix/pairs.ts';

const COUNT = 24;

interface Trial {
  readonly name: string;
  readonly fixture: Fixture;
  readonly step: string;
  readonly victim: Victim;
}

const trialsOf = (what: string, fixtures: readonly Fixture[]): Trial[] =>
  fixtures.flatMap((fixture) => {
    const { steps, made = 0 } = definitionOfMove(fixture.move);
    return steps.slice(made).flatMap(({ name: step }) =>
      (['storage', 0, 1] as const).map((victim) => {
        const who = victim === 'storage' ? 'all storage hosts' : `host ${victim}`;
        return { name: `${what}${fixture.move}: ${who} at ${step}`, fixture, step, victim };
      }),
    );
  });

const ALL = [...trialsOf('', FIXTURES), ...trialsOf('volume-backed ', VOLUME_BACKED)];
const ALWAYS = new Set([
  'volume-backed resize: all storage hosts at hand over volumes',
  'volume-backed revert: all storage hosts at start source',
  'rescue: all storage hosts at start guest',
  'rebuild root volume: all storage hosts at keep old content',
  'evacuate: host 1 at start target',
]);

const known = ALL.filter(({ name }) => ALWAYS.has(name));
for (const { name, fixture, step, victim } of LONG ? ALL : new Set([...known, ...sample(ALL, COUNT, SEED)])) {
  test(name, async (t) => {
    if ((await playOut(fixture, step, victim)) === null) t.diagnostic('nobody like that has to do with it then');
  });
}
