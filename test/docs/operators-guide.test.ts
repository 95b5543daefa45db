// docs/operators-guide.md against the program: the options of every command, the metrics, the log fields of steps.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { plain, ROOT, read, tableUnder } from './markdown.ts';

const run = promisify(execFile);
const guide = read('docs/operators-guide.md');
const LIMIT_MS = 60_000;

/** bin/crosscell, with this very Node.js for the case that none has been set up. */
async function crosscell(...args: string[]): Promise<string> {
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` };
  const { stdout } = await run(join(ROOT, 'bin', 'crosscell'), args, { env, timeout: LIMIT_MS });
  return stdout;
}

const optionsIn = (text: string): string[] => [...text.matchAll(/--[a-z-]+/g)].map(([option]) => option);

test('every command is there, with all of its options and no others', async () => {
  const help = await crosscell('--help');
  const commands = [...help.matchAll(/^ {2}([a-z]+) .*\[options\]/gm)].map(([, name]) => name ?? '');
  assert.ok(commands.length > 0, help);
  const headings = [...guide.matchAll(/^### Options of ([a-z]+)$/gm)].map(([, name]) => name ?? '');
  assert.deepEqual(headings.toSorted(), commands.toSorted());
  for (const command of commands) {
    const shown = (await crosscell(command, '--help')).split('\n').flatMap((line) => {
      const [, option] = /^ {2}(?:-\w, )?(--[a-z-]+)/.exec(line) ?? [];
      return option === undefined || option === '--help' ? [] : [option];
    });
    const { rows } = tableUnder(guide, `Options of ${command}`);
    assert.deepEqual(rows.flatMap(([option = '']) => optionsIn(option)).toSorted(), shown.toSorted(), command);
  }
});

test('crosscell version says the version of the changelog', async () => {
  const { version } = JSON.parse(await crosscell('version', '--json')) as { version: string };
  assert.equal(await crosscell('version'), `crosscell ${version}\n`);
  const [, newest] = /^## ([0-9][^ \n]*)/m.exec(read('CHANGELOG.md')) ?? [];
  assert.equal(newest, version);
});

test('the metrics are those of the program', async () => {
  const named: string[] = [];
  for await (const path of glob('src/**/metrics.ts', { cwd: ROOT })) {
    const source = readFileSync(join(ROOT, path), 'utf8');
    named.push(...[...source.matchAll(/name: '(crosscell_[a-z_]+)'/g)].map(([, name]) => name ?? ''));
  }
  const { rows } = tableUnder(guide, 'Metrics');
  assert.deepEqual(rows.map(([name = '']) => plain(name)).toSorted(), named.toSorted());
});

test('options in the shell examples of all pages exist', async () => {
  const help = await crosscell('up', '--help');
  const known = new Set([...optionsIn(help), ...optionsIn(await crosscell('agent', '--help'))]);
  const used = [...guide.matchAll(/bin\/crosscell (?:up|agent) ((?:[^\n`]|\\\n)*)/g)].flatMap(([, rest = '']) =>
    optionsIn(rest),
  );
  assert.ok(used.length > 0);
  assert.deepEqual(
    used.filter((option) => !known.has(option)),
    [],
  );
});
