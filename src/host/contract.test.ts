// The contract, held by the agent in the same process and by the agent behind HTTP: one suite, two ways to reach it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { fc } from '../lib/property-testing.ts';
import { Agent } from './agent.ts';
import { connectHost } from './client.ts';
import type { Guest, Host, Reply } from './contract.ts';
import { MemoryRecords } from './records.ts';
import { createHostServer } from './server.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, GIB, MUTATIONS, OTHER_SERVER, ROOT, SERVER, SPEC, silent, value } from './test-support.ts';

const SECRET = 'a-secret-of-the-fleet';
const fabric = new SimulatedFabric();

async function openAgent(name: string, records = new MemoryRecords()) {
  const hypervisor = new SimulatedHypervisor({ clock: systemClock, fabric, host: name });
  const resources = { vcpus: 16, memoryMb: 32768, diskGb: 100 };
  const agent = await Agent.open({ name, clock: systemClock, hypervisor, records, resources, log: silent });
  return { agent, hypervisor };
}

interface Reachable {
  readonly host: Host;
  readonly hypervisor: SimulatedHypervisor;
  close(): Promise<void>;
}

async function openDirect(): Promise<Reachable> {
  const { agent, hypervisor } = await openAgent('direct');
  return { host: agent, hypervisor, close: () => agent.close() };
}

async function openRemote(): Promise<Reachable> {
  const { agent, hypervisor } = await openAgent('remote');
  const app = createHostServer({ host: agent, name: 'remote', secret: SECRET, log: silent });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const close = async () => {
    await app.close();
    await agent.close();
  };
  return { host: connectHost({ url, secret: SECRET, name: 'remote' }), hypervisor, close };
}

