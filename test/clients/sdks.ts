// Programs of users over OpenStack's libraries (sdks/): each makes a server, moves it to the other cell and takes it
// away again; glanceclient's makes an image. Python's libraries are Debian's; gophercloud and pkgcloud are fetched into
// a temporary directory, from the Go module proxy and the npm registry. Where a language or a library cannot be had its
// program is skipped, and says why.
import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from './outcomes.ts';
import { type Command, type Ended, run, whyNoGo } from './run.ts';
import { say } from './say.ts';
import type { Seeded } from './system.ts';
import { credentials } from './walk.ts';

interface Program {
  readonly name: string;
  /** In the environment beside the credentials. */
  readonly extra: (directory: string) => NodeJS.ProcessEnv;
  /** Puts into the directory what the program needs; null, or why that cannot be had. */
  readonly fetch: (directory: string) => Promise<string | null>;
  readonly command: (directory: string) => Command;
}

const HERE = join(import.meta.dirname, 'sdks');
/** The Python that Debian's packages are for. */
const PYTHON = '/usr/bin/python3';
const PKGCLOUD = 'pkgcloud@2.2.0';
/** The first Go that gophercloud's second version compiles with. */
const LOWEST_GO = [1, 22] as const;
const FETCH_LIMIT_MS = 300_000;
const FETCH = { limitMs: FETCH_LIMIT_MS };
const LIMIT_MS = 300_000;

const python = (name: string): Program => ({
  name,
  extra: () => ({}),
  fetch: async () => (existsSync(PYTHON) ? null : `${PYTHON} is not here`),
  command: () => [PYTHON, '-W', 'ignore', join(HERE, name)],
});

const PROGRAMS: readonly Program[] = [
  python('sdk.py'),
  python('nova.py'),
  python('glance.py'),
  {
    name: 'gophercloud',
    // It reads one domain, which is the user's and the project's.
    extra: () => ({ OS_DOMAIN_NAME: 'Default' }),
    async fetch(directory) {
      const missing = await whyNoGo(LOWEST_GO, FETCH_LIMIT_MS);
      if (missing !== null) return missing;
      await cp(join(HERE, 'gophercloud'), directory, { recursive: true });
      return fetched('the Go module proxy', await run(['go', '-C', directory, 'mod', 'download'], FETCH));
    },
    command: (directory) => ['go', '-C', directory, 'run', '-buildvcs=false', '.'],
  },
  {
    name: 'pkgcloud.ts',
    extra: (directory) => ({ PKGCLOUD: directory }),
    async fetch(directory) {
      const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund'];
      return fetched(
        'the npm registry',
        await run(['npm', 'install', '--prefix', directory, ...options, PKGCLOUD], FETCH),
      );
    },
    command: () => [process.execPath, '--disable-warning=DEP0169', join(HERE, 'pkgcloud.ts')],
  },
];

export async function sdks(system: Seeded): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const program of PROGRAMS) {
    const outcome = await outcomeOf(program, credentials(system));
    const { verdict, reason } = outcome;
    say(`${verdict === 'passed' ? 'ok    ' : verdict} ${program.name}${reason === '' ? '' : `\n       ${reason}`}`);
    outcomes.push(outcome);
  }
  return outcomes;
}

async function outcomeOf({ name, fetch, command, extra }: Program, env: NodeJS.ProcessEnv): Promise<Outcome> {
  const test = `sdks.${name}`;
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-sdk-'));
  try {
    const missing = await fetch(directory);
    if (missing !== null) return { test, verdict: 'skipped', reason: missing };
    const { ok, output } = await run(command(directory), { limitMs: LIMIT_MS, env: { ...env, ...extra(directory) } });
    return { test, verdict: ok ? 'passed' : 'failed', reason: ok ? '' : lastLine(output) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const fetched = (from: string, { ok, output }: Ended): string | null =>
  ok ? null : `${from} does not give it: ${lastLine(output)}`;

/** Of an exception of Node.js the line that has the words. */
const lastLine = (output: string): string => {
  const lines = output.trim().split('\n');
  return lines.find((line) => /^(\w*Error|npm error)\b/.test(line)) ?? lines.at(-1) ?? '';
};
