// Guests in quarantine over the API, and with the command.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineOf } from '../../src/cli/quarantine.ts';
import { newId } from '../../src/lib/ids.ts';
import { testSystem } from './system.ts';

const URL = '/crosscell/v1/quarantine';

test('guests in quarantine are listed in pages, released and destroyed by administrators', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const host = (await s.admin('GET', '/crosscell/v1/hosts')).json.hosts[0];
  assert.equal(host.reconciled, true);
  const row = {
    kind: 'guest',
    host: host.name,
    generation: 1,
    bytes: null,
    was_running: 1,
    reason: 'its server was deleted',
    found_at: 0,
  };
  const rows = ['1', '2', '3'].map((id) => ({ ...row, id, server_id: newId(), ended_at: null, outcome: null }));
  await s.system.stores.global.insertInto('quarantine').values(rows).execute();

  assert.equal((await s.alice('GET', URL)).status, 403);
  const first = (await s.admin('GET', `${URL}?limit=2`)).json;
  assert.deepEqual([first.quarantine.map((each: { id: string }) => each.id), first.next], [['1', '2'], '2']);
  const second = (await s.admin('GET', `${URL}?limit=2&marker=2`)).json;
  assert.deepEqual([second.quarantine.map((each: { id: string }) => each.id), second.next], [['3'], null]);
  assert.match(
    lineOf(first.quarantine[0]),
    /^1 {2}guest {2}\S+ {2}\S+ {2}1970-01-01T00:00:00.000Z {2}its server was deleted, it was running\n$/,
  );

  assert.equal((await s.alice('POST', `${URL}/1/release`)).status, 403);
  assert.equal((await s.admin('POST', `${URL}/1/release`)).status, 204);
  assert.equal((await s.admin('POST', `${URL}/1/release`)).status, 404);
  assert.equal((await s.admin('POST', `${URL}/2/destroy`)).status, 202);
  assert.equal((await s.admin('GET', URL)).json.quarantine.length, 1);

  const volume = { ...row, kind: 'volume', id: '4', server_id: newId(), bytes: 2 ** 21, was_running: 0 };
  await s.system.stores.global
    .insertInto('quarantine')
    .values({ ...volume, ended_at: null, outcome: null })
    .execute();
  const [, found] = (await s.admin('GET', URL)).json.quarantine;
  assert.deepEqual([found.kind, found.serverId, found.volumeId], ['volume', null, volume.server_id]);
  assert.match(lineOf(found), /^4 {2}volume {2}\S+ {2}[0-9a-f-]{36} {2}2 MiB {2}1970\S+ {2}its server was deleted\n$/);
});
