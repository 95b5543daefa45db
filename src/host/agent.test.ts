// The agent's own rules: races, restarts, the grace of a stop. On simulated guests and a clock that is moved by hand.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Agent, lastLines } from './agent.ts';
import type { DiskExport } from './contract.ts';
import type { Hypervisor } from './hypervisor.ts';
import { writeFileAtomically } from './record-files.ts';
import { DurableRecords, MemoryRecords, type Records } from './records.ts';
import { SimulatedHypervisor, type SimulatedOptions } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, GIB, ManualClock, SERVER, SPEC, settle, silent, value } from './test-support.ts';

interface Bench {
  readonly clock: ManualClock;
  readonly records: MemoryRecords;
  readonly hypervisor: SimulatedHypervisor;
  readonly agent: Agent;
}

async function openBench(options: Partial<SimulatedOptions> = {}, records = new MemoryRecords()): Promise<Bench> {
  const clock = new ManualClock();
  const hypervisor = new SimulatedHypervisor({ clock, fabric: new SimulatedFabric(), host: 'h', ...options });
  const agent = await openAgent(clock, hypervisor, records);
  return { clock, records, hypervisor, agent };
}

function openAgent(clock: ManualClock, hypervisor: SimulatedHypervisor, records: Records): Promise<Agent> {
  const resources = { vcpus: 16, memoryMb: 32768, diskGb: 100 };
  return Agent.open({ name: 'h', clock, hypervisor, records, resources, log: silent });
}

async function running(bench: Pick<Bench, 'agent'>, generation = 1): Promise<void> {
  await finish(() => bench.agent.define(SERVER, { generation, spec: SPEC, disk: 'fresh' }));
  await finish(() => bench.agent.setPower(SERVER, { generation, power: 'on', graceSeconds: 0 }));
}

const off = (bench: Pick<Bench, 'agent'>, generation: number, graceSeconds: number) =>
  bench.agent.setPower(SERVER, { generation, power: 'off', graceSeconds });
const on = (bench: Bench, generation: number) =>
  bench.agent.setPower(SERVER, { generation, power: 'on', graceSeconds: 0 });

/** A source whose copy takes ten seconds of the bench's clock. */
async function slowImport(): Promise<{ bench: Bench; source: DiskExport }> {
  const fabric = new SimulatedFabric();
  const overlayBytes = 1000;
  const from = await openBench({ fabric, overlayBytes });
  await finish(() => from.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
  const source = value(await from.agent.openExport(SERVER, { generation: 1 }));
  const bench = await openBench({ fabric, overlayBytes, copyBytesPerSecond: 100 });
  await finish(() => bench.agent.define(SERVER, { generation: 2, spec: SPEC, disk: 'incoming' }));
  return { bench, source };
}

describe('stopping', () => {
  test('a guest that ignores its button is stopped at the deadline of the first request', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const first = off(bench, 1, 10);
    await bench.clock.advance(1000);
    assert.equal(value(await first).state, 'pending');
    const second = off(bench, 1, 100);
    await bench.clock.advance(1000);
    assert.equal(value(await second).state, 'pending');
    await bench.clock.advance(7900);
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'on', 'not before its time');
    await bench.clock.advance(200);
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'off', 'not longer for the second request');
    assert.equal(value(await off(bench, 1, 10)).state, 'done');
  });

  test('a later request may shorten the grace', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const first = off(bench, 1, 100);
    await bench.clock.advance(1000);
    await first;
    const second = off(bench, 1, 0);
    await bench.clock.advance(600);
    assert.equal(value(await second).state, 'done');
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'off');
  });

  test('a start that comes while the guest is being stopped follows the stop', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const stop = off(bench, 1, 5);
    await bench.clock.advance(1000);
    await stop;
    const start = on(bench, 2);
    await bench.clock.advance(3000);
    assert.equal(value(await start).state, 'pending');
    assert.equal(bench.hypervisor.diskWords(SERVER)?.length, 2, 'not started a second time yet');
    await bench.clock.advance(2000);
    assert.equal(value(await on(bench, 2)).state, 'done');
    assert.equal(bench.hypervisor.diskWords(SERVER)?.length, 3);
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'on');
  });

  test('a guest that stopped by itself is reported stopped and not started again', async () => {
    const bench = await openBench();
    await running(bench);
    bench.hypervisor.crash(SERVER);
    await bench.clock.advance(60_000);
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'off');
    assert.equal(value(await on(bench, 1)).state, 'done');
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'on');
  });

  test('stopAll stops every guest and keeps the records', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const stopped = bench.agent.stopAll(3);
    await bench.clock.advance(2900);
    assert.equal(bench.hypervisor.running(SERVER), true);
    await bench.clock.advance(200);
    assert.equal(await stopped, 1);
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'off');
  });
});

