// Machines that are gone for good in the middle of a move, or are others from then on, which have nothing: a sample, by seed
// (CROSSCELL_SEED), of each step of each move × each host that has to do with it, or all storage hosts; with CROSSCELL_LONG=1
// all. Those that once broke a promise are always tried.
import { test } from 'node:test';
import { playOut, type Victim } from './gone-for-good.ts';
import { definitionOfMove } from './matrix/cells.ts';
import { FIXTURES, type Fixture, VOLUME_BACKED } from './matrix/fixtures.ts';
import { LONG, SEED } from './matrix/pair-tests.ts';
import { sample } from './matrix/pairs.ts';

const COUNT = 28;

interface Trial {
  readonly name: string;
  readonly fixture: Fixture;
  readonly step: string;
  readonly victim: Victim;
  readonly replaced: boolean;
}

/** Whom it befalls, and whether there is another machine in its place at once. */
const VICTIMS: readonly (readonly [string, Victim, boolean])[] = [
  ['all storage hosts', 'storage', false],
  ['host 0', 0, false],
  ['host 1', 1, false],
  ['host 0, replaced,', 0, true],
  ['host 1, replaced,', 1, true],
];

const trialsOf = (what: string, fixtures: readonly Fixture[]): Trial[] =>
  fixtures.flatMap((fixture) => {
    const { steps, made = 0 } = definitionOfMove(fixture.move);
    return steps.slice(made).flatMap(({ name: step }) =>
      VICTIMS.map(([who, victim, replaced]) => ({
        ...{ name: `${what}${fixture.move}: ${who} at ${step}`, fixture, step, victim, replaced },
      })),
    );
  });

const ALL = [...trialsOf('', FIXTURES), ...trialsOf('volume-backed ', VOLUME_BACKED)];
const ALWAYS = new Set([
  'volume-backed resize: all storage hosts at hand over volumes',
  'volume-backed revert: all storage hosts at start source',
  'rescue: all storage hosts at start guest',
  'rebuild root volume: all storage hosts at keep old content',
  'evacuate: host 1 at start target',
  'start: host 0, replaced, at turn on',
  'reboot: host 0, replaced, at turn off',
  'suspend: host 0, replaced, at keep memory',
  'wake: host 0, replaced, at load memory',
  'resize: host 0, replaced, at stop source',
  'revert: host 0, replaced, at start source',
  'detach volume: host 0, replaced, at unplug volume',
]);

const known = ALL.filter(({ name }) => ALWAYS.has(name));
for (const { name, fixture, step, victim, replaced } of LONG ? ALL : new Set([...known, ...sample(ALL, COUNT, SEED)])) {
  test(name, async (t) => {
    if ((await playOut(fixture, step, victim, replaced)) === null)
      t.diagnostic('nobody like that has to do with it then');
  });
}
