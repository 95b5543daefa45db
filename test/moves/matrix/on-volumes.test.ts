// Every step of these sagas on volumes under every fault; see cells.ts.
import { testCells, testSomeCells } from './tests.ts';

testCells('create volume');
testCells('delete volume');
testCells('extend volume');
testSomeCells('revert volume', 16);
testCells('create snapshot');
testCells('delete snapshot');
testSomeCells('upload volume', 12);
