// Prints the matrix as JSON, one array of cells with the end that each came to: node test/moves/matrix/print.ts [MOVE...]
import { runMatrix } from './cells.ts';

const cells = [];
for await (const cell of runMatrix(process.argv.slice(2))) cells.push(cell);
process.stdout.write(`${JSON.stringify(cells, null, 1)}\n`);