describe('fencing', () => {
  test('a start that was admitted before a fence does not happen after it', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const stop = off(bench, 1, 5);
    await bench.clock.advance(1000);
    await stop;
    const start = on(bench, 1);
    await settle();
    value(await bench.agent.fence(SERVER, { generation: 2 }));
    await bench.clock.advance(10_000);
    assert.deepEqual(value(await start).state, 'pending');
    assert.equal(value(await bench.agent.guest(SERVER)).power, 'off');
    assert.equal(bench.hypervisor.diskWords(SERVER)?.length, 2, 'started once, before the fence');
    // The newer generation is not told of the older one's failure: its own start works.
    assert.equal(value(await on(bench, 2)).state, 'done');
  });

  test('a suspend that is overtaken leaves the guest running as it was, and nothing of its memory', async () => {
    const bench = await openBench();
    await running(bench);
    const { startedAt } = value(await bench.agent.guest(SERVER));
    const { hypervisor } = bench;
    const kept = Promise.withResolvers<void>();
    const save = hypervisor.saveMemory.bind(hypervisor);
    const dropped: string[] = [];
    const drop = hypervisor.dropMemory.bind(hypervisor);
    hypervisor.saveMemory = async (serverId) => {
      await save(serverId);
      await kept.promise;
    };
    hypervisor.dropMemory = (serverId) => {
      dropped.push(serverId);
      return drop(serverId);
    };
    const suspending = bench.agent.setPower(SERVER, { generation: 1, power: 'suspended', graceSeconds: 0 });
    await settle();
    const again = on(bench, 2);
    await settle();
    kept.resolve();
    await bench.clock.advance(2000);
    await Promise.all([suspending, again]);
    assert.equal(value(await on(bench, 2)).state, 'done');
    const guest = value(await bench.agent.guest(SERVER));
    assert.deepEqual([guest.power, guest.suspended, guest.startedAt], ['on', false, startedAt]);
    assert.equal(hypervisor.paused(SERVER), false);
    assert.deepEqual(dropped, [SERVER]);
  });

  test('a start that waits for a stop becomes the newer generation’s, when that wants it too', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const stop = off(bench, 1, 5);
    await bench.clock.advance(1000);
    await stop;
    const older = on(bench, 1);
    await settle();
    const newer = on(bench, 2);
    await bench.clock.advance(3500);
    assert.deepEqual([value(await older).state, value(await newer).state], ['pending', 'pending']);
    await bench.clock.advance(2000);
    assert.equal(bench.hypervisor.diskWords(SERVER)?.length, 3, 'started, without another call');
    assert.equal(value(await on(bench, 2)).state, 'done');
  });

  test('the newest generation survives a restart, also of what has been destroyed', async () => {
    const bench = await openBench();
    await running(bench, 5);
    await finish(() => bench.agent.destroy(SERVER, { generation: 9 }));
    await bench.agent.close();
    const again = await openAgent(bench.clock, bench.hypervisor, bench.records);
    const late = await again.define(SERVER, { generation: 8, spec: SPEC, disk: 'fresh' });
    assert.deepEqual(late, { kind: 'fenced', generation: 9 });
    assert.equal((await again.define(SERVER, { generation: 9, spec: SPEC, disk: 'fresh' })).kind, 'refused');
    assert.equal((await again.define(SERVER, { generation: 10, spec: SPEC, disk: 'fresh' })).kind, 'ok');
  });

  test('the generation is on record before the effect', async () => {
    const seen: Array<{ generation: number; running: boolean }> = [];
    const memory = new MemoryRecords();
    const hypervisorOf: { current: SimulatedHypervisor | null } = { current: null };
    const records: Records = {
      ids: () => memory.ids(),
      load: () => memory.load(),
      save: async (record) => {
        seen.push({ generation: record.generation, running: hypervisorOf.current?.running(SERVER) ?? false });
        await memory.save(record);
      },
    };
    const clock = new ManualClock();
    const hypervisor = new SimulatedHypervisor({ clock, fabric: new SimulatedFabric(), host: 'h' });
    hypervisorOf.current = hypervisor;
    const agent = await openAgent(clock, hypervisor, records);
    await finish(() => agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    await finish(() => agent.setPower(SERVER, { generation: 2, power: 'on', graceSeconds: 0 }));
    assert.deepEqual(
      seen.find(({ generation }) => generation === 2),
      { generation: 2, running: false },
    );
  });

  test('a record that cannot be saved stops the effect', async () => {
    const bench = await openBench();
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    bench.records.save = () => Promise.reject(new Error('disk full'));
    await assert.rejects(on(bench, 2), /disk full/);
    assert.equal(bench.hypervisor.running(SERVER), false);
  });
});

