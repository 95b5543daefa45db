// Every step of a resize, with hosts or a cell's database gone for an hour; see cells.ts.
import { testCells } from './tests.ts';

testCells('resize', 'outages');
