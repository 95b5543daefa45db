// The measurements: node bench/main.ts [moves] [conductors] [copy] [startup] [identity] [placement] [restart] [revoke]
// [simulation] [clients] [cells] [--json]
//
// Counts come first: statements and calls do not depend on what else the machine does. Times stand beside a peer or a
// physical limit measured in the same run, as ratios. Nova's figures are those of its own functional harness (its
// control plane alone, all services faked, databases in memory), taken once; the source is in docs/benchmarks.md.
// The results go to var/bench/report.json too.
import { mkdir, writeFile } from 'node:fs/promises';
import { benchCells } from './cells.ts';
import { benchClients } from './clients.ts';
import { benchConductors } from './conductors.ts';
import { benchCopy } from './copy.ts';
import { benchIdentity } from './identity.ts';
import { benchMoves } from './moves.ts';
import { benchPlacement } from './placement.ts';
import { benchRestart } from './restart.ts';
import { benchRevoke } from './revoke.ts';
import { benchSimulation } from './simulation.ts';
import { benchStartup } from './startup.ts';
import { type Figure, printTable } from './table.ts';

const PARTS: Readonly<Record<string, () => Promise<Figure[]>>> = {
  moves: benchMoves,
  conductors: benchConductors,
  copy: benchCopy,
  startup: benchStartup,
  identity: benchIdentity,
  placement: benchPlacement,
  restart: benchRestart,
  revoke: benchRevoke,
  simulation: benchSimulation,
  clients: benchClients,
  cells: benchCells,
};

const wanted = process.argv.slice(2).filter((argument) => argument !== '--json');
const unknown = wanted.find((name) => !(name in PARTS));
if (unknown !== undefined) {
  console.error(`bench: there is no part '${unknown}'; there are ${Object.keys(PARTS).join(', ')}`);
  process.exit(2);
}
const figures: Figure[] = [];
for (const [name, part] of Object.entries(PARTS)) {
  if (wanted.length === 0 || wanted.includes(name)) figures.push(...(await part()));
}
if (process.argv.includes('--json')) console.log(JSON.stringify(figures, null, 2));
else printTable(figures);
await mkdir('var/bench', { recursive: true });
await writeFile('var/bench/report.json', `${JSON.stringify({ at: new Date().toISOString(), figures }, null, 2)}\n`);
process.exit();
