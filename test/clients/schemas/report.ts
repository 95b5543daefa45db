// Which of Tempest's schemas the tests hold answers against: node test/clients/schemas/report.ts [--list]
//
// Runs the tests of the API, and then says of each service how many schemas were held against an answer; with --list the
// names of the others: those that a request of Tempest's clients leads to, and those that none does.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectations, whyNoTempest } from './tempest.ts';

const TESTS = ['test/api', 'test/fuzz', 'test/isolation', 'test/clients/schemas'];
const RUNNER = join(import.meta.dirname, '..', '..', '..', 'tools', 'test.ts');

async function exercised(): Promise<Set<string>> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-schemas-'));
  const report = join(directory, 'names');
  try {
    const env = { ...process.env, CROSSCELL_SCHEMA_REPORT: report };
    const child = spawn(process.execPath, [RUNNER, ...TESTS], { env, stdio: ['ignore', 2, 2] });
    await new Promise((resolve) => child.once('exit', resolve));
    return new Set((await readFile(report, 'utf8')).split('\n').filter((each) => each !== ''));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  const expected = await expectations();
  if (expected === null) {
    process.stderr.write(`${String(whyNoTempest)}\n`);
    return 1;
  }
  const seen = await exercised();
  const asked = new Set(expected.calls.map((call) => call.schema));
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  for (const service of ['compute', 'volume']) {
    const names = Object.entries(expected.names).filter(([name]) => name.startsWith(`${service}.`));
    const count = (test: (used: string) => boolean): number => names.filter(([, used]) => test(used)).length;
    const held = count((used) => seen.has(used));
    print(`${service}: ${names.length} schemas, ${count((used) => asked.has(used))} with a request, ${held} exercised`);
    if (!process.argv.includes('--list')) continue;
    for (const [name, used] of names) {
      if (!seen.has(used)) print(`  ${asked.has(used) ? 'not exercised' : 'no request   '} ${name}`);
    }
  }
  return 0;
}

process.exitCode = await main();
