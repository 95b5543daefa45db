// Volume-backed servers in all moves but a resize; see volume-backed-tests.ts.
import { STEP_FAULTS } from './faults.ts';
import { testVolumeBacked } from './volume-backed-tests.ts';

testVolumeBacked([...STEP_FAULTS, 'hosts-restart'], ['create', 'confirm', 'revert', 'delete']);
