// The demo from its command line to its exit status, on simulated hosts. On QEMU it is run by `make demo`.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { processesOf } from '../../src/cli/demo/place.ts';
import type { Report } from '../../src/cli/demo/report.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
const LIMIT_MS = 120_000;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function directoryFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-demo-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return join(directory, 'demo');
}

/** Starts the demo; `seen` is told all output so far whenever there is more. */
async function demo(
  t: TestContext,
  args: readonly string[],
  seen: (output: string, child: ChildProcess) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
  });
  t.after(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
    seen(output.stdout, child);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  const status = await new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { status, ...output };
}

const reportIn = async (directory: string): Promise<Report> =>
  JSON.parse(await readFile(join(directory, 'report.json'), 'utf8')) as Report;

describe('crosscell demo', { concurrency: true }, () => {
  test('six scenes hold on simulated hosts, and the report says what was done', async (t) => {
    const directory = await directoryFor(t);
    const { status, stdout, stderr } = await demo(t, ['--hypervisor', 'simulated', '--data', directory]);
    const line = 'demo: ok (6 of 6 scenes, 7 moves, 0 lost, 0 leaked)';
    assert.equal(stdout.trimEnd().split('\n').at(-1), line, `${stdout}${stderr}`);
    assert.equal(status, 0);
    const report = await reportIn(directory);
    assert.equal(report.verdict, 'ok');
    assert.equal(report.lastLine, line);
    assert.deepEqual(
      report.scenes.map(({ number, held, error }) => ({ number, held, error })),
      [1, 2, 3, 4, 5, 6].map((number) => ({ number, held: true, error: null })),
    );
    assert.ok(report.claims.length > 40);
    assert.ok(report.claims.every((claim) => claim.held));
    assert.deepEqual(
      report.moves.map(({ scene, server, operation, outcome }) => `${scene} ${server} ${operation} ${outcome}`),
      [
        '1 first resize confirmed',
        '2 second resize reverted',
        '2 second revert finished',
        '3 third resize confirmed',
        '4 fourth resize put back',
        '4 fourth resize confirmed',
        '5 fifth resize confirmed',
      ],
    );
    for (const move of report.moves) {
      const [from, to] = move.operation === 'revert' ? ['cell2', 'cell1'] : ['cell1', 'cell2'];
      assert.deepEqual([move.from.cell, move.to?.cell], [from, to]);
      assert.ok(move.steps.length > 10);
      assert.equal(move.bytesCopied > 0, move.operation === 'resize');
      assert.match(move.digest.before ?? '', /^[0-9a-f]{64}$/);
    }
    assert.deepEqual(report.moves[0]?.statuses, ['ACTIVE', 'RESIZE', 'VERIFY_RESIZE']);
    const undone = report.moves[4]?.steps.filter((step) => step.direction === 'undo').length;
    assert.ok(undone !== undefined && undone > 10);
    assert.ok(report.watch.looks > 50);
    assert.deepEqual(await processesOf(directory), []);
  });

  test('interrupted, it stops everything, says so and exits with 1', async (t) => {
    const directory = await directoryFor(t);
    let sent = false;
    const { status, stdout } = await demo(t, ['--hypervisor', 'simulated', '--data', directory], (output, child) => {
      if (sent || !output.includes('its disk is copied')) return;
      sent = true;
      child.kill('SIGINT');
    });
    assert.equal(sent, true, stdout);
    assert.match(stdout.trimEnd().split('\n').at(-1) ?? '', /^demo: FAILED \(0 of 6 scenes, .*; interrupted\)$/);
    assert.equal(status, 1);
    assert.equal((await reportIn(directory)).verdict, 'failed');
    assert.deepEqual(await processesOf(directory), []);
  });

  test('a control plane that dies on its own is a demo that failed, with the reason and the place of the logs', async (t) => {
    const directory = await directoryFor(t);
    let [killed, ended] = [false, false];
    const { status, stdout } = await demo(t, ['--hypervisor', 'simulated', '--data', directory], (output, child) => {
      if (!ended && output.includes('Scene 2')) ended = child.kill('SIGINT');
      if (killed || !output.includes('it is VERIFY_RESIZE in cell2')) return;
      killed = true;
      void processesOf(directory).then((found) => {
        for (const { pid, argv } of found) if (argv.includes('up')) process.kill(pid, 'SIGKILL');
      });
    });
    assert.equal(killed, true, stdout);
    assert.equal(status, 1);
    assert.match(stdout, /scene 1 broke off: (the control plane has died|fetch failed)/);
    assert.match(stdout, /logs: /);
    assert.deepEqual(await processesOf(directory), []);
  });

  test('it refuses a directory that is not its own', async (t) => {
    const directory = join(await directoryFor(t), '..');
    await writeFile(join(directory, 'mine.txt'), 'mine');
    const { status, stdout, stderr } = await demo(t, ['--hypervisor', 'simulated', '--data', directory]);
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /is not empty and not a demo's/);
    assert.equal(await readFile(join(directory, 'mine.txt'), 'utf8'), 'mine');
  });

  test('with --json the report is all it prints', async (t) => {
    const directory = await directoryFor(t);
    const { stdout, status } = await demo(
      t,
      ['--hypervisor', 'simulated', '--data', directory, '--json'],
      () => undefined,
    );
    const report = JSON.parse(stdout) as Report;
    assert.equal(report.lastLine, 'demo: ok (6 of 6 scenes, 7 moves, 0 lost, 0 leaked)');
    assert.deepEqual(report, await reportIn(directory));
    assert.equal(status, 0);
  });
});
