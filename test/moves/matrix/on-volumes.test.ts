// Every step of these sagas on volumes under every fault; see cells.ts.
import { testCells, testSomeCells } from './tests.ts';

testCells('create volume');
testCells('delete volume');
testCells('extend volume');
testSomeCells('revert volume', 12);
testSomeCells('reimage volume', 12);
testCells('create snapshot');
testCells('delete snapshot');
testSomeCells('upload volume', 12);
