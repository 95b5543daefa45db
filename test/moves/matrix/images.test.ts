// Steps of these moves under every fault, as many as there is time for; see cells.ts.
import { testSomeCells } from './tests.ts';

testSomeCells('create image', 60);
testSomeCells('create backup', 30);
