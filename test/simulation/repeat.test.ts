// The same seed, the same trace: on one stage, on another, in another process, on however many threads.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { DEFAULT_SCENARIO, openStage, planFor, runOnce } from '../../src/simulation/scenario.ts';
import { search } from '../../src/simulation/search.ts';

const run = promisify(execFile);
const PROGRAM = new URL('../../bin/crosscell', import.meta.url).pathname;

async function simulate(...args: string[]): Promise<{ stdout: string; code: number }> {
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` };
  try {
    const { stdout } = await run(PROGRAM, ['simulate', ...args], { env, timeout: 120_000, maxBuffer: 2 ** 26 });
    return { stdout, code: 0 };
  } catch (error) {
    const { stdout, code } = error as { stdout: string; code: number };
    return { stdout, code };
  }
}

test('a schedule has one trace, whatever ran before it on its stage', async () => {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    const plans = Array.from({ length: 20 }, (_, index) => planFor(DEFAULT_SCENARIO, 1000 + index));
    const digests: string[] = [];
    for (const plan of plans) digests.push((await stage.run(plan)).digest);
    for (const [index, plan] of plans.entries()) {
      const alone = index % 5 === 0 ? await runOnce(DEFAULT_SCENARIO, plan) : await stage.run(plan);
      assert.equal(alone.digest, digests[index], `seed ${plan.seed}`);
    }
    assert.equal(new Set(digests).size, digests.length, 'another seed has another trace');
  } finally {
    stage.close();
  }
});

test('a search comes to the same on one thread and on two', async () => {
  const range = { first: 5000, count: 60 };
  assert.deepEqual(await search(DEFAULT_SCENARIO, range, 2), await search(DEFAULT_SCENARIO, range, 1));
});

test('another process has the same trace', async () => {
  const [first, second] = await Promise.all([
    simulate('--seed', '77', '--servers', '3', '--trace', '--json'),
    simulate('--seed', '77', '--servers', '3', '--trace', '--json'),
  ]);
  const [one, two] = [first, second].map(({ stdout }) => JSON.parse(stdout) as { digest: string; trace: string[] });
  assert.deepEqual(one?.trace, two?.trace);
  assert.equal(one?.digest, two?.digest);
  assert.ok((one?.trace.length ?? 0) > 20);
});

test('a failing seed says what went wrong, and the command that it prints goes wrong in the same way', async () => {
  const found = await simulate('--schedules', '200', '--without', 'undo');
  assert.equal(found.code, 1, found.stdout);
  const violation = /^VIOLATION (.*)$/m.exec(found.stdout)?.[1];
  const command = /^replay: bin\/crosscell simulate (.*)$/m.exec(found.stdout)?.[1];
  assert.ok(violation !== undefined && command !== undefined, found.stdout);
  const again = await simulate(...command.split(' '));
  assert.equal(again.code, 1);
  assert.ok(again.stdout.includes(`VIOLATION ${violation}`), again.stdout);
});

test('a report that is longer than what a pipe holds is printed whole', async () => {
  const { stdout } = await simulate('--schedules', '5', '--json');
  assert.ok(stdout.length > 128 * 1024);
  assert.equal((JSON.parse(stdout) as { schedules: number }).schedules, 5);
});

test('a wrong list of events and a wrong number are refused', async () => {
  assert.equal((await simulate('--ops', '1,x')).code, 2);
  assert.equal((await simulate('--hours', '-1')).code, 2);
  assert.equal((await simulate('--without', 'luck')).code, 2);
});
