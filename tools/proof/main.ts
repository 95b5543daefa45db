// Writes docs/proof.md from runs made now:
//   node tools/proof/main.ts [--pairs N] [--schedules N] [--fire-cases N|all] [--seed N] [--fire-report FILE]...
//
// Each part is a command of its own, the one that the page names, so that anybody can repeat the figure without this
// program. A part that fails ends the run, and the page stays as it was. All kills on QEMU take an hour: who has played
// them in parts beside each other (FIRE_PART of test/fire) gives what each reported, one --fire-report per part.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { whyNoGuests } from '../../guest/run.ts';
import { diceOf } from '../../src/simulation/dice.ts';
import { SAFETIES, type Safety, UNDONE_STEP } from '../../src/simulation/safety.ts';
import { allCases } from '../../test/fire/plan.ts';
import {
  type Fire,
  fireOfParts,
  type MatrixCell,
  type PairsOfMove,
  type Proof,
  pageOf,
  type Run,
  type Simulated,
} from './page.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const PAGE = join(ROOT, 'docs', 'proof.md');

/** What it means that this is switched off. */
const MEANS: Readonly<Record<Safety, string>> = {
  'host-fences': 'hosts take calls of any generation',
  'port-fences': 'port bindings forget which generations they have seen',
  'cell-fences': 'databases of cells forget which generations they have seen, and how often servers were let go of',
  lease: 'a commit passes although another conductor has taken over',
  undo: `the undo of \`${UNDONE_STEP.step}\` does nothing`,
  debts: 'what is owed is not written down',
  revoke: 'storage hosts say that an access to a volume has ended, and do not end it',
  disk: 'a disk that is copied lacks what was written last, and its digest does not tell',
};
/** Schedules at most in which the search has to notice. */
const SEARCHED = 20_000;

interface Ended {
  readonly status: number;
  readonly output: string;
}

/** Runs it as the page says it, from the root of the project; errors are shown as they come. */
function run(command: string, environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const [program = '', ...args] = command.split(' ');
  process.stderr.write(`${command}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(program === 'node' ? process.execPath : join(ROOT, program), args, {
      cwd: ROOT,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status: status ?? 1, output: Buffer.concat(chunks).toString('utf8') }));
  });
}

async function jsonOf<T>(command: string, statuses: readonly number[] = [0]): Promise<Run<T>> {
  const { status, output } = await run(command);
  if (!statuses.includes(status)) throw new Error(`${command} ended with status ${status}: ${output.slice(-2000)}`);
  return { command, result: JSON.parse(output) as T };
}

async function fire(seed: string, cases: string): Promise<Run<Fire> | null> {
  if ((await whyNoGuests()) !== null) return null;
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-proof-'));
  const report = join(directory, 'fire.json');
  const environment = { FIRE_SEED: seed, FIRE_CASES: cases };
  const command = 'node tools/test.ts --limit-s 3600 test/fire';
  try {
    const { status, output } = await run(command, { ...environment, FIRE_REPORT: report });
    if (status !== 0) throw new Error(`${command} failed: ${output.slice(-4000)}`);
    const said = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    return { command: [...said, command].join(' '), result: JSON.parse(await readFile(report, 'utf8')) as Fire };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** All kills, from what their parts reported. */
async function reported(seed: string, files: readonly string[]): Promise<Run<Fire>> {
  const parts = await Promise.all(files.map(async (file) => JSON.parse(await readFile(file, 'utf8')) as Fire));
  const result = fireOfParts(parts);
  const backings = new Set(result.results.map((each) => each.backing));
  const only = backings.size === 1 ? ` FIRE_BACKING=${[...backings][0]}` : '';
  return { command: `FIRE_SEED=${seed} FIRE_CASES=all${only} node tools/test.ts --limit-s 14400 test/fire`, result };
}

const machine = (): string =>
  `${availableParallelism()} processors (${cpus()[0]?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node.js ${process.versions.node}`;

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '20000' },
    pairs: { type: 'string', default: '30' },
    'fire-cases': { type: 'string', default: '12' },
    seed: { type: 'string', default: '1' },
    'fire-report': { type: 'string', multiple: true, default: [] },
  },
});
const commit = execFileSync('git', ['describe', '--always', '--dirty'], { cwd: ROOT, encoding: 'utf8' }).trim();
const simulate = 'bin/crosscell simulate';
const print = 'node test/moves/matrix/print.ts';
const matrix = await jsonOf<MatrixCell[]>(print);
const pairs = await jsonOf<PairsOfMove[]>(`${print} --pairs ${values.pairs} --seed ${values.seed}`);
const simulation = await jsonOf<Simulated>(`${simulate} --seed ${values.seed} --schedules ${values.schedules} --json`);
const without: Proof['without'][number][] = [];
for (const part of SAFETIES) {
  const command = `${simulate} --seed ${values.seed} --schedules ${SEARCHED} --faults 3 --without ${part} --json`;
  without.push({ part, means: MEANS[part], ...(await jsonOf<Simulated>(command, [1])) });
}
const reports = values['fire-report'];
const date = new Date().toISOString().slice(0, 10);
const kills = reports.length > 0 ? await reported(values.seed, reports) : await fire(values.seed, values['fire-cases']);
const cases = (['image', 'volume'] as const).flatMap((backing) => allCases(backing, diceOf(1, backing))).length;
const proof: Proof = {
  ...{ date, machine: machine(), commit, matrix, pairs, simulation, without },
  fire: kills && { ...kills, cases, beforehand: reports.length > 0 },
};
await writeFile(PAGE, pageOf(proof));
process.stderr.write('docs/proof.md is written\n');
