// Volume-backed servers in a resize; see volume-backed-tests.ts.
import { STEP_FAULTS } from './faults.ts';
import { testVolumeBacked } from './volume-backed-tests.ts';

testVolumeBacked([...STEP_FAULTS, 'hosts-restart'], ['resize']);