describe('restarts', () => {
  test('where no record finds room a guest can be turned off and destroyed all the same', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'crosscell-full-'));
    try {
      let isFull = false;
      const records = new DurableRecords(directory, async (...it) => {
        if (isFull) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
        await writeFileAtomically(...it);
      });
      const clock = new ManualClock();
      const hypervisor = new SimulatedHypervisor({ clock, fabric: new SimulatedFabric(), host: 'h' });
      const bench = { clock, hypervisor, agent: await openAgent(clock, hypervisor, records) };
      await running(bench);
      isFull = true;
      await finish(() => off(bench, 2, 0));
      assert.equal(value(await bench.agent.guest(SERVER)).power, 'off');
      await finish(() => bench.agent.destroy(SERVER, { generation: 3 }));
      assert.deepEqual(await bench.agent.guest(SERVER), { kind: 'absent' });
      assert.deepEqual(
        (await records.load()).map(({ generation, guest }) => [generation, guest]),
        [[3, null]],
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('a running guest is found again and can be stopped', async () => {
    const bench = await openBench();
    await running(bench);
    const startedAt = value(await bench.agent.guest(SERVER)).startedAt;
    await bench.agent.close();
    assert.equal((await bench.agent.guest(SERVER)).kind, 'unreachable');
    const again = await openAgent(bench.clock, bench.hypervisor, bench.records);
    const guest = value(await again.guest(SERVER));
    assert.deepEqual([guest.power, guest.startedAt], ['on', startedAt]);
    await finish(() => again.setPower(SERVER, { generation: 1, power: 'off', graceSeconds: 0 }));
    assert.equal(value(await again.guest(SERVER)).power, 'off');
  });

  test('a guest that another agent had begun to start counts as on when it has been seen up, and not before', async () => {
    const bench = await openBench();
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    const isUp = Promise.withResolvers<void>();
    const hypervisor: Pick<Hypervisor, 'awaitRunning'> = bench.hypervisor;
    hypervisor.awaitRunning = (_, { signal }) =>
      Promise.race([isUp.promise, new Promise<never>((_resolve, no) => signal.addEventListener('abort', no))]);
    const first = on(bench, 1);
    await bench.clock.advance(5000);
    assert.equal(value(await first).state, 'pending');
    await bench.agent.close();
    assert.equal(bench.hypervisor.running(SERVER), true);
    const agent = await openAgent(bench.clock, bench.hypervisor, bench.records);
    const second = on({ ...bench, agent }, 1);
    await bench.clock.advance(5000);
    assert.equal(value(await second).state, 'pending');
    isUp.resolve();
    await settle();
    assert.equal(value(await on({ ...bench, agent }, 1)).state, 'done');
    assert.notEqual(value(await agent.guest(SERVER)).startedAt, null);
  });

  test('a destroy that was cut short is finished', async () => {
    const bench = await openBench();
    await running(bench);
    const remove = bench.hypervisor.remove.bind(bench.hypervisor);
    bench.hypervisor.remove = () => Promise.reject(new Error('cut short'));
    assert.equal(value(await bench.agent.destroy(SERVER, { generation: 1 })).state, 'failed');
    assert.equal((await bench.agent.guest(SERVER)).kind, 'ok', 'not gone before it is gone');
    bench.hypervisor.remove = remove;
    await bench.agent.close();
    const again = await openAgent(bench.clock, bench.hypervisor, bench.records);
    await settle();
    assert.equal((await again.guest(SERVER)).kind, 'absent');
    assert.equal(bench.hypervisor.diskWords(SERVER), null);
  });

  test('an open export is opened again under the same name and port', async () => {
    const fabric = new SimulatedFabric();
    const bench = await openBench({ fabric });
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    const source = value(await bench.agent.openExport(SERVER, { generation: 1 }));
    await bench.agent.close();
    assert.equal(fabric.find(source.name), undefined);
    const again = await openAgent(bench.clock, bench.hypervisor, bench.records);
    assert.ok(fabric.find(source.name));
    assert.deepEqual(value(await again.openExport(SERVER, { generation: 1 })), source);
  });

  test('a copy that was cut short starts over', async () => {
    const { bench, source } = await slowImport();
    const call = bench.agent.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(3000);
    await call;
    await bench.agent.close();
    const again = await openAgent(bench.clock, bench.hypervisor, bench.records);
    assert.equal(value(await again.guest(SERVER)).disk, false);
    const fresh = again.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(20_000);
    await fresh;
    assert.equal(value(await again.importDisk(SERVER, { generation: 2, source })).state, 'done');
  });
});

describe('jobs', () => {
  test('a copy shows its progress and is not started twice', async () => {
    const { bench, source } = await slowImport();
    const first = bench.agent.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(1000);
    assert.equal(value(await first).state, 'pending');
    await bench.clock.advance(4000);
    const second = bench.agent.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(1000);
    const progress = value(await second);
    assert.equal(progress.state, 'pending');
    assert.ok(progress.doneBytes >= 400 && progress.doneBytes < 1000, `${progress.doneBytes}`);
    assert.equal(progress.totalBytes, 1000);
    await bench.clock.advance(5000);
    assert.equal(value(await bench.agent.importDisk(SERVER, { generation: 2, source })).state, 'done');
  });

  test('a disk that has grown since it came is read anew, also by another agent', async () => {
    const { bench, source } = await slowImport();
    const copy = finish(() => bench.agent.importDisk(SERVER, { generation: 2, source }));
    await bench.clock.advance(10_000);
    await copy;
    const came = (await finish(() => bench.agent.digest(SERVER, { generation: 2 }))).sha256;
    await finish(() => bench.agent.growDisk(SERVER, { generation: 2, rootBytes: 3 * GIB }));
    const grown = (await finish(() => bench.agent.digest(SERVER, { generation: 2 }))).sha256;
    assert.equal(grown, await bench.hypervisor.digest(SERVER));
    assert.notEqual(grown, came);
    const next = await openAgent(bench.clock, bench.hypervisor, bench.records);
    assert.equal((await finish(() => next.digest(SERVER, { generation: 2 }))).sha256, grown);
  });

  test('a destroy cancels a copy and leaves nothing', async () => {
    const { bench, source } = await slowImport();
    const copy = bench.agent.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(1000);
    await copy;
    const late = bench.agent.importDisk(SERVER, { generation: 2, source });
    await settle();
    assert.equal(value(await bench.agent.destroy(SERVER, { generation: 3 })).state, 'done');
    assert.equal(value(await late).state, 'failed');
    assert.equal((await bench.agent.guest(SERVER)).kind, 'absent');
    await bench.clock.advance(60_000);
    assert.equal(bench.hypervisor.diskWords(SERVER), null, 'the copy did not finish after all');
  });

  test('a destroy does not wait out the grace of a stop, nor of one that a start waits for', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    const stop = off(bench, 1, 3600);
    await bench.clock.advance(1000);
    await stop;
    const start = on(bench, 1);
    await settle();
    const destroy = bench.agent.destroy(SERVER, { generation: 2 });
    await settle();
    assert.equal((await bench.agent.guest(SERVER)).kind, 'absent');
    assert.equal(value(await destroy).state, 'done');
    assert.equal(value(await start).state, 'failed');
    assert.equal(bench.hypervisor.running(SERVER), false);
  });

  test('while a disk is coming the guest can be neither started nor exported nor grown', async () => {
    const { bench, source } = await slowImport();
    const copy = bench.agent.importDisk(SERVER, { generation: 2, source });
    await bench.clock.advance(1000);
    await copy;
    assert.equal((await on(bench, 2)).kind, 'refused');
    assert.equal((await bench.agent.openExport(SERVER, { generation: 2 })).kind, 'refused');
    assert.equal((await bench.agent.growDisk(SERVER, { generation: 2, rootBytes: 4 * GIB })).kind, 'refused');
    assert.equal((await bench.agent.digest(SERVER, { generation: 2 })).kind, 'refused');
    assert.equal(
      value(await bench.agent.define(SERVER, { generation: 2, spec: SPEC, disk: 'incoming' })).state,
      'done',
    );
  });

  test('a failed start says why, leaves nothing running, and the next call tries again', async () => {
    let fault: string | null = 'the machine is on fire';
    const bench = await openBench({ startFault: () => fault });
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    const failed = value(await on(bench, 1));
    assert.deepEqual([failed.state, failed.reason], ['failed', 'the machine is on fire']);
    const guest = value(await bench.agent.guest(SERVER));
    assert.deepEqual([guest.power, guest.startedAt], ['off', null]);
    fault = null;
    assert.equal(value(await on(bench, 1)).state, 'done');
  });
});

