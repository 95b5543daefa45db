// `crosscell up` as an operator has it: a process, its data directory, signals. On simulated hosts.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApiClient } from '../../src/cli/client.ts';

const CROSSCELL = fileURLToPath(new URL('../../bin/crosscell', import.meta.url));
const LIMIT_MS = 20_000;

let directory = '';
const running = new Set<ChildProcess>();

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'crosscell-up-'));
});
after(async () => {
  await Promise.all([...running].map((child) => end(child, 'SIGKILL')));
  rmSync(directory, { recursive: true, force: true });
});

interface Up {
  readonly child: ChildProcess;
  readonly api: ApiClient;
}

async function start(name: string, ...flags: string[]): Promise<Up> {
  const args = [
    'up',
    '--data',
    join(directory, name),
    '--listen',
    '127.0.0.1:0',
    '--hypervisor',
    'simulated',
    '--no-image',
    '--json',
  ];
  const child = spawn(CROSSCELL, [...args, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(child);
  assert.ok(child.stdout);
  for await (const line of createInterface({ input: child.stdout })) {
    const { endpoint } = JSON.parse(line) as { endpoint: string };
    const password = readFileSync(join(directory, name, 'secrets', 'admin-password'), 'utf8').trim();
    const api = new ApiClient({ url: endpoint, user: 'admin', password, project: 'admin' });
    await api.login();
    return { child, api };
  }
  return assert.fail('crosscell up ended before it served');
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  running.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill(signal);
  return ended;
}

interface ServerView {
  readonly id: string;
  readonly status: string;
  readonly name: string;
}

async function status(api: ApiClient, id: string, wanted: string): Promise<void> {
  const giveUp = performance.now() + LIMIT_MS;
  for (;;) {
    const { server } = await api.call<{ server: ServerView }>('GET', `/compute/v2.1/servers/${id}`);
    if (server.status === wanted) return;
    assert.ok(performance.now() < giveUp, `${id} is ${server.status}, not ${wanted}`);
    await delay(10);
  }
}

async function makeServer(api: ApiClient): Promise<string> {
  const file = join(directory, 'image.raw');
  writeFileSync(file, Buffer.alloc(64 * 1024));
  const image = await api.call<{ id: string }>('POST', '/image/v2/images', {
    name: 'small',
    disk_format: 'raw',
    container_format: 'bare',
  });
  await api.upload(image.id, file);
  const body = { server: { name: 'one', imageRef: image.id, flavorRef: '1', networks: 'auto' } };
  const { server } = await api.call<{ server: { id: string } }>('POST', '/compute/v2.1/servers', body);
  await status(api, server.id, 'ACTIVE');
  return server.id;
}

test('a server outlives SIGKILL of the control plane, and a move goes on where it was', async () => {
  const first = await start('kill');
  const id = await makeServer(first.api);
  await first.api.call('POST', `/compute/v2.1/servers/${id}/action`, { resize: { flavorRef: '2' } });
  await end(first.child, 'SIGKILL');

  const second = await start('kill');
  await status(second.api, id, 'VERIFY_RESIZE');
  await second.api.call('POST', `/compute/v2.1/servers/${id}/action`, { confirmResize: null });
  await status(second.api, id, 'ACTIVE');
  assert.equal(await end(second.child, 'SIGINT'), 0);
});

test('Ctrl-C ends it with 0 and keeps the data; nobody else can serve the directory meanwhile', async () => {
  const first = await start('keep');
  const id = await makeServer(first.api);
  const rival = spawn(CROSSCELL, ['up', '--data', join(directory, 'keep'), '--hypervisor', 'simulated'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  rival.stderr?.on('data', (text) => {
    said += text;
  });
  assert.equal(await new Promise((resolve) => rival.once('exit', resolve)), 1);
  assert.match(said, /another crosscell serves/);
  assert.equal(await end(first.child, 'SIGINT'), 0);

  const second = await start('keep');
  await status(second.api, id, 'ACTIVE');
  assert.equal(await end(second.child, 'SIGTERM'), 0);

  // Its host cannot be listed under another cell: the record of the server is in the first one's.
  const config = join(directory, 'moved.yaml');
  writeFileSync(config, 'cells: [{ name: another, hosts: [{ name: cell1-host1 }] }]\n');
  const moved = await crosscell('up', '--config', config, '--data', join(directory, 'keep'), '--no-image');
  assert.equal(moved.code, 2, moved.err);
  assert.match(moved.err, /host cell1-host1 is configured in cell another, and belongs to cell cell1/);
});

test('secrets are readable by their owner alone, and the password can be given', async () => {
  const { child, api } = await start('secret', '--admin-password', 'correct horse');
  await api.call('GET', '/compute/v2.1/flavors');
  for (const file of [
    'secrets/admin-password',
    'secrets/fleet',
    'secrets/token-key',
    'clouds.yaml',
    'logs/crosscell.log',
  ]) {
    assert.equal(statSync(join(directory, 'secret', file)).mode & 0o077, 0, file);
  }
  assert.equal(readFileSync(join(directory, 'secret/secrets/admin-password'), 'utf8'), 'correct horse\n');
  assert.equal(await end(child, 'SIGINT'), 0);
});

test('wrong usage is exit status 2 with a sentence', async () => {
  for (const args of [
    ['up', '--cells', 'many'],
    ['up', '--hypervisor', 'xen'],
    ['fly'],
    ['up', '--config', '/nowhere.yaml'],
    ['up', '--listen', 'x'],
    ['simulate', '--hours', '0'],
    ['simulate', '--ops', '5-2'],
    ['simulate', '--ops', '0,9999'],
    ['simulate', '--schedules', '2', '--ops', '0'],
    ['simulate', '--schedules', '2', '--trace'],
  ]) {
    const child = spawn(CROSSCELL, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr?.on('data', (text) => {
      said += text;
    });
    const code = await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(code, 2, `${args.join(' ')}: ${said}`);
    assert.notEqual(said, '');
  }
});

interface Fault {
  readonly id: string;
  readonly fired: number;
}

async function crosscell(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(CROSSCELL, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (text) => {
    out += text;
  });
  child.stderr.on('data', (text) => {
    err += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  running.delete(child);
  return { code, out, err };
}

test('an injected crash really kills the process; the move is finished by the next, which has no fault armed', async () => {
  const first = await start('faults', '--allow-faults');
  const id = await makeServer(first.api);
  // Behind the copy: with this process the simulated hosts end too, and with them an export that is open.
  const { fault } = await first.api.call<{ fault: Fault }>('POST', '/crosscell/v1/faults', {
    ...{ saga: 'resize', step: 'grow disk', phase: 'do', kind: 'crash-after', times: 1 },
  });
  assert.equal(fault.fired, 0);
  const died = new Promise((resolve) => first.child.once('exit', (code, signal) => resolve([code, signal])));
  await first.api.call('POST', `/compute/v2.1/servers/${id}/action`, { resize: { flavorRef: '2' } });
  assert.deepEqual(await Promise.race([died, delay(LIMIT_MS, 'it lives', { ref: false })]), [null, 'SIGKILL']);

  const second = await start('faults', '--allow-faults');
  assert.deepEqual(await second.api.call('GET', '/crosscell/v1/faults'), { faults: [] });
  await status(second.api, id, 'VERIFY_RESIZE');

  const data = ['--data', join(directory, 'faults'), '--cloud', 'crosscell'];
  const listed = await crosscell('moves', 'list', ...data, '--server', id, '--json');
  assert.equal(listed.code, 0, listed.err);
  const { moves } = JSON.parse(listed.out) as { moves: { id: string; move: string; status: string }[] };
  const move = moves.find((each) => each.move === 'resize');
  assert.ok(move);
  const shown = await crosscell('moves', 'show', move.id, ...data);
  assert.match(shown.out, /^resize of server/);
  assert.match(shown.out, /grow disk +done/);
  const cancelled = await crosscell('moves', 'cancel', move.id, ...data);
  assert.deepEqual([cancelled.code, cancelled.out], [1, '']);
  assert.match(cancelled.err, /^crosscell: Move .* cannot be cancelled: It has ended already \(done\)\.\n$/);
  assert.equal((await crosscell('moves', 'skip', move.id, ...data)).code, 2);
  assert.equal((await crosscell('moves', 'list', '--data', join(directory, 'nowhere'))).code, 2);
  assert.equal(await end(second.child, 'SIGINT'), 0);

  const third = await start('faults');
  await assert.rejects(third.api.call('GET', '/crosscell/v1/faults'), { status: 404 });
  await assert.rejects(third.api.call('POST', '/crosscell/v1/faults', { kind: 'cell-down', cell: 'cell1' }), {
    status: 404,
  });
  assert.equal(await end(third.child, 'SIGINT'), 0);
});

test('that faults are allowed is said loudly, and no configuration file can allow them', async () => {
  const file = join(directory, 'faults.yaml');
  for (const key of ['allow_faults', 'allow-faults', 'allowFaults']) {
    writeFileSync(file, `${key}: true\n`);
    const refused = await crosscell('up', '--config', file);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /allow/);
  }
  const args = ['--data', join(directory, 'loud'), '--listen', '127.0.0.1:0', '--hypervisor', 'simulated'];
  const child = spawn(CROSSCELL, ['up', ...args, '--no-image', '--allow-faults'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  for await (const line of createInterface({ input: child.stdout })) if (line.includes('Ctrl-C')) break;
  assert.equal(await end(child, 'SIGINT'), 0);
  assert.match(said, /--allow-faults: every administrator can make this system fail/);
});

test('crosscell audit asks the control plane that runs, and reads the databases when none does', async () => {
  const { child, api } = await start('audit');
  await makeServer(api);
  const data = ['--data', join(directory, 'audit'), '--cloud', 'crosscell'];
  const held = await crosscell('audit', ...data);
  assert.deepEqual([held.code, held.err], [0, '']);
  assert.match(held.out, /servers: 1 .* guests: 1, .*/);
  assert.match(held.out, /audit: held/);
  // Simulated hosts live inside the control plane: nobody else can ask them.
  const direct = await crosscell('audit', '--direct', ...data);
  assert.equal(direct.code, 2);
  assert.match(direct.out, /audit: unknown/);
  assert.equal(await end(child, 'SIGINT'), 0);

  const rest = await crosscell('audit', '--repair', '--json', ...data);
  assert.equal(rest.code, 2);
  assert.match(rest.err, /no control plane answers .*: reading the databases/);
  assert.equal((JSON.parse(rest.out) as { verdict: string }).verdict, 'unknown');
});

interface StuckMove {
  readonly id: string;
  readonly status: string;
}

/** Migrates the server to the other cell; the move is stuck at 'drop old records'. */
async function stuckMove({ api }: Up, id: string): Promise<string> {
  await api.call('POST', '/crosscell/v1/faults', {
    ...{ saga: 'resize', step: 'drop old records', phase: 'do', kind: 'error', times: 4 },
  });
  const { server } = await api.call<{ server: Record<string, unknown> }>('GET', `/compute/v2.1/servers/${id}`);
  const host = String(server['OS-EXT-SRV-ATTR:host']).startsWith('cell1') ? 'cell2-host1' : 'cell1-host1';
  await api.call('POST', `/compute/v2.1/servers/${id}/action`, { migrate: { host } });
  const giveUp = performance.now() + LIMIT_MS;
  for (;;) {
    const { moves } = await api.call<{ moves: StuckMove[] }>('GET', `/crosscell/v1/moves?server_id=${id}&status=stuck`);
    if (moves[0]) return moves[0].id;
    assert.ok(performance.now() < giveUp, 'it is not stuck');
    await delay(10);
  }
}

test('moves retry and skip go on with a stuck move; the audit says 1 for what is broken, until it is repaired', async () => {
  const up = await start('orders', '--allow-faults');
  const id = await makeServer(up.api);
  const data = ['--data', join(directory, 'orders'), '--cloud', 'crosscell'];

  const first = await stuckMove(up, id);
  const broken = await crosscell('audit', ...data);
  assert.deepEqual([broken.code, broken.err], [1, '']);
  assert.match(broken.out, new RegExp(`resize ${first} of server ${id} is stuck`));
  assert.match(broken.out, /audit: BROKEN/);
  const retried = await crosscell('moves', 'retry', first, ...data);
  assert.deepEqual([retried.code, retried.err], [0, '']);
  assert.match(retried.out, /drop old records +retried by /);
  await status(up.api, id, 'VERIFY_RESIZE');
  await up.api.call('POST', `/compute/v2.1/servers/${id}/action`, { confirmResize: null });
  await status(up.api, id, 'ACTIVE');

  const second = await stuckMove(up, id);
  const skipped = await crosscell('moves', 'skip', second, 'drop old records', ...data);
  assert.deepEqual([skipped.code, skipped.err], [0, '']);
  assert.match(skipped.out, /drop old records +skipped by /);
  await status(up.api, id, 'VERIFY_RESIZE');
  // Nobody drops the record in the cell that the server has left any more: the audit finds it, and can prove that it may.
  const repaired = await crosscell('audit', '--repair', ...data);
  assert.deepEqual([repaired.code, repaired.err], [0, '']);
  assert.match(repaired.out, /deleted what cell .* kept of server/);
  assert.equal(await end(up.child, 'SIGINT'), 0);
});
