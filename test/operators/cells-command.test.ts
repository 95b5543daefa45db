// `crosscell cells` and `crosscell hosts` as commands, against a whole system: what they print, what they change, their exit
// statuses.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PASSWORDS, testSystem } from '../api/system.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

test('cells are listed, disabled and enabled, and a host is forgotten; what is wrong is said in one line', async () => {
  await using s = await testSystem({ cells: 2, hostsPerCell: 1, allowFaults: true });
  const data = mkdtempSync(join(tmpdir(), 'crosscell-cells-'));
  try {
    const cloud = (username: string, password: string, project: string) => ({
      auth: { auth_url: `${s.system.url}/identity/v3`, username, password, project_name: project },
    });
    const clouds = {
      crosscell: cloud('admin', PASSWORDS.admin, 'admin'),
      alice: cloud('alice', PASSWORDS.alice, 'wonderland'),
    };
    writeFileSync(join(data, 'clouds.yaml'), JSON.stringify({ clouds }));
    const command = (...args: string[]): Promise<Ran> =>
      new Promise((resolve) =>
        execFile(process.execPath, [MAIN, ...args, '--data', data], (error, out, err) =>
          resolve({ status: error === null ? 0 : Number(error.code), out, err }),
        ),
      );
    const run = (...args: string[]) => command('cells', ...args);
    const [listed, missing, foreign, unknown] = await Promise.all([
      run('list', '--cloud', 'crosscell'),
      run('disable'),
      run('list', '--cloud', 'alice'),
      run('disable', 'cell9', '--cloud', 'crosscell'),
    ]);
    const line = (name: string, state: string) => `${name}  ${state}, 1 hosts, 0 servers\n`;
    assert.deepEqual(listed, { status: 0, out: line('cell1', 'enabled') + line('cell2', 'enabled'), err: '' });
    assert.deepEqual([missing.status, missing.out], [2, '']);
    assert.match(missing.err, /needs the name of a cell/);
    assert.equal(foreign.status, 1);
    assert.match(foreign.err, /^crosscell: .*\n$/);
    assert.equal(unknown.status, 1);
    assert.match(unknown.err, /cell9/);
    assert.deepEqual(await run('disable', 'cell2', '--cloud', 'crosscell'), {
      ...{ status: 0, out: line('cell2', 'disabled'), err: '' },
    });
    const json = JSON.parse((await run('list', '--json', '--cloud', 'crosscell')).out);
    assert.deepEqual(
      json.cells.map((each: { name: string; disabled: boolean }) => [each.name, each.disabled]),
      [
        ['cell1', false],
        ['cell2', true],
      ],
    );
    assert.equal((await run('enable', 'cell2', '--cloud', 'crosscell')).out, line('cell2', 'enabled'));

    const forget = () => command('hosts', 'forget', 'cell2-host1', '--cloud', 'crosscell');
    assert.deepEqual(await forget(), {
      ...{ status: 1, out: '', err: 'crosscell: Compute host cell2-host1 answers: it is there.\n' },
    });
    assert.equal(
      (await s.admin('POST', '/crosscell/v1/faults', { kind: 'host-down', host: 'cell2-host1' })).status,
      201,
    );
    const { global } = s.system.stores;
    await global.updateTable('hosts').set({ last_seen_at: null }).where('name', '=', 'cell2-host1').execute();
    assert.deepEqual(await forget(), {
      ...{ status: 0, err: '' },
      out: 'cell2-host1 is forgotten; written off: clean-ups 0, guests in quarantine 0, volumes 0, snapshots 0\n',
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
});
