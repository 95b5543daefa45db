// Volumes on PostgreSQL: all that test/moves/volumes.test.ts says of them.
import { test } from 'node:test';
import { worldsOnPostgres } from './world.ts';

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('volumes on PostgreSQL', { skip: unavailable }, () => undefined);
else await import('../moves/volumes.test.ts');
