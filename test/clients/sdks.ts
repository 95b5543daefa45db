// Programs of users over OpenStack's libraries for Python (sdks/): each makes a server, moves it to the other cell and takes
// it away again.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { Outcome } from './outcomes.ts';
import { say } from './say.ts';
import type { Seeded } from './system.ts';
import { credentials } from './walk.ts';

const PROGRAMS = ['sdk.py', 'nova.py'] as const;
/** The Python that Debian's packages are for. */
const PYTHON = '/usr/bin/python3';
const LIMIT_MS = 300_000;

export async function sdks(system: Seeded): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const program of PROGRAMS) {
    const reason = await run(program, credentials(system));
    say(`${reason === null ? 'ok    ' : 'FAILED'} ${program}${reason === null ? '' : `\n       ${reason}`}`);
    outcomes.push({ test: `sdks.${program}`, verdict: reason === null ? 'passed' : 'failed', reason: reason ?? '' });
  }
  return outcomes;
}

/** Null, or the last thing that the program said. */
function run(program: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const args = ['-W', 'ignore', join(import.meta.dirname, 'sdks', program)];
  return new Promise((resolve) => {
    execFile(PYTHON, args, { env, timeout: LIMIT_MS }, (error, stdout, stderr) => {
      const said = `${stdout}${stderr}`.trim().split('\n').at(-1);
      resolve(error === null ? null : said || error.message);
    });
  });
}
