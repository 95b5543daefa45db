// The moves on PostgreSQL: all that test/moves/moves.test.ts says of them.
import { test } from 'node:test';
import { worldsOnPostgres } from './world.ts';

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('moves on PostgreSQL', { skip: unavailable }, () => undefined);
else await import('../moves/moves.test.ts');
