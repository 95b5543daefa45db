// Prints the matrix as JSON, one array of cells with the end that each came to: node test/moves/matrix/print.ts [MOVE...]
// With --pairs N: of each move N pairs of faults, chosen by --seed (1), and how often they came to which end.
import { parseArgs } from 'node:util';
import { runMatrix } from './cells.ts';
import { FIXTURES } from './fixtures.ts';
import { runPairs } from './pairs.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { pairs: { type: 'string' }, seed: { type: 'string', default: '1' } },
});
const moves = FIXTURES.map(({ move }) => move).filter((move) => positionals.length === 0 || positionals.includes(move));
const results =
  values.pairs === undefined ? runMatrix(moves) : runPairs(moves, Number(values.pairs), Number(values.seed));
process.stdout.write(`${JSON.stringify(await Array.fromAsync<object>(results), null, 1)}\n`);
