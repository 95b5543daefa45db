// Every step of these moves under every fault; see cells.ts.
import { testCells, testSomeCells } from './tests.ts';

testCells('crash dump');
testCells('suspend');
testCells('wake');
testCells('rebuild');
testSomeCells('rebuild root volume', 10);
testCells('rescue');
testCells('unrescue');