for (const [way, open] of [
  ['in process', openDirect],
  ['over HTTP', openRemote],
] as const) {
  describe(`contract ${way}`, () => {
    let reachable: Reachable;
    let host: Host;
    let generation = 0;
    before(async () => {
      reachable = await open();
      host = reachable.host;
    });
    after(() => reachable.close());
    /** Every test begins with nothing defined, at a new generation. */
    async function begin(): Promise<number> {
      generation += 1;
      await finish(() => host.destroy(SERVER, { generation }));
      generation += 1;
      return generation;
    }
    const define = (disk: 'fresh' | 'incoming' = 'fresh') =>
      finish(() => host.define(SERVER, { generation, spec: SPEC, disk }));
    const power = (state: 'on' | 'off') =>
      finish(() => host.setPower(SERVER, { generation, power: state, graceSeconds: 60 }));

    test('describes itself', async () => {
      const description = value(await host.describe());
      assert.equal(description.hypervisorType, 'simulated');
      assert.deepEqual([description.vcpus, description.memoryMb, description.diskGb], [16, 32768, 100]);
    });

    test('a guest is defined, started, stopped, destroyed; each twice without harm', async () => {
      await begin();
      assert.equal((await host.guest(SERVER)).kind, 'absent');
      for (const _ of [1, 2]) await define();
      let guest: Guest = value(await host.guest(SERVER));
      assert.deepEqual([guest.power, guest.disk, guest.startedAt], ['off', true, null]);
      assert.deepEqual(guest.spec, SPEC);
      for (const _ of [1, 2]) await power('on');
      guest = value(await host.guest(SERVER));
      assert.equal(guest.power, 'on');
      assert.notEqual(guest.startedAt, null);
      assert.equal(reachable.hypervisor.diskWords(SERVER)?.length, 2, 'started once');
      assert.match(value(await host.console(SERVER, 1)).output, /^GUEST UP cpus=1/);
      const beat = value(await host.heartbeat());
      assert.deepEqual(beat.guests, [{ serverId: SERVER, generation, power: 'on', suspended: false, exported: false }]);
      for (const _ of [1, 2]) await power('off');
      assert.equal(value(await host.guest(SERVER)).power, 'off');
      for (const _ of [1, 2]) await finish(() => host.destroy(SERVER, { generation }));
      assert.equal((await host.guest(SERVER)).kind, 'absent');
      assert.equal((await host.console(SERVER)).kind, 'absent');
      assert.deepEqual(value(await host.heartbeat()).guests, []);
    });

    test('a suspended guest goes on from its memory; turned off, or with another disk, it would not', async () => {
      await begin();
      await define();
      const suspend = () => finish(() => host.setPower(SERVER, { generation, power: 'suspended', graceSeconds: 0 }));
      const words = () => reachable.hypervisor.diskWords(SERVER)?.filter((word) => word.startsWith('run')).length;
      const suspended = async () => {
        const { power: now, suspended: kept } = value(await host.guest(SERVER));
        assert.equal(value(await host.heartbeat()).guests[0]?.suspended, kept);
        return [now, kept];
      };
      const no = await host.setPower(SERVER, { generation, power: 'suspended', graceSeconds: 0 });
      assert.deepEqual(no, { kind: 'refused', reason: 'the guest is off' });
      await power('on');
      for (const _ of [1, 2]) await suspend();
      assert.deepEqual(await suspended(), ['off', true]);
      for (const refusedNow of ['attachVolume', 'growDisk'] as const) {
        assert.deepEqual(await MUTATIONS[refusedNow]?.(host, generation), {
          kind: 'refused',
          reason: 'the guest is suspended',
        });
      }
      for (const _ of [1, 2]) await power('on');
      assert.deepEqual([await suspended(), words(), reachable.hypervisor.paused(SERVER)], [['on', false], 1, false]);
      await suspend();
      await power('off');
      assert.deepEqual(await suspended(), ['off', false]);
      await power('on');
      assert.equal(words(), 2, 'it has booted anew');
      await finish(() => host.destroy(SERVER, { generation }));
    });

    for (const [name, call] of Object.entries(MUTATIONS)) {
      test(`${name} at an older generation is fenced and changes nothing`, async () => {
        await begin();
        await define();
        await power('on');
        generation += 10;
        value(await host.fence(SERVER, { generation }));
        const before = await host.guest(SERVER);
        assert.deepEqual(await call(host, generation - 1), { kind: 'fenced', generation });
        assert.deepEqual(await host.guest(SERVER), before);
        assert.equal(value(await host.guest(SERVER)).power, 'on');
      });

      test(`${name} on a server that is only fenced: fenced when older, harmless when not`, async () => {
        const current = await begin();
        assert.deepEqual(await call(host, current - 2), { kind: 'fenced', generation: current - 1 });
        const first = await call(host, current);
        assert.ok(['ok', 'absent'].includes(first.kind), JSON.stringify(first));
      });
    }

    test('a disk crosses: same digest, digest remembered until the first start, then grown and started', async () => {
      await begin();
      await define();
      await power('on');
      await power('off');
      const other = await openAgent('target');
      const target = other.agent;
      const source = value(await host.openExport(SERVER, { generation }));
      assert.deepEqual(value(await host.openExport(SERVER, { generation })), source, 'the same export');
      await finish(() => target.define(SERVER, { generation, spec: SPEC, disk: 'incoming' }));
      assert.equal(value(await target.guest(SERVER)).disk, false);
      assert.equal((await target.setPower(SERVER, { generation, power: 'on', graceSeconds: 0 })).kind, 'refused');
      const copied = await finish(() => target.importDisk(SERVER, { generation, source }));
      assert.equal(copied.doneBytes, source.allocatedBytes);
      await finish(() => target.importDisk(SERVER, { generation, source }));
      const here = await finish(() => host.digest(SERVER, { generation }));
      const there = await finish(() => target.digest(SERVER, { generation }));
      assert.match(here.sha256 ?? '', /^[0-9a-f]{64}$/);
      assert.equal(there.sha256, here.sha256);
      await finish(() => target.growDisk(SERVER, { generation, rootBytes: 5 * GIB }));
      assert.deepEqual(value(await target.guest(SERVER)).spec.root, { ...ROOT, bytes: 5 * GIB });
      await finish(() => target.setPower(SERVER, { generation, power: 'on', graceSeconds: 0 }));
      await finish(() => target.setPower(SERVER, { generation, power: 'off', graceSeconds: 0 }));
      const later = await finish(() => target.digest(SERVER, { generation }));
      assert.notEqual(later.sha256, here.sha256, 'a run changes the disk');
      value(await host.closeExport(SERVER, { generation }));
      value(await host.closeExport(SERVER, { generation }));
      await target.close();
    });

    test('a start closes the export', async () => {
      await begin();
      await define();
      const source = value(await host.openExport(SERVER, { generation }));
      assert.ok(fabric.find(source.name));
      await power('on');
      assert.equal(fabric.find(source.name), undefined);
      assert.equal((await host.openExport(SERVER, { generation })).kind, 'refused');
      assert.equal((await host.digest(SERVER, { generation })).kind, 'refused');
      assert.equal((await host.growDisk(SERVER, { generation, rootBytes: 9 * GIB })).kind, 'refused');
    });

    test('an export that was closed for its reader is not opened for it by a call that comes late', async () => {
      await begin();
      await define();
      const reader = 'target';
      value(await host.openExport(SERVER, { generation, reader }));
      value(await host.closeExport(SERVER, { generation, reader }));
      assert.equal((await host.openExport(SERVER, { generation, reader })).kind, 'refused');
      value(await host.openExport(SERVER, { generation, reader: 'another' }));
      value(await host.closeExport(SERVER, { generation, reader: 'another' }));
      value(await host.openExport(SERVER, { generation: generation + 1, reader }));
    });

    test('an import from nowhere fails, says why, and may be tried again', async () => {
      await begin();
      await define('incoming');
      const source = { host: 'h', port: 1, name: 'f'.repeat(32), sizeBytes: 1, allocatedBytes: 1 };
      for (const _ of [1, 2]) {
        const job = value(await host.importDisk(SERVER, { generation, source }));
        assert.equal(job.state, 'failed');
        assert.match(job.reason ?? '', /no export/);
      }
      assert.equal(value(await host.guest(SERVER)).disk, false);
    });

    test('what has been destroyed is not brought back by a define of the same generation', async () => {
      await begin();
      await define();
      await finish(() => host.destroy(SERVER, { generation }));
      const late = await host.define(SERVER, { generation, spec: SPEC, disk: 'fresh' });
      assert.equal(late.kind, 'refused');
      assert.equal((await host.guest(SERVER)).kind, 'absent');
      generation += 1;
      await define();
      assert.equal((await host.guest(SERVER)).kind, 'ok');
    });

    test('a destroy of what was never here closes the door for a define that is late', async () => {
      await begin();
      const id = OTHER_SERVER;
      await finish(() => host.destroy(id, { generation: 7 }));
      assert.equal((await host.define(id, { generation: 7, spec: SPEC, disk: 'fresh' })).kind, 'refused');
      await finish(() => host.destroy(id, { generation: 1000 }));
    });

    test('a guest that can never fit is refused', async () => {
      await begin();
      const impossible = [
        { ...SPEC, vcpus: 17 },
        { ...SPEC, memoryMb: 32769 },
        { ...SPEC, root: { ...ROOT, bytes: 101 * GIB } },
        { ...SPEC, root: { ...ROOT, bytes: GIB - 1 } },
      ];
      for (const spec of impossible) {
        assert.equal((await host.define(SERVER, { generation, spec, disk: 'fresh' })).kind, 'refused');
      }
      assert.equal((await host.guest(SERVER)).kind, 'absent');
    });

    test('a stopped guest may get another size; a running one may not', async () => {
      await begin();
      await define();
      const bigger = { ...SPEC, vcpus: 4, memoryMb: 512 };
      await finish(() => host.define(SERVER, { generation, spec: bigger, disk: 'fresh' }));
      assert.equal(value(await host.guest(SERVER)).spec.vcpus, 4);
      await power('on');
      assert.equal((await host.define(SERVER, { generation, spec: SPEC, disk: 'fresh' })).kind, 'refused');
      assert.equal(value(await host.guest(SERVER)).spec.vcpus, 4);
    });

    test('property: a call is fenced exactly when its generation is older than the newest seen', async () => {
      const calls = fc.array(
        fc.record({ name: fc.constantFrom(...Object.keys(MUTATIONS)), step: fc.integer({ min: -3, max: 3 }) }),
        { minLength: 1, maxLength: 25 },
      );
      await fc.assert(
        fc.asyncProperty(calls, async (sequence) => {
          let newest = await begin();
          value(await host.fence(SERVER, { generation: newest }));
          for (const { name, step } of sequence) {
            const wanted = Math.max(1, newest + step);
            const reply = await call(name, host, wanted);
            assert.equal(reply.kind === 'fenced', wanted < newest, `${name} at ${wanted}, newest ${newest}`);
            newest = Math.max(newest, wanted);
            if (reply.kind === 'fenced') assert.equal(reply.generation, newest);
            // Repeating a call at once leaves the guest as it is.
            const once = await host.guest(SERVER);
            await call(name, host, wanted);
            assert.deepEqual(await host.guest(SERVER), once, `${name} repeated`);
          }
          generation = newest;
        }),
        { numRuns: 15 },
      );
    });
  });
}

function call(name: string, host: Host, generation: number): Promise<Reply<unknown>> {
  const mutation = MUTATIONS[name];
  assert.ok(mutation);
  return mutation(host, generation);
}
