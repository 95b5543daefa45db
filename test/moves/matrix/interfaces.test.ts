// Every step of these moves under every fault; see cells.ts.
import { testCells } from './tests.ts';

testCells('attach interface');
testCells('detach interface');
