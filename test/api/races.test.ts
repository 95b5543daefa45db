// Two users who want the same of one server at the same time, over HTTP: exactly one gets it, the other is told with
// Nova's words that it cannot be. And a move asked for a server whose cell is down: 503, and nothing has changed.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { CellDown, type Stores } from '../../src/store/stores.ts';
import { type Answered, type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

describe('the same thing twice at the same time', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const { id } of (await s.alice('GET', `${C}/servers`)).json.servers) {
      await s.alice('DELETE', `${C}/servers/${id}`);
      await waitFor(s.alice, id, ['gone']);
    }
  });

  const create = async (): Promise<string> => {
    const wish = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
    const answer = await s.alice('POST', `${C}/servers`, { server: wish });
    assert.equal(answer.status, 202, answer.text);
    assert.equal(await waitFor(s.alice, answer.json.server.id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    return answer.json.server.id;
  };
  const act = (id: string, body: object): Promise<Answered> => s.alice('POST', `${C}/servers/${id}/action`, body);
  const resized = async (): Promise<string> => {
    const id = await create();
    assert.equal((await act(id, { resize: { flavorRef: '2' } })).status, 202);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    return id;
  };

  const RACES = [
    ['resize', create, { resize: { flavorRef: '2' } }, 202, 'VERIFY_RESIZE'],
    ['migrate', create, { migrate: null }, 202, 'VERIFY_RESIZE'],
    ['confirmResize', resized, { confirmResize: null }, 204, 'ACTIVE'],
    ['revertResize', resized, { revertResize: null }, 202, 'ACTIVE'],
    ['stop', create, { 'os-stop': null }, 202, 'SHUTOFF'],
  ] as const;
  for (const [what, prepare, body, accepted, end] of RACES) {
    it(`${what}: one wins, the others get 409`, async () => {
      const id = await prepare();
      const answers = await Promise.all([1, 2, 3, 4].map(() => act(id, body)));
      const statuses = answers.map((answer) => answer.status).toSorted();
      assert.deepEqual(statuses, [accepted, 409, 409, 409].toSorted());
      for (const answer of answers.filter(({ status }) => status === 409)) {
        assert.match(
          answer.json.conflictingRequest.message,
          new RegExp(`^(Cannot '\\w+' instance ${id} while it is in (vm|task)_state|Instance ${id} )`),
        );
      }
      await waitFor(s.alice, id, [end]);
    });
  }

  it('confirm and revert: one of them', async () => {
    const id = await resized();
    const answers = await Promise.all([act(id, { confirmResize: null }), act(id, { revertResize: null })]);
    assert.equal(answers.filter(({ status }) => status < 300).length, 1, answers.map(({ text }) => text).join());
    assert.equal(answers.filter(({ status }) => status === 409).length, 1);
    await waitFor(s.alice, id, ['ACTIVE']);
  });

  // As in Nova, where a delete of what is being deleted is the same wish, and no conflict.
  it('delete: asked for twice it happens once, and never a 5xx', async () => {
    const id = await resized();
    const answers = await Promise.all([1, 2, 3].map(() => s.alice('DELETE', `${C}/servers/${id}`)));
    assert.ok(answers.some(({ status }) => status === 204));
    for (const { status } of answers) assert.ok([204, 404, 409].includes(status), String(status));
    await waitFor(s.alice, id, ['gone']);
  });

  it('a move of a server whose cell is down: 503, and nothing has changed', async () => {
    const id = await create();
    const { stores } = s.system.platform;
    const writable = stores as { -readonly [K in keyof Stores]: Stores[K] };
    const open = stores.cell;
    const shown = async () => ({
      server: (await s.alice('GET', `${C}/servers/${id}`)).json,
      migrations: (await s.admin('GET', `${C}/os-migrations?instance_uuid=${id}`, undefined, 59)).json,
      moves: (await s.admin('GET', `/crosscell/v1/moves?server_id=${id}`)).json,
      actions: (await s.alice('GET', `${C}/servers/${id}/os-instance-actions`)).json,
      limits: (await s.alice('GET', `${C}/limits`)).json,
    });
    const earlier = await shown();
    writable.cell = (cellId) => Promise.reject(new CellDown(cellId, 'for the test'));
    try {
      for (const body of [{ resize: { flavorRef: '2' } }, { migrate: null }, { confirmResize: null }]) {
        const answer = await act(id, body);
        assert.equal(answer.status, 503, answer.text);
        assert.match(answer.json.serviceUnavailable.message, /unavailable at this time/);
      }
    } finally {
      writable.cell = open;
    }
    assert.deepEqual(await shown(), earlier);
  });
});
