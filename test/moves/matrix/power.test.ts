// Every step of these moves under every fault; see cells.ts.
import { testCells } from './tests.ts';

testCells('start');
testCells('stop');
testCells('resume');
testCells('reboot');
testCells('pause');
testCells('unpause');
