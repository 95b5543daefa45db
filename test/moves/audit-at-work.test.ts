// Whatever is under way, the auditor finds nothing wrong at any moment of it: each move is stepped by hand, and the audit is
// made behind every effect and every commit. What else a conductor does changes nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderReport } from '../../src/audit/audit.ts';
import { MOVES } from '../../src/moves/registry.ts';
import { definitionOfMove } from './matrix/cells.ts';
import { fixtureOf, VOLUME_BACKED } from './matrix/fixtures.ts';
import { auditWorld, openWorld, Worker } from './world.ts';

const FIXTURES = [
  ...MOVES.map(({ definition }) => ({ fixture: fixtureOf(definition.name), of: '' })),
  ...VOLUME_BACKED.map((fixture) => ({ fixture, of: ', with volumes' })),
];

for (const { fixture, of } of FIXTURES) {
  test(`the auditor finds nothing wrong at any moment of ${fixture.move}${of}`, async () => {
    const world = await (fixture.open ?? openWorld)({});
    try {
      const { refusal } = await fixture.start(world, await fixture.prepare(world));
      assert.equal(refusal, null);
      const worker = new Worker(world);
      let looks = 0;
      for (let op = 'start'; op !== 'idle'; op = await worker.step()) {
        if (!['start', 'effect', 'commit'].includes(op)) continue;
        looks += 1;
        const report = await auditWorld(world);
        assert.equal(report.verdict, 'held', `${op}: ${renderReport(report)}`);
      }
      assert(looks > definitionOfMove(fixture.move).steps.length, `only ${looks} looks`);
    } finally {
      await world.close();
    }
  });
}
