// Volume-backed servers in all moves, with the storage hosts gone for an hour; see volume-backed-tests.ts.
import { testVolumeBacked } from './volume-backed-tests.ts';

testVolumeBacked(['storage-gone']);