describe('grace', () => {
  const stopping = async (graceSeconds: number): Promise<Bench> => {
    const bench = await openBench({ heedsPowerButton: false });
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    await finish(() => on(bench, 1));
    await ask(bench, graceSeconds);
    return bench;
  };
  /** Takes the second for which the agent waits with its answer. */
  const ask = async (bench: Bench, graceSeconds: number): Promise<void> => {
    const call = off(bench, 1, graceSeconds);
    await bench.clock.advance(1000);
    assert.equal(value(await call).state, 'pending');
  };
  const isOn = async ({ agent }: Bench) => value(await agent.guest(SERVER)).power === 'on';

  for (const hours of [-3, 3]) {
    test(`a clock that jumps ${hours} hours makes it neither longer nor shorter`, async () => {
      const bench = await stopping(60);
      await bench.clock.advance(10_000);
      bench.clock.aheadMs = hours * 3_600_000;
      await bench.clock.advance(48_000);
      assert.ok(await isOn(bench));
      await bench.clock.advance(1001);
      assert.ok(!(await isOn(bench)));
    });
  }

  test('a later request can make it shorter, not longer', async () => {
    const bench = await stopping(60);
    await ask(bench, 600);
    await ask(bench, 5);
    await bench.clock.advance(3000);
    assert.ok(await isOn(bench));
    await bench.clock.advance(1001);
    assert.ok(!(await isOn(bench)));
  });
});

