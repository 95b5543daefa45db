// Soft delete on PostgreSQL: all that test/moves/soft-delete.test.ts says of it.
import { test } from 'node:test';
import { worldsOnPostgres } from './world.ts';

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('soft delete on PostgreSQL', { skip: unavailable }, () => undefined);
else await import('../moves/soft-delete.test.ts');
