// The table of places is that of the moves: no step without one, no place without a step.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failedElsewhere, placeIn, placeOf, ROLES } from './places.ts';
import { MOVES } from './registry.ts';

test('every step of every move has its place, and no other has', () => {
  for (const { definition } of MOVES) {
    const places = Object.keys(ROLES[definition.name] ?? {});
    const steps = definition.steps.map((step) => step.name);
    // Power operations share one table, of which each uses its part.
    const shared = ['start', 'stop', 'resume', 'reboot'].includes(definition.name);
    assert.deepEqual(
      steps.filter((step) => !places.includes(step)),
      [],
      definition.name,
    );
    if (!shared) assert.deepEqual(places.toSorted(), steps.toSorted(), definition.name);
  }
  assert.deepEqual(Object.keys(ROLES).toSorted(), [...new Set(MOVES.map((move) => move.definition.name))].toSorted());
});

test('a place is read from the reason, and is where what was chosen has no part, or has', () => {
  const state = { source: { host: 'a', cellId: 'c1' }, target: { host: 'b', cellId: 'c2' } };
  for (const [reason, place, elsewhere] of [
    ['host a unreachable: timeout', { host: 'a', cellId: null }, true],
    ['host b unreachable: timeout', { host: 'b', cellId: null }, false],
    ['host a: broken file', { host: 'a', cellId: null }, true],
    ['storage host s unreachable: timeout', { host: 's', cellId: null }, true],
    ['storage host s is down', { host: 's', cellId: null }, true],
    ['the database of cell c1 cannot be reached: x', { host: null, cellId: 'c1' }, true],
    ['the database of cell c2 cannot be reached: x', { host: null, cellId: 'c2' }, false],
    ['host keys do not match', null, false],
    ['no room', null, false],
  ] as const) {
    assert.deepEqual([placeIn(reason), failedElsewhere(reason, state)], [place, elsewhere], reason);
    assert.equal(failedElsewhere(reason, {}), false);
  }
});

test('a place is read from what the state of each move says', () => {
  const source = { host: 'a', cellId: 'c1' };
  const target = { host: 'b', cellId: 'c2' };
  assert.deepEqual(placeOf('resize', 'stop source', { source, target }), source);
  assert.deepEqual(placeOf('resize', 'copy disk', { source, target }), target);
  assert.equal(placeOf('resize', 'copy disk', { source }), null);
  assert.equal(placeOf('resize', 'switch home', { source, target }), null);
  assert.deepEqual(placeOf('confirm', 'clean source', { sourceHost: 'a' }), { host: 'a', cellId: null });
  assert.deepEqual(placeOf('confirm', 'let go', { host: 'b', homeCellId: 'c2' }), { host: null, cellId: 'c2' });
  assert.deepEqual(placeOf('resize', 'drop old records', { source, target }), { host: null, cellId: 'c1' });
  assert.deepEqual(placeOf('delete', 'destroy old guest', { open: { sourceHost: 'a' } }), { host: 'a', cellId: null });
  assert.equal(placeOf('delete', 'destroy old guest', { open: null }), null);
  assert.deepEqual(placeOf('stop', 'turn off', source), source);
  assert.deepEqual(placeOf('create', 'start guest', { place: source }), source);
  assert.equal(placeOf('unheard of', 'x', {}), null);
});
