// A guest's ports, by the agent's rules, on simulated guests.
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { Agent } from './agent.ts';
import { type GuestPort, MAX_PORTS } from './contract.ts';
import { MemoryRecords } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, SECOND_PORT, SERVER, SPEC, silent, value } from './test-support.ts';

const FIRST = SPEC.ports[0]?.id ?? '';

describe('ports of a guest', () => {
  let records: MemoryRecords;
  let hypervisor: SimulatedHypervisor;
  let agent: Agent;
  let heeds: boolean;

  async function open(): Promise<void> {
    hypervisor = new SimulatedHypervisor({
      ...{ clock: systemClock, fabric: new SimulatedFabric(), host: 'h', heedsUnplug: () => heeds },
    });
    const resources = { vcpus: 16, memoryMb: 32768, diskGb: 100 };
    agent = await Agent.open({ name: 'h', clock: systemClock, hypervisor, records, resources, log: silent });
  }
  beforeEach(async () => {
    records = new MemoryRecords();
    heeds = true;
    await open();
    await finish(() => agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' }));
  });
  const attach = (port: GuestPort, generation = 1) => finish(() => agent.attachPort(SERVER, { generation, port }));
  const detach = (portId: string, generation = 1) => finish(() => agent.detachPort(SERVER, { generation, portId }));
  const power = (state: 'on' | 'off') =>
    finish(() => agent.setPower(SERVER, { generation: 1, power: state, graceSeconds: 1 }));
  const recorded = async () => value(await agent.guest(SERVER)).spec.ports.map(({ id }) => id);

  test('attached while off: there from the next start; detached while off: forgotten', async () => {
    for (const _ of [1, 2]) await attach(SECOND_PORT);
    assert.deepEqual(await recorded(), [FIRST, SECOND_PORT.id]);
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), []);
    await power('on');
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [FIRST, SECOND_PORT.id]);
    await power('off');
    for (const _ of [1, 2]) await detach(SECOND_PORT.id);
    assert.deepEqual(await recorded(), [FIRST]);
  });

  test('attached and detached while on: plugged in and out, as often as it is asked; kept over a restart', async () => {
    await power('on');
    for (const _ of [1, 2]) await attach(SECOND_PORT);
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [FIRST, SECOND_PORT.id]);
    await power('off');
    await power('on');
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [FIRST, SECOND_PORT.id]);
    for (const _ of [1, 2]) await detach(FIRST);
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [SECOND_PORT.id]);
    assert.deepEqual(await recorded(), [SECOND_PORT.id]);
  });

  test('a guest that does not let go keeps it, on record too; the next try may succeed', async () => {
    await power('on');
    await attach(SECOND_PORT);
    heeds = false;
    await assert.rejects(detach(SECOND_PORT.id), /does not let go of port/);
    assert.deepEqual(await recorded(), [FIRST, SECOND_PORT.id]);
    heeds = true;
    await detach(SECOND_PORT.id);
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [FIRST]);
  });

  test('no more than fit; another port of the same id is refused while it runs; unknown guests have none', async () => {
    const ids = Array.from({ length: MAX_PORTS }, (_, index) => `00000000-0000-4000-8000-0000000001${index + 10}`);
    for (const id of ids.slice(1)) await attach({ ...SECOND_PORT, id });
    const over = await agent.attachPort(SERVER, { generation: 1, port: SECOND_PORT });
    assert.deepEqual(over, { kind: 'refused', reason: `the guest has its ${MAX_PORTS} ports already` });
    await power('on');
    const changed = { ...SECOND_PORT, id: ids[1] ?? '', ip: '10.0.0.9' };
    assert.equal((await agent.attachPort(SERVER, { generation: 1, port: changed })).kind, 'refused');
    const other = '00000000-0000-4000-8000-000000000009';
    assert.equal((await agent.attachPort(other, { generation: 1, port: SECOND_PORT })).kind, 'absent');
    await finish(() => agent.detachPort(other, { generation: 1, portId: FIRST }));
  });

  test('an older generation plugs nothing in and out', async () => {
    await power('on');
    await agent.fence(SERVER, { generation: 7 });
    assert.equal((await agent.attachPort(SERVER, { generation: 6, port: SECOND_PORT })).kind, 'fenced');
    assert.equal((await agent.detachPort(SERVER, { generation: 6, portId: FIRST })).kind, 'fenced');
    assert.deepEqual(hypervisor.pluggedPorts(SERVER), [FIRST]);
  });
});