test('lastLines counts lines, not line ends', () => {
  assert.equal(lastLines('a\nb\nc\n', 2), 'b\nc');
  assert.equal(lastLines('a\n\nc', 2), '\nc');
  assert.equal(lastLines('a\nb\nc', 1), 'c');
  assert.equal(lastLines('a\nb\n', 9), 'a\nb');
  assert.equal(lastLines('a\n', 0), '');
  assert.equal(lastLines('', 3), '');
});

describe('probation', () => {
  const onProbation = (bench: Bench, generation: number, seconds: number) =>
    bench.agent.setPower(SERVER, { generation, power: 'on', graceSeconds: 0, probationSeconds: seconds });
  const isRunning = async (agent: Agent) => value(await agent.guest(SERVER)).power === 'on';

  async function started(seconds: number): Promise<Bench> {
    const bench = await openBench();
    await finish(() => bench.agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    await finish(() => onProbation(bench, 1, seconds));
    return bench;
  }

  test('a guest that nobody keeps is turned off, at its time and not before', async () => {
    const bench = await started(10);
    await bench.clock.advance(9_999);
    assert.equal(await isRunning(bench.agent), true);
    await bench.clock.advance(1);
    assert.equal(await isRunning(bench.agent), false);
  });

  test('a guest that is kept goes on running', async () => {
    const bench = await started(10);
    await bench.clock.advance(5_000);
    await finish(() => on(bench, 1));
    await bench.clock.advance(100_000);
    assert.equal(await isRunning(bench.agent), true);
  });

  test('keeping a guest whose probation is over starts it again', async () => {
    const bench = await started(10);
    await bench.clock.advance(20_000);
    await finish(() => on(bench, 1));
    await bench.clock.advance(100_000);
    assert.equal(await isRunning(bench.agent), true);
  });

  test('asking again on probation counts from then', async () => {
    const bench = await started(10);
    await bench.clock.advance(8_000);
    await finish(() => onProbation(bench, 2, 10));
    await bench.clock.advance(9_000);
    assert.equal(await isRunning(bench.agent), true);
    await bench.clock.advance(1_000);
    assert.equal(await isRunning(bench.agent), false);
  });

  test('it outlives the agent: the next one ends it', async () => {
    const bench = await started(10);
    await bench.agent.close();
    await bench.clock.advance(3_000);
    const next = await openAgent(bench.clock, bench.hypervisor, bench.records);
    assert.equal(await isRunning(next), true);
    await bench.clock.advance(7_000);
    assert.equal(await isRunning(next), false);
  });

  test('a probation that ended while no agent was there ends at once', async () => {
    const bench = await started(10);
    await bench.agent.close();
    await bench.clock.advance(60_000);
    const next = await openAgent(bench.clock, bench.hypervisor, bench.records);
    await settle();
    assert.equal(await isRunning(next), false);
  });

  test('a clock of the host that jumps back does not lengthen it', async () => {
    const bench = await started(10);
    await bench.clock.advance(5_000);
    bench.clock.aheadMs = -3 * 3_600_000;
    await bench.clock.advance(4_999);
    assert.equal(await isRunning(bench.agent), true);
    await bench.clock.advance(1);
    assert.equal(await isRunning(bench.agent), false);
  });

  test('behind a jump back a new agent waits no longer than any probation may last', async () => {
    const bench = await started(10);
    await bench.agent.close();
    bench.clock.aheadMs = -3 * 3_600_000;
    const next = await openAgent(bench.clock, bench.hypervisor, bench.records);
    await bench.clock.advance(3_600_000);
    assert.equal(await isRunning(next), false);
  });

  test('one whose end cannot be recorded ends as soon as it can be; the next is watched like it', async () => {
    const bench = await started(10);
    const save = bench.records.save.bind(bench.records);
    bench.records.save = async () => {
      throw new Error('the disk is broken');
    };
    await bench.clock.advance(20_000);
    assert.equal(await isRunning(bench.agent), false);
    bench.records.save = save;
    await bench.clock.advance(10_000);
    assert.deepEqual(
      (await bench.records.load()).map(({ guest }) => guest?.power),
      ['off'],
    );
    await finish(() => onProbation(bench, 2, 10));
    await bench.clock.advance(10_000);
    assert.equal(await isRunning(bench.agent), false);
  });

  test('a shorter one that follows a longer one ends in its own time', async () => {
    const bench = await started(100);
    await finish(() => onProbation(bench, 2, 10));
    await bench.clock.advance(10_000);
    assert.equal(await isRunning(bench.agent), false);
  });

  test('a start that waits for a stop is called off when its probation is over', async () => {
    const bench = await openBench({ heedsPowerButton: false });
    await running(bench);
    void off(bench, 1, 30);
    await settle();
    void onProbation(bench, 2, 5);
    await bench.clock.advance(60_000);
    assert.equal(await isRunning(bench.agent), false);
  });
});
