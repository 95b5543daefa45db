// node test/clients/compare/commands.ts [OURS] PEER: a walk of `openstack` commands through two deployments, and in which
// columns and kinds of values their outputs differ.
//
// OURS and PEER as in main.ts. Each command is run as a person would, with JSON for its output where it has any; of the
// tables of `nova` the columns are compared. Writes a Markdown table to standard output; exit status 1 when a command of
// ours fails, or when an output differs that nobody defends. What it makes it deletes. A command that the peer fails at is
// compared no further.
import { execFile } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Command, walk } from './requests/commands.ts';
import { openSides } from './sides.ts';

interface Outcome {
  readonly ok: boolean;
  /** Column or field, with the kinds of its values. */
  readonly kinds: ReadonlyMap<string, ReadonlySet<string>>;
  readonly said: string;
}

const run = promisify(execFile);
const LIMIT_MS = 600_000;
const MOST_OUTPUT = 16 * 1024 * 1024;
const POLL_MS = 1000;

function environment(authUrl: string, password: string): NodeJS.ProcessEnv {
  const { PATH, HOME } = process.env;
  return {
    ...{ PATH, HOME, OS_AUTH_URL: authUrl, OS_USERNAME: 'admin', OS_PASSWORD: password, OS_PROJECT_NAME: 'admin' },
    ...{ OS_USER_DOMAIN_NAME: 'Default', OS_PROJECT_DOMAIN_NAME: 'Default', OS_IDENTITY_API_VERSION: '3' },
    ...{ OS_REGION_NAME: 'RegionOne', PYTHONWARNINGS: 'ignore', no_proxy: '127.0.0.1,localhost' },
  };
}

async function outcomeOf({ words, json }: Command, env: NodeJS.ProcessEnv): Promise<Outcome> {
  const [program = '', ...args] = words;
  try {
    const options = { env, timeout: LIMIT_MS, maxBuffer: MOST_OUTPUT };
    const { stdout } = await run(program, json ? [...args, '-f', 'json'] : args, options);
    return { ok: true, kinds: json ? kindsIn(JSON.parse(stdout)) : columnsIn(stdout), said: '' };
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    return { ok: false, kinds: new Map(), said: said.trim().split('\n').at(-1) ?? '' };
  }
}

function kindsIn(output: unknown): Map<string, Set<string>> {
  const kinds = new Map<string, Set<string>>();
  for (const row of [output].flat()) {
    for (const [column, value] of Object.entries(row as object)) {
      const seen = kinds.get(column) ?? new Set();
      kinds.set(column, seen.add(kindOf(value)));
    }
  }
  return kinds;
}

/** Of a table as `nova` draws it: its columns, of no kind. None: it is no table. */
function columnsIn(output: string): Map<string, Set<string>> {
  const [rule = '', header = ''] = output.split('\n');
  if (!rule.startsWith('+-') || !header.startsWith('|')) return new Map();
  const columns = header.split('|').slice(1, -1);
  return new Map(columns.map((column) => [column.trim(), new Set(['nothing'])]));
}

function kindOf(value: unknown): string {
  if (value === null || value === '' || value === 'None') return 'nothing';
  if (Array.isArray(value)) return 'list';
  if (typeof value !== 'string') return typeof value;
  if (/^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/.test(value)) return 'id';
  if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(value)) return 'time';
  return /^-?[0-9.]+$/.test(value) ? 'number' : 'text';
}

function differences(ours: Outcome, peer: Outcome): string[] {
  if (!ours.ok) return ['fails'];
  if (!peer.ok) return [];
  const found: string[] = [];
  // A list that is empty on one side has no columns to compare.
  if (ours.kinds.size === 0 || peer.kinds.size === 0) return found;
  for (const [column, kinds] of peer.kinds) {
    const mine = ours.kinds.get(column);
    if (!mine) found.push(`lacks ${column}`);
    else if (mine.isDisjointFrom(kinds) && !mine.has('nothing') && !kinds.has('nothing'))
      found.push(`${column} is ${[...mine].join('/')} instead of ${[...kinds].join('/')}`);
  }
  for (const column of ours.kinds.keys()) if (!peer.kinds.has(column)) found.push(`more: ${column}`);
  return found;
}

async function settle({ words, until }: Command, env: NodeJS.ProcessEnv): Promise<void> {
  if (until === undefined) return;
  const deadline = Date.now() + LIMIT_MS;
  const shown = ['openstack', until.kind, 'show', until.name, '-f', 'value', '-c', 'status'];
  while (Date.now() < deadline) {
    const [program = '', ...args] = shown;
    const answer = await run(program, args, { env, timeout: LIMIT_MS }).catch(() => ({ stdout: 'gone' }));
    if ([until.status, 'gone'].includes(answer.stdout.trim())) return;
    await setTimeout(POLL_MS);
  }
  process.stderr.write(`after ${words.join(' ')}: ${until.name} does not become ${until.status}\n`);
}

async function through(authUrl: string, password: string): Promise<Outcome[]> {
  const env = environment(authUrl, password);
  const outcomes: Outcome[] = [];
  for (const command of walk) {
    outcomes.push(await outcomeOf(command, env));
    await settle(command, env);
  }
  return outcomes;
}

async function main(oursAt: string, peerAt: string): Promise<number> {
  const { OS_PASSWORD = 'secret', PEER_PASSWORD = 'secret' } = process.env;
  const ours = await through(oursAt, OS_PASSWORD);
  const peer = await through(peerAt, PEER_PASSWORD);
  process.stdout.write('| command | ours | peer | difference |\n| --- | --- | --- | --- |\n');
  let bad = 0;
  for (const [index, { words, defended }] of walk.entries()) {
    const [mine, theirs] = [ours[index], peer[index]];
    if (!mine || !theirs) continue;
    const found = differences(mine, theirs);
    if (found.length > 0 && defended === undefined) bad += 1;
    const state = ({ ok, said }: Outcome): string => (ok ? 'ok' : `fails: ${said.slice(0, 200)}`);
    const why = found.length > 0 && defended !== undefined ? ` (defended: ${defended})` : '';
    const row = [words.join(' '), state(mine), state(theirs), `${found.join('; ')}${why}`];
    process.stdout.write(`| ${row.map((each) => each.replaceAll('|', '\\|')).join(' | ')} |\n`);
  }
  process.stdout.write(`\n${walk.length} commands, ${ours.filter(({ ok }) => !ok).length} fail, ${bad} to look at\n`);
  return bad === 0 ? 0 : 1;
}

await using sides = await openSides(process.argv.slice(2));
if (sides === null) {
  process.stderr.write('usage: node test/clients/compare/commands.ts [OURS] PEER\n');
  process.exitCode = 2;
} else {
  process.exitCode = await main(sides.oursAt, sides.peerAt);
}
