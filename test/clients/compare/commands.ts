// node test/clients/compare/commands.ts [OURS] PEER: a walk of `openstack` commands through two deployments, and in which
// columns and kinds of values their outputs differ.
//
// OURS and PEER as in main.ts. Each command is run as a person would, with JSON for its output where it has any, by both at
// once; then both are waited for. Writes a row of a Markdown table to standard output as soon as a command is through; exit
// status 1 when a command of ours fails, or when an output differs that nobody defends. A command that the peer fails at is
// compared no further; a peer on a small machine fails now and then, and is asked again. What it makes it deletes, when it
// is left to end; every command and every wait has a limit.
import { execFile } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Cloud, openCloud } from './cloud.ts';
import { differences, type Output, outputOf, outputOfText } from './output.ts';
import { type Command, type Until, walk } from './requests/commands.ts';
import { openSides, type Sides } from './sides.ts';

interface Outcome {
  /** What it said last; null: it succeeded, and what it begins came to its end. */
  readonly failed: string | null;
  readonly output: Output;
  readonly seconds: number;
}

interface Side {
  readonly cloud: Cloud;
  readonly env: NodeJS.ProcessEnv;
  /** How often a command that failed is run again. */
  readonly again: number;
}

const run = promisify(execFile);
const COMMAND_LIMIT_MS = 180_000;
const WAIT_LIMIT_MS = 180_000;
const MOST_OUTPUT = 16 * 1024 * 1024;
const POLL_MS = 1000;
const AGAIN_MS = 5000;
/** Of a table's cell. */
const LONGEST_REASON = 160;

function environment(authUrl: string, password: string): NodeJS.ProcessEnv {
  const { PATH, HOME } = process.env;
  return {
    ...{ PATH, HOME, OS_AUTH_URL: authUrl, OS_USERNAME: 'admin', OS_PASSWORD: password, OS_PROJECT_NAME: 'admin' },
    ...{ OS_USER_DOMAIN_NAME: 'Default', OS_PROJECT_DOMAIN_NAME: 'Default', OS_IDENTITY_API_VERSION: '3' },
    ...{ OS_REGION_NAME: 'RegionOne', PYTHONWARNINGS: 'ignore', no_proxy: '127.0.0.1,localhost' },
  };
}

/** With what it begins come to its end. */
async function outcomeOf(command: Command, side: Side): Promise<Outcome> {
  const begun = performance.now();
  let last = await runToEnd(command, side);
  for (let times = 0; times < side.again && last.failed !== null; times += 1) {
    process.stderr.write(`once more, after "${last.failed}": ${command.words.join(' ')}\n`);
    await setTimeout(AGAIN_MS);
    await recover(command, side);
    last = await runToEnd(command, side);
  }
  return { ...last, seconds: (performance.now() - begun) / 1000 };
}

async function runToEnd(command: Command, { env, cloud }: Side): Promise<Pick<Outcome, 'failed' | 'output'>> {
  const { failed, output } = await runOnce(command, env);
  return { output, failed: failed ?? (command.until ? await whyNot(command.until, cloud) : null) };
}

/** Brings a server that was left in ERROR back to where the command begins. */
async function recover({ until, behind }: Command, side: Side): Promise<void> {
  if (until?.kind !== 'server') return;
  const { id, status } = (await find(until.kind, until.name, side.cloud)) ?? {};
  if (status !== 'ERROR') return;
  const body = { 'os-resetState': { state: 'active' } };
  await side.cloud.ask({ service: 'compute', method: 'POST', path: `/servers/${id}/action`, body });
  if (behind) await runToEnd(behind, side);
}

