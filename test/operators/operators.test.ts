// An operator's hands on moves and faults, through the API of a whole system on simulated hosts.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { type Answered, type TestSystem, testSystem, waitFor } from '../api/system.ts';

const C = '/compute/v2.1';
const X = '/crosscell/v1';
const LIMIT_MS = 20_000;

describe("operators' hands", () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem({ allowFaults: true });
  });
  after(() => s[Symbol.asyncDispose]());
  afterEach(async () => {
    assert.equal((await s.admin('DELETE', `${X}/faults`)).status, 204);
  });

  async function arm(fault: object): Promise<string> {
    const answer = await s.admin('POST', `${X}/faults`, fault);
    assert.equal(answer.status, 201, answer.text);
    return answer.json.fault.id;
  }

  const fired = async (id: string): Promise<number> =>
    (await s.admin('GET', `${X}/faults`)).json.faults.find((each: { id: string }) => each.id === id).fired;

  async function newServer(): Promise<string> {
    const made = await s.alice('POST', `${C}/servers`, {
      server: { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] },
    });
    assert.equal(made.status, 202, made.text);
    assert.equal(await waitFor(s.alice, made.json.server.id, ['ACTIVE']), 'ACTIVE');
    return made.json.server.id;
  }

  /** Moves the server to a host of the other cell. */
  async function move(serverId: string): Promise<string> {
    const { server } = (await s.admin('GET', `${C}/servers/${serverId}`)).json;
    const to = (server['OS-EXT-SRV-ATTR:host'] as string).startsWith('cell1') ? 'cell2-host1' : 'cell1-host1';
    const begun = await s.admin('POST', `${C}/servers/${serverId}/action`, { migrate: { host: to } }, 56);
    assert.equal(begun.status, 202, begun.text);
    return to;
  }

  /** The server's latest resize, as soon as it is as wanted. */
  async function moveWhen(serverId: string, wanted: (shown: Answered['json']) => boolean): Promise<Answered['json']> {
    const giveUp = performance.now() + LIMIT_MS;
    for (;;) {
      const { moves } = (await s.admin('GET', `${X}/moves?server_id=${serverId}`)).json;
      const latest = moves.find((each: { move: string }) => each.move === 'resize');
      if (latest) {
        const shown = (await s.admin('GET', `${X}/moves/${latest.id}`)).json;
        if (wanted(shown)) return shown;
        assert.ok(performance.now() < giveUp, JSON.stringify(shown, null, 1));
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  const hasStatus = (status: string) => (shown: Answered['json']) => shown.move.status === status;
  const order = (id: string, verb: string, body?: object) => s.admin('POST', `${X}/moves/${id}/${verb}`, body);

  it('disables and enables cells', async () => {
    const [cell] = (await s.admin('GET', `${X}/cells`)).json.cells;
    assert.deepEqual([cell.disabled, cell.unreachableSince], [false, null]);
    for (const disabled of [true, false]) {
      const changed = await s.admin('PUT', `${X}/cells/${cell.name}`, { disabled });
      assert.deepEqual([changed.status, changed.json.cell.disabled], [200, disabled]);
    }
    assert.equal((await s.admin('PUT', `${X}/cells/nowhere`, { disabled: true })).status, 404);
    assert.equal((await s.alice('PUT', `${X}/cells/${cell.name}`, { disabled: true })).status, 403);
  });

  it('says which kinds and phases of faults there are', async () => {
    const saga = { saga: 'resize', step: 'stop source' };
    const kind = await s.admin('POST', `${X}/faults`, { ...saga, kind: 'flood' });
    const phase = await s.admin('POST', `${X}/faults`, { ...saga, kind: 'error', phase: 'later' });
    assert.deepEqual([kind.status, phase.status], [400, 400]);
    assert.match(JSON.stringify(kind.json), /crash-before.*lost-reply.*cell-down/);
    assert.match(JSON.stringify(phase.json), /'do', 'undo'/);
  });

  it('lists the sagas and their steps by name, as faults take them', async () => {
    const { sagas } = (await s.admin('GET', `${X}/sagas`)).json;
    const resize = sagas.find((each: { name: string }) => each.name === 'resize');
    assert.equal(resize.pivot, 'switch home');
    assert.deepEqual(resize.steps[0], {
      name: 'take hold',
      attempts: 4,
      retryFrom: null,
      where: 'source-cell',
      phases: ['do', 'undo'],
    });
    for (const { name, steps } of sagas) {
      for (const step of steps) {
        for (const phase of ['do', 'undo']) {
          const fault = { kind: 'delay', saga: name, step: step.name, phase, delay_ms: 1 };
          if (step.phases.includes(phase)) await arm(fault);
          else assert.equal((await s.admin('POST', `${X}/faults`, fault)).status, 400);
        }
      }
      // There may be only so many at a time.
      await s.admin('DELETE', `${X}/faults`);
    }
  });

  it('a failed step makes a card: what, where, what was undone, what to do', async () => {
    const id = await newServer();
    const fault = await arm({ kind: 'error-after', saga: 'resize', step: 'copy disk', phase: 'do', server: id });
    const target = await move(id);
    const { move: ended, failure } = await moveWhen(id, hasStatus('unwound'));
    assert.equal(await fired(fault), 1);
    assert.equal(ended.reason, 'copy disk: injected fault (error-after)');
    assert.equal(failure.situation, 'turned-back');
    assert.deepEqual(
      [failure.failed.step, failure.failed.direction, failure.failed.reason, failure.failed.host, failure.failed.cell],
      ['copy disk', 'do', 'injected fault (error-after)', target, target.split('-')[0]],
    );
    assert.deepEqual(failure.undone.slice(0, 3), ['copy disk', 'open export', 'stop source']);
    assert.equal(failure.undone.at(-1), 'take hold');
    assert.deepEqual([failure.toUndo, failure.owed, failure.skipped], [[], [], []]);
    assert.match(failure.advice, /^The server is as it was\./);
    assert.equal(await waitFor(s.alice, id, ['ACTIVE']), 'ACTIVE');
  });

  it('the very first step can fail too: the request is refused', async () => {
    const id = await newServer();
    await arm({ kind: 'error', saga: 'stop', step: 'take hold', phase: 'do' });
    assert.equal((await s.alice('POST', `${C}/servers/${id}/action`, { 'os-stop': null })).status, 409);
    assert.equal(await waitFor(s.alice, id, ['ACTIVE']), 'ACTIVE');
  });

  it('what a host that is down still has is owed, and on the card', async () => {
    const id = await newServer();
    const { server } = (await s.admin('GET', `${C}/servers/${id}`)).json;
    const down = await arm({
      kind: 'host-down',
      host: server['OS-EXT-SRV-ATTR:host'].startsWith('cell1') ? 'cell2-host1' : 'cell1-host1',
    });
    const target = await move(id);
    const service = async (forced_down: boolean) => {
      const { services } = (await s.admin('GET', `${C}/os-services?host=${target}`, undefined, 53)).json;
      const put = await s.admin('PUT', `${C}/os-services/${services[0].id}`, { forced_down }, 53);
      assert.equal(put.status, 200, put.text);
    };
    const { move: waiting } = await moveWhen(id, (shown) => shown.failure?.failed?.step === 'prepare target');
    await moveWhen(id, (shown) => shown.move.direction === 'undo');
    const again = await order(waiting.id, 'cancel');
    assert.deepEqual([again.status, /turning back already/.test(again.text)], [409, true]);
    // Only now does it count as down: until then the undo waits for it.
    await service(true);
    const { failure } = await moveWhen(id, (shown) => hasStatus('unwound')(shown) && shown.failure.owed.length > 0);
    assert.deepEqual([failure.owed[0].kind, failure.owed[0].where], ['destroy-guest', target]);
    assert.match(failure.advice, new RegExp(`paid by itself when ${target} can be reached again`));
    assert.ok((await fired(down)) > 0);
    // Back again, it gets no servers until it has been told what it should run.
    assert.equal((await s.admin('DELETE', `${X}/faults`)).status, 204);
    await service(false);
    const giveUp = performance.now() + LIMIT_MS;
    for (let back = false; !back; ) {
      const { hosts } = (await s.admin('GET', `${X}/hosts`)).json;
      back = hosts.some((each: { name: string; reconciled: boolean }) => each.name === target && each.reconciled);
      assert.ok(performance.now() < giveUp, `${target} does not come back`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('cancel turns a move back at once, although a step is under way, and says who did it', async () => {
    const id = await newServer();
    const fault = await arm({ kind: 'delay', saga: 'resize', step: 'copy disk', phase: 'do', delay_ms: 600_000 });
    await move(id);
    const { move: active } = await moveWhen(id, (shown) => shown.move.step === 'copy disk');
    const giveUp = performance.now() + LIMIT_MS;
    while ((await fired(fault)) === 0) assert.ok(performance.now() < giveUp);
    const cancelled = await order(active.id, 'cancel');
    assert.equal(cancelled.status, 202, cancelled.text);
    assert.equal(cancelled.json.move.direction, 'undo');
    const { move: ended, failure } = await moveWhen(id, hasStatus('unwound'));
    assert.equal(ended.reason, 'cancelled on request');
    assert.deepEqual([failure.cancelledBy, failure.failed], [s.admin.userId, null]);
    const entry = ended.steps.find((each: { outcome: string }) => each.outcome === 'cancelled');
    assert.deepEqual([entry.step, entry.by], ['copy disk', s.admin.userId]);
    assert.equal(await waitFor(s.alice, id, ['ACTIVE']), 'ACTIVE');
    for (const verb of ['cancel', 'retry']) assert.equal((await order(active.id, verb)).status, 409);
    const events = await s.admin('GET', `${C}/servers/${id}/os-instance-actions/${ended.requestId}`, undefined, 84);
    assert.match(events.text, /resize_cancelled_copy_disk/);
  });

  it('a stuck move: cancel is honest about the pivot, retry has it go on, and the card says so', async () => {
    const id = await newServer();
    const fault = await arm({ kind: 'error', saga: 'resize', step: 'drop old records', phase: 'do', times: 4 });
    await move(id);
    const { move: stuck, failure } = await moveWhen(id, hasStatus('stuck'));
    assert.equal(await fired(fault), 4);
    assert.deepEqual([failure.situation, failure.failed.attempts], ['stuck', 4]);
    assert.match(failure.advice, /crosscell moves retry/);
    const cancel = await order(stuck.id, 'cancel');
    assert.equal(cancel.status, 409);
    assert.match(cancel.json.conflictingRequest.message, /past its pivot 'switch home' and can only be finished/);
    assert.equal((await s.alice('POST', `${X}/moves/${stuck.id}/retry`)).status, 403);
    const retried = await order(stuck.migrationId, 'retry');
    assert.equal(retried.status, 202, retried.text);
    assert.equal(await waitFor(s.alice, id, ['VERIFY_RESIZE']), 'VERIFY_RESIZE');
    const { failure: after } = await moveWhen(id, hasStatus('done'));
    assert.equal(after.situation, 'passed');
    assert.equal((await order('nothing', 'retry')).status, 404);
  });

  it('skip goes past a stuck step when its name is given, and the card does not forget it', async () => {
    const id = await newServer();
    await arm({ kind: 'error', saga: 'resize', step: 'drop old records', phase: 'do', times: 4 });
    await move(id);
    const { move: stuck } = await moveWhen(id, hasStatus('stuck'));
    assert.equal((await order(stuck.id, 'skip')).status, 400);
    const wrong = await order(stuck.id, 'skip', { step: 'let go' });
    assert.equal(wrong.status, 409);
    assert.match(wrong.text, /stuck at 'drop old records', not at 'let go'/);
    const skipped = await order(stuck.id, 'skip', { step: 'drop old records' });
    assert.equal(skipped.status, 202, skipped.text);
    assert.equal(await waitFor(s.alice, id, ['VERIFY_RESIZE']), 'VERIFY_RESIZE');
    const { failure } = await moveWhen(id, hasStatus('done'));
    assert.deepEqual(failure.skipped, ['drop old records']);
  });

  it('retry does not wait for the next attempt', async () => {
    const id = await newServer();
    const fault = await arm({ kind: 'lost-reply', saga: 'resize', step: 'finish migration', phase: 'do', times: 1000 });
    await move(id);
    // Attempts come apart by ever more: at the sixth, the next is more than six seconds away.
    const { move: waiting, failure } = await moveWhen(id, (shown) => (shown.failure?.failed?.attempts ?? 0) >= 6);
    assert.deepEqual([failure.situation, waiting.status], ['waiting-forward', 'active']);
    assert.equal((await s.admin('DELETE', `${X}/faults/${fault}`)).status, 204);
    const began = performance.now();
    assert.equal((await order(waiting.id, 'retry')).status, 202);
    await moveWhen(id, hasStatus('done'));
    assert.ok(performance.now() - began < 5000);
  });

  it('cell-down and host-down take a cell or a host away, until they are deleted', async () => {
    const id = await newServer();
    const { server } = (await s.admin('GET', `${C}/servers/${id}`)).json;
    const host = server['OS-EXT-SRV-ATTR:host'] as string;
    const cell = await arm({ kind: 'cell-down', cell: host.split('-')[0] });
    assert.equal((await s.alice('GET', `${C}/servers/${id}`)).status, 503);
    assert.ok((await fired(cell)) > 0);
    assert.equal((await s.admin('DELETE', `${X}/faults/${cell}`)).status, 204);
    assert.equal((await s.alice('GET', `${C}/servers/${id}`)).status, 200);
    const consoleStatus = async () =>
      (await s.alice('POST', `${C}/servers/${id}/action`, { 'os-getConsoleOutput': {} })).status;
    assert.equal(await consoleStatus(), 200);
    const down = await arm({ kind: 'host-down', host });
    assert.notEqual(await consoleStatus(), 200);
    assert.ok((await fired(down)) > 0);
    assert.equal((await s.admin('DELETE', `${X}/faults/${down}`)).status, 204);
    assert.equal(await consoleStatus(), 200);
    assert.equal((await s.admin('DELETE', `${X}/faults/${down}`)).status, 404);
  });

  it('refuses faults that make no sense, and everybody but administrators', async () => {
    const at = { saga: 'resize', step: 'copy disk', phase: 'do' };
    for (const body of [
      { kind: 'explode', ...at },
      { kind: 'error' },
      { kind: 'error', ...at, step: 'fly' },
      { kind: 'error', ...at, times: 0 },
      { kind: 'delay', ...at, delay_ms: 1e9 },
      { kind: 'cell-down', cell: 'nowhere' },
      { kind: 'host-down', host: 'nowhere' },
    ]) {
      assert.equal((await s.admin('POST', `${X}/faults`, body)).status, 400, JSON.stringify(body));
    }
    assert.equal((await s.alice('POST', `${X}/faults`, { kind: 'error', ...at })).status, 403);
    assert.deepEqual((await s.admin('GET', `${X}/faults`)).json, { faults: [] });
  });
});

it('without --allow-faults the routes answer 404', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const body = { kind: 'error', saga: 'resize', step: 'copy disk', phase: 'do' };
  assert.equal((await s.admin('GET', `${X}/faults`)).status, 404);
  assert.equal((await s.admin('POST', `${X}/faults`, body)).status, 404);
  assert.equal((await s.admin('DELETE', `${X}/faults`)).status, 404);
  assert.equal((await s.admin('DELETE', `${X}/faults/x`)).status, 404);
});
