// The audit over the API: begun, looked at in pages, repairing.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type TestSystem, testSystem } from './system.ts';

const URL = '/crosscell/v1/audit';
const PATIENCE_MS = 30_000;

describe('the audit over the API', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  const run = async (body: object) => {
    const begun = await s.admin('POST', URL, body);
    assert.equal(begun.status, 202, begun.text);
    const giveUp = performance.now() + PATIENCE_MS;
    for (;;) {
      const { json } = await s.admin('GET', URL);
      if (json.audit?.id === begun.json.running.id) return json;
      assert.equal(json.running?.id, begun.json.running.id);
      assert.ok(performance.now() < giveUp, 'no end');
      await delay(10);
    }
  };

  it('is none before the first, and for administrators alone', async () => {
    const { json } = await s.admin('GET', URL);
    assert.deepEqual(json, { audit: null, running: null, findings: [], next: null });
    assert.equal((await s.alice('GET', URL)).status, 403);
    assert.equal((await s.alice('POST', URL, {})).status, 403);
    assert.equal((await s.admin('POST', URL, { repair: 'yes' })).status, 400);
    assert.equal((await s.admin('GET', `${URL}?marker=x:1`)).status, 400);
  });

  it('sees simulated hosts too: nothing is unknown', async () => {
    const { audit, findings } = await run({});
    assert.equal(audit.summary.verdict, 'held');
    assert.equal(audit.summary.counts.hosts, 4);
    assert.deepEqual([findings, audit.repair, audit.reason], [[], false, null]);
  });

  it('names breaches in pages; repairs them when asked to, and tells', async () => {
    const ports: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      const port = { port: { name, network_id: s.networkId } };
      ports.push((await s.admin('POST', '/network/v2.0/ports', port)).json.port.id);
    }
    const bindings = ports.map((port_id) => ({ port_id, host: 'gone', active: 1, generation: 1 }));
    await s.system.stores.global.insertInto('port_bindings').values(bindings).execute();

    assert.equal((await run({})).audit.summary.verdict, 'broken');
    const found: string[] = [];
    for (let url = `${URL}?limit=2`; ; ) {
      const { json } = await s.admin('GET', url);
      found.push(...json.findings.map((each: { kind: string; invariant: string }) => `${each.kind} ${each.invariant}`));
      if (json.next === null) break;
      assert.equal(json.findings.length, 2);
      url = `${URL}?limit=2&marker=${json.next}`;
    }
    assert.deepEqual(found, Array(3).fill('breach ports have owners'));

    const old = (await s.admin('GET', `${URL}?limit=1`)).json.next;
    const mended = await run({ repair: true });
    assert.equal(mended.audit.summary.verdict, 'held');
    assert.deepEqual(
      mended.findings.map((each: { kind: string }) => each.kind),
      Array(3).fill('repaired'),
    );
    assert.equal((await s.admin('GET', `${URL}?marker=${old}`)).status, 400, 'a marker of another run');
  });

  it('is one at a time', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => s.admin('POST', URL, {})));
    assert.deepEqual(answers.map((each) => each.status).sort(), [202, 409, 409]);
  });
});
