// Steps of an evacuation under every fault, as many as there is time for; see cells.ts.
import { testSomeCells } from './tests.ts';

testSomeCells('evacuate', 25);
