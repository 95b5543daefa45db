// Services of an OpenStack beside PostgreSQL: all that test/moves says of a Glance, a Neutron and a Placement. With
// `make test-long`.
import { test } from 'node:test';
import { worldsOnPostgres } from './world.ts';

const isLong = process.env['CROSSCELL_LONG'] === '1';
const unavailable = isLong ? await worldsOnPostgres() : 'a part of make test-long';
if (unavailable !== null) test('services on PostgreSQL', { skip: unavailable }, () => undefined);
else {
  await import('../moves/glance.test.ts');
  await import('../moves/neutron.test.ts');
  await import('../moves/neutron-networks.test.ts');
  await import('../moves/placement.test.ts');
}
