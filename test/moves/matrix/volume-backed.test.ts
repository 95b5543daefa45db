// Volume-backed servers in all moves but a resize; see volume-backed-tests.ts. Of what is rare a few cells chosen by the seed,
// outages of hosts and cells among them; with CROSSCELL_LONG=1 all.
import { STEP_FAULTS } from './faults.ts';
import { VOLUME_BACKED } from './fixtures.ts';
import { testSomeCellsOf } from './tests.ts';
import { testVolumeBacked } from './volume-backed-tests.ts';

const OFTEN = ['create', 'confirm', 'revert', 'delete'];
const SAMPLE = 6;

testVolumeBacked([...STEP_FAULTS, 'hosts-restart'], OFTEN);
for (const fixture of VOLUME_BACKED) testSomeCellsOf('volume-backed, ', fixture, SAMPLE);
