// Every step of these moves under every fault; see cells.ts.
import { testCells } from './tests.ts';

testCells('crash dump');
testCells('suspend');
testCells('wake');
testCells('rebuild');
testCells('rescue');
testCells('unrescue');