async function runOnce({ words, json }: Command, env: NodeJS.ProcessEnv): Promise<Pick<Outcome, 'failed' | 'output'>> {
  const [program = '', ...args] = words;
  try {
    const options = { env, timeout: COMMAND_LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: MOST_OUTPUT } as const;
    const { stdout } = await run(program, json ? [...args, '-f', 'json'] : args, options);
    // Some that fail end with 0 all the same, and a sentence.
    if (json && !/^\s*[[{]/.test(stdout)) return { failed: stdout.trim().split('\n')[0] ?? '', output: new Map() };
    return { failed: null, output: json ? outputOf(JSON.parse(stdout)) : outputOfText(stdout) };
  } catch (error) {
    return { failed: reasonOf(error), output: new Map() };
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('killed' in error && error.killed === true) return `did not end within ${COMMAND_LIMIT_MS / 1000} s`;
  const said = 'stderr' in error ? String(error.stderr).trim().split('\n').at(-1) : '';
  return said || error.message;
}

/** Null when it has the status within the limit. A server in ERROR and one that is gone are waited for no longer. */
async function whyNot({ kind, name, status }: Until, cloud: Cloud): Promise<string | null> {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  for (;;) {
    const seen = await statusOf(kind, name, cloud);
    if (seen === status) return null;
    if (seen === 'gone' || seen.startsWith('ERROR') || seen.startsWith('error') || Date.now() > deadline)
      return `${name} is ${seen}, not ${status}`;
    await setTimeout(POLL_MS);
  }
}

async function statusOf(kind: Until['kind'], name: string, cloud: Cloud): Promise<string> {
  const found = await find(kind, name, cloud);
  return found === undefined ? 'gone' : `${found.status}${found.fault ? `: ${found.fault.message}` : ''}`;
}

async function find(kind: Until['kind'], name: string, cloud: Cloud): Promise<Found | undefined> {
  const [service, path] = kind === 'server' ? (['compute', '/servers'] as const) : (['volumev3', '/volumes'] as const);
  const { json } = await cloud.ask({ service, method: 'GET', path: `${path}/detail?name=${name}` });
  const found = Object.values((json ?? {}) as Record<string, readonly Found[]>).flat();
  return found.find((each) => each.name === name);
}

interface Found {
  readonly id?: string;
  readonly name?: string;
  readonly status?: string;
  readonly fault?: { readonly message: string };
}

async function sideOf(authUrl: string, password: string, again: number): Promise<Side> {
  const cloud = await openCloud(authUrl, 'admin', password, 'admin');
  return { cloud, env: environment(authUrl, password), again };
}

async function main({ oursAt, peerAt }: Sides): Promise<number> {
  const { OS_PASSWORD = 'secret', PEER_PASSWORD = 'secret' } = process.env;
  const ours = await sideOf(oursAt, OS_PASSWORD, 0);
  const peer = await sideOf(peerAt, PEER_PASSWORD, 1);
  const count = { same: 0, defended: 0, differs: 0, fails: 0, 'not compared': 0 };
  process.stdout.write('| # | command | ours | peer | verdict |\n| --- | --- | --- | --- | --- |\n');
  for (const [index, command] of walk.entries()) {
    const [mine, theirs] = await Promise.all([outcomeOf(command, ours), outcomeOf(command, peer)]);
    const found = theirs.failed === null ? differences(mine.output, theirs.output) : [];
    const verdict = verdictOn(mine, theirs, found, command);
    count[verdict] += 1;
    const why = verdict === 'defended' ? ` (${command.defended})` : '';
    const text = found.length === 0 ? verdict : `${verdict}: ${found.join('; ')}${why}`;
    const row = [index + 1, command.words.join(' '), said(mine), said(theirs), text];
    process.stdout.write(`| ${row.map((each) => String(each).replaceAll('|', '\\|')).join(' | ')} |\n`);
  }
  const counts = Object.entries(count).map(([verdict, times]) => `${times} ${verdict}`);
  process.stdout.write(`\n${walk.length} commands: ${counts.join(', ')}\n`);
  return count.fails + count.differs === 0 ? 0 : 1;
}

function verdictOn(ours: Outcome, peer: Outcome, found: readonly string[], { defended }: Command) {
  if (ours.failed !== null) return 'fails';
  if (peer.failed !== null) return 'not compared';
  if (found.length === 0) return 'same';
  return defended === undefined ? 'differs' : 'defended';
}

const said = ({ failed, seconds }: Outcome): string =>
  `${failed === null ? 'ok' : `fails: ${failed.slice(0, LONGEST_REASON)}`}, ${seconds.toFixed(1)} s`;

await using sides = await openSides(process.argv.slice(2));
if (sides === null) {
  process.stderr.write('usage: node test/clients/compare/commands.ts [OURS] PEER\n');
  process.exitCode = 2;
} else {
  process.exitCode = await main(sides);
}
