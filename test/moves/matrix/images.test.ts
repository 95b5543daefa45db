// Steps of these moves under every fault, as many as there is time for; see cells.ts.
import { testSomeCells } from './tests.ts';

testSomeCells('create image', 30);
testSomeCells('create image of volumes', 12);
testSomeCells('create backup', 10);
testSomeCells('shelve', 25);
testSomeCells('shelve offload', 25);
testSomeCells('unshelve', 12);
testSomeCells('unshelve offloaded', 40);
