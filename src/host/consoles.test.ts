// Consoles between an agent and those who hold the fleet's secret, over HTTP.
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { systemClock } from '../lib/clock.ts';
import { Agent } from './agent.ts';
import { connectConsole, connectTcp } from './console-client.ts';
import { type ConsoleRequest, consoleOfPath, consolePath, tcpOfPath, tcpPath } from './consoles.ts';
import { MemoryRecords } from './records.ts';
import { createHostServer } from './server.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { SERVER, SPEC, silent } from './test-support.ts';

const SECRET = 'secret-of-the-fleet';

describe("an agent's consoles", () => {
  let agent: Agent;
  let app: FastifyInstance;
  let url: string;
  let startedAt: number;
  before(async () => {
    const hypervisor = new SimulatedHypervisor({ clock: systemClock, fabric: new SimulatedFabric(), host: 'h' });
    const resources = { vcpus: 8, memoryMb: 8192, diskGb: 100 };
    const records = new MemoryRecords();
    agent = await Agent.open({ name: 'h', clock: systemClock, hypervisor, records, resources, log: silent });
    app = createHostServer({ host: agent, name: 'h', secret: SECRET, log: silent });
    url = await app.listen({ host: '127.0.0.1', port: 0 });
    await agent.define(SERVER, { generation: 1, spec: SPEC, disk: 'fresh' });
    await agent.setPower(SERVER, { generation: 1, power: 'on', graceSeconds: 0 });
    const guest = await agent.guest(SERVER);
    assert.ok(guest.kind === 'ok' && guest.value.startedAt !== null);
    startedAt = guest.value.startedAt;
  });
  after(async () => {
    await app.close();
    await agent.close();
  });

  const open = (request: Partial<ConsoleRequest> = {}, changes: { secret?: string; name?: string } = {}) =>
    connectConsole({ url, secret: SECRET, name: 'h', ...changes }, SERVER, { kind: 'serial', startedAt, ...request });
  async function opened(request: Partial<ConsoleRequest> = {}): Promise<Duplex> {
    const reply = await open(request);
    assert.ok(reply.kind === 'ok', JSON.stringify(reply));
    return reply.value;
  }
  const closed = (stream: Duplex): Promise<void> =>
    new Promise((resolve) => {
      stream.on('error', () => stream.destroy());
      stream.once('close', () => resolve());
    });

  test('are found by a path that says all of it', () => {
    const request = { kind: 'vnc', startedAt: 12 } as const;
    assert.deepEqual(consoleOfPath(consolePath(SERVER, request)), { serverId: SERVER, request });
    for (const wrong of ['/', '/v1/guests/x/consoles/vnc/1', `/v1/guests/${SERVER}/consoles/spice/1`])
      assert.equal(consoleOfPath(wrong), null, wrong);
  });

  test('are for holders of the secret who mean this host', async () => {
    assert.deepEqual(await open({}, { secret: 'wrong' }), { kind: 'unreachable', reason: 'wrong fleet secret' });
    assert.deepEqual(await open({}, { name: 'other' }), { kind: 'unreachable', reason: 'this is host h' });
  });

  test('are of the guest as it was started, and of no other', async () => {
    assert.equal((await open({ startedAt: startedAt + 1 })).kind, 'refused');
    const nobody = '00000000-0000-4000-8000-000000000000';
    const reply = await connectConsole({ url, secret: SECRET }, nobody, { kind: 'vnc', startedAt });
    assert.equal(reply.kind, 'absent');
    const nowhere = await connectConsole({ url: 'simulated://h', secret: SECRET }, SERVER, { kind: 'vnc', startedAt });
    assert.equal(nowhere.kind, 'unreachable');
  });

  test('carry bytes both ways', async () => {
    const stream = await opened();
    stream.write('typed');
    let text = '';
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.endsWith('typed')) break;
    }
    assert.match(text, /GUEST UP/);
  });

  test('are cut off when a serial line is not read', async () => {
    const stream = await opened();
    const over = closed(stream);
    stream.pause();
    // The guest echoes it all; the kernel's buffers take a few of these.
    const chunk = Buffer.alloc(1024 * 1024, 'x');
    let writes = 0;
    while (!stream.destroyed && writes < 64) {
      writes += 1;
      const room = stream.write(chunk) ? Promise.resolve() : new Promise((resolve) => stream.once('drain', resolve));
      await Promise.race([room, over, delay(500)]);
    }
    stream.resume();
    await over;
    assert.ok(writes < 64, `${writes} MiB were taken`);
  });

  test('and TCP connections: found by a path, to a guest that runs, carrying bytes both ways', async () => {
    const request = { portId: '11111111-0000-4000-8000-000000000000', tcpPort: 22 };
    assert.deepEqual(tcpOfPath(tcpPath(SERVER, request)), { serverId: SERVER, request });
    for (const wrong of [
      tcpPath(SERVER, { ...request, tcpPort: 65_536 }),
      tcpPath('x', request),
      `${tcpPath(SERVER, request)}0x`,
    ])
      assert.equal(tcpOfPath(wrong), null, wrong);
    const address = { url, secret: SECRET, name: 'h' };
    const reply = await connectTcp(address, SERVER, request);
    assert.ok(reply.kind === 'ok');
    reply.value.write('typed');
    let text = '';
    for await (const chunk of reply.value) {
      text += String(chunk);
      if (text.endsWith('typed')) break;
    }
    assert.match(text, /^SSH-2.0-simulated/);
    assert.equal((await connectTcp(address, request.portId, request)).kind, 'absent');
    assert.equal((await connectTcp({ ...address, secret: 'wrong' }, SERVER, request)).kind, 'unreachable');
  });

  test('end with the guest', async () => {
    const over = closed((await opened({ kind: 'vnc' })).resume());
    const tcp = await connectTcp({ url, secret: SECRET, name: 'h' }, SERVER, { portId: SERVER, tcpPort: 22 });
    assert.ok(tcp.kind === 'ok');
    const tcpOver = closed(tcp.value.resume());
    await agent.setPower(SERVER, { generation: 1, power: 'off', graceSeconds: 0 });
    await over;
    await tcpOver;
    assert.equal((await open()).kind, 'refused');
    const off = await connectTcp({ url, secret: SECRET, name: 'h' }, SERVER, { portId: SERVER, tcpPort: 22 });
    assert.equal(off.kind, 'refused');
  });

  test('end with the agent', async () => {
    await agent.setPower(SERVER, { generation: 1, power: 'on', graceSeconds: 0 });
    const guest = await agent.guest(SERVER);
    assert.ok(guest.kind === 'ok' && guest.value.startedAt !== null);
    const over = closed((await opened({ startedAt: guest.value.startedAt })).resume());
    await app.close();
    await over;
  });
});
