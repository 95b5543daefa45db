// A search for calls in an order that nobody thought of: overlapping, at older and newer generations, with jobs under
// way, time passing and the agent restarting in between. Whatever came before, a destroy at the newest generation ends
// with nothing left, and no call waits for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../lib/errors.ts';
import { fc } from '../lib/property-testing.ts';
import { Agent } from './agent.ts';
import type { DiskExport, Reply } from './contract.ts';
import { MemoryRecords } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, ManualClock, MUTATIONS, SERVER, SPEC, settle, silent, value } from './test-support.ts';

type Action =
  | { readonly do: 'call'; readonly name: string; readonly step: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'restart' }
  | { readonly do: 'crash' };

const CALLS = [...Object.keys(MUTATIONS).filter((name) => name !== 'importDisk'), 'import'];
/** The calls that make a guest run come more often, so that most searches get that far. */
const OFTEN = ['define fresh', 'power on', 'power on', 'power off', 'power off', 'suspend'];
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      name: fc.constantFrom(...CALLS, ...OFTEN),
      step: fc.integer({ min: -1, max: 1 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 4000 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'crash' as const }) },
);

/** One host under test, and another whose disk it may import; copies take five seconds, stops their whole grace. */
class World {
  readonly clock = new ManualClock();
  readonly fabric = new SimulatedFabric();
  readonly records = new MemoryRecords();
  readonly hypervisor: SimulatedHypervisor;
  readonly #replies: Array<Promise<unknown>> = [];
  #source: DiskExport | null = null;
  #agent: Agent | null = null;
  #newest = 1;
  /** The newest generation at which a start was asked for. */
  #lastStart = 0;
  readonly #exports = new Set<string>();
  readonly #wrongs: string[] = [];
  unanswered = 0;

  constructor(heedsPowerButton: boolean) {
    const { clock, fabric } = this;
    const overlay = { overlayBytes: 1000, copyBytesPerSecond: 200 };
    this.hypervisor = new SimulatedHypervisor({ clock, fabric, host: 'h', heedsPowerButton, ...overlay });
    const spawn = this.hypervisor.spawn.bind(this.hypervisor);
    this.hypervisor.spawn = async (serverId, start) => {
      // Whatever the agent believes: what is recorded at this moment must allow a start. Noted here and judged at the
      // end, because a job that fails fails quietly.
      const [record] = await this.records.load();
      const guest = record?.guest;
      if (!guest || guest.destroying || guest.disk !== 'ready') this.#wrongs.push('a start that is not due');
      if (guest?.power !== 'on') this.#wrongs.push('a start that is not on record');
      if (record?.generation !== this.#lastStart) this.#wrongs.push('a start that was overtaken');
      if (this.#exported()) this.#wrongs.push('a start while the disk is exported');
      try {
        await spawn(serverId, start);
      } catch (error) {
        // Memory that was not kept, or a disk that has changed since it was.
        if (error instanceof InvariantError) this.#wrongs.push(error.message);
        throw error;
      }
    };
  }

  async open(): Promise<void> {
    const other = await this.#open(
      new SimulatedHypervisor({ clock: this.clock, fabric: this.fabric, host: 'other', overlayBytes: 1000 }),
      new MemoryRecords(),
    );
    await finish(() => other.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
    this.#source = value(await other.openExport(SERVER, { generation: 1 }));
    this.#agent = await this.#open(this.hypervisor, this.records);
  }

  async act(step: Action): Promise<void> {
    if (step.do === 'pass') await this.clock.advance(step.ms);
    if (step.do === 'crash') this.hypervisor.crash(SERVER);
    if (step.do === 'restart') await this.#restart();
    if (step.do === 'call') this.#call(step.name, Math.max(1, this.#newest + step.step));
    await settle();
  }

  /** A destroy at a newer generation than all, and all the time that it may need. */
  async end(): Promise<void> {
    const generation = this.#newest + 1;
    const agent = this.#agent;
    assert.ok(agent);
    const destroy = agent.destroy(SERVER, { generation });
    await this.clock.advance(120_000);
    assert.equal(this.unanswered, 0, 'a call was never answered');
    assert.equal(value(await destroy).state, 'done');
    await Promise.all(this.#replies);
    assert.equal((await agent.guest(SERVER)).kind, 'absent');
    assert.equal(this.hypervisor.running(SERVER), false);
    assert.equal(this.hypervisor.diskWords(SERVER), null);
    assert.equal(this.#exported(), false, 'an export was left');
    assert.deepEqual(this.#wrongs, []);
    const [record] = await this.records.load();
    assert.deepEqual([record?.generation, record?.guest], [generation, null]);
  }

  #exported(): boolean {
    return [...this.#exports].some((name) => this.fabric.find(name) !== undefined);
  }

  #call(name: string, generation: number): void {
    const agent = this.#agent;
    const source = this.#source;
    assert.ok(agent && source);
    const older = generation < this.#newest;
    this.#newest = Math.max(this.#newest, generation);
    if (name === 'power on') this.#lastStart = Math.max(this.#lastStart, generation);
    const mutation = MUTATIONS[name];
    const reply: Promise<Reply<unknown>> =
      mutation?.(agent, generation) ?? agent.importDisk(SERVER, { generation, source });
    this.unanswered += 1;
    this.#replies.push(
      reply.then((answer) => {
        this.unanswered -= 1;
        if (name === 'openExport' && answer.kind === 'ok') this.#exports.add((answer.value as DiskExport).name);
        assert.equal(answer.kind === 'fenced', older, `${name} at ${generation}: ${JSON.stringify(answer)}`);
      }),
    );
  }

  async #restart(): Promise<void> {
    // Answers that are still due come first: what they say belongs to the agent before.
    await this.clock.advance(3000);
    const closing = this.#agent?.close();
    await this.clock.advance(1000);
    await closing;
    this.#agent = await this.#open(this.hypervisor, this.records);
  }

  #open(hypervisor: SimulatedHypervisor, records: MemoryRecords): Promise<Agent> {
    const resources = { vcpus: 16, memoryMb: 32768, diskGb: 100 };
    return Agent.open({ name: 'h', clock: this.clock, hypervisor, records, resources, log: silent });
  }
}

test('property: whatever came before, a destroy leaves nothing and nothing hangs', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(action, { maxLength: 40, size: 'max' }),
      fc.boolean(),
      async (actions, heedsPowerButton) => {
        const world = new World(heedsPowerButton);
        await world.open();
        for (const step of actions) await world.act(step);
        await world.end();
      },
    ),
    { numRuns: 1000 },
  );
});
