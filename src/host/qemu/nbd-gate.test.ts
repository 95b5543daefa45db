// The gate against readers that do not know the name. What passes is recorded by a server that stands in for qemu-nbd.
import assert from 'node:assert/strict';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { silent } from '../test-support.ts';
import { judgeOption, NbdGate } from './nbd-gate.ts';

const NAME = 'ab'.repeat(16);

function option(number: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.write('IHAVEOPT', 0, 'latin1');
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}
function named(number: number, name: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  return option(number, Buffer.concat([length, Buffer.from(name), Buffer.alloc(2)]));
}
const LIST = option(3, Buffer.alloc(0));
const STRUCTURED = option(8, Buffer.alloc(0));

describe('judging options', () => {
  test('waits for whole options and lets harmless ones through', () => {
    assert.deepEqual(judgeOption(STRUCTURED, NAME), { kind: 'pass', bytes: 16 });
    for (let cut = 0; cut < 16; cut += 1)
      assert.deepEqual(judgeOption(STRUCTURED.subarray(0, cut), NAME), { kind: 'pass', bytes: 0 });
    const go = named(7, NAME);
    assert.deepEqual(judgeOption(go.subarray(0, go.length - 1), NAME), { kind: 'pass', bytes: 0 });
  });

  test('opens for the right name alone', () => {
    for (const number of [6, 7, 10]) {
      assert.equal(judgeOption(named(number, NAME), NAME).kind, 'open');
      assert.equal(judgeOption(named(number, `${NAME}x`), NAME).kind, 'refuse');
      assert.equal(judgeOption(named(number, ''), NAME).kind, 'refuse');
    }
    assert.equal(judgeOption(option(1, Buffer.from(NAME)), NAME).kind, 'open');
    assert.equal(judgeOption(option(1, Buffer.from('x')), NAME).kind, 'refuse');
  });

  test('refuses lists, unknown options, lies about lengths and other protocols', () => {
    assert.equal(judgeOption(LIST, NAME).kind, 'refuse');
    assert.equal(judgeOption(option(9, Buffer.alloc(8)), NAME).kind, 'refuse');
    assert.equal(judgeOption(option(99, Buffer.alloc(0)), NAME).kind, 'refuse');
    const long = named(7, NAME);
    long.writeUInt32BE(0xffffffff, 16);
    assert.equal(judgeOption(long, NAME).kind, 'refuse');
    const endless = Buffer.from(STRUCTURED);
    endless.writeUInt32BE(0xffffffff, 12);
    assert.equal(judgeOption(endless, NAME).kind, 'refuse');
    assert.equal(judgeOption(Buffer.from('GET / HTTP/1.1\r\n\r\n'), NAME).kind, 'refuse');
  });
});

describe('gate', () => {
  let server: Server;
  let gate: NbdGate;
  let connect: () => Promise<Socket>;
  let received = Buffer.alloc(0);
  before(async () => {
    server = createServer((socket) => {
      socket.write('NBDMAGICIHAVEOPT..');
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        socket.write(`seen ${received.length};`);
      });
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    connect = () =>
      new Promise<Socket>((resolve) => {
        const socket = createConnection({ port, host: '127.0.0.1' }, () => resolve(socket));
      });
    gate = await NbdGate.open({ host: '127.0.0.1', port: 0, exportName: NAME, connect, log: silent });
  });
  after(async () => {
    await gate.close();
    server.close();
  });

  /** Sends all this and returns what came back until the connection ended or `enough` was seen. */
  async function talk(pieces: readonly Buffer[], enough: RegExp): Promise<{ text: string; closed: boolean }> {
    received = Buffer.alloc(0);
    const socket = createConnection({ port: gate.port, host: '127.0.0.1' });
    socket.setNoDelay(true);
    let text = '';
    let closed = false;
    const over = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
        if (enough.test(text)) resolve();
      });
      socket.once('close', () => {
        closed = true;
        resolve();
      });
      socket.on('error', () => undefined);
    });
    for (const piece of pieces) {
      socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await over;
    socket.destroy();
    return { text, closed };
  }

  const FLAGS = Buffer.from([0, 0, 0, 3]);

  test('passes everything on after the right name, in whatever pieces it comes', async () => {
    const all = Buffer.concat([FLAGS, STRUCTURED, named(7, NAME), Buffer.from('anything at all')]);
    const bytes = Array.from(all, (byte) => Buffer.from([byte]));
    const { text } = await talk(bytes, new RegExp(`seen ${all.length};`));
    assert.match(text, /^NBDMAGICIHAVEOPT/);
    assert.deepEqual(received, all);
  });

  test('ends the connection of who asks for a list or another name, and passes neither on', async () => {
    for (const bad of [LIST, named(7, 'other'), option(1, Buffer.from('other'))]) {
      const { closed } = await talk([FLAGS, STRUCTURED, bad], /never/);
      assert.equal(closed, true);
      assert.ok(received.length <= FLAGS.length + STRUCTURED.length, 'the option itself did not pass');
    }
  });

  test('ends the connection of who goes on with harmless options', async () => {
    const impatient = await NbdGate.open({
      ...{ host: '127.0.0.1', port: 0, exportName: NAME, connect, log: silent, handshakeMs: 200 },
    });
    const socket = createConnection({ port: impatient.port, host: '127.0.0.1' });
    let isClosed = false;
    socket.once('close', () => {
      isClosed = true;
    });
    socket.on('error', () => undefined).resume();
    socket.write(FLAGS);
    const giveUp = Date.now() + 2000;
    while (!isClosed && Date.now() < giveUp) {
      socket.write(STRUCTURED);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await impatient.close();
    assert.ok(Date.now() < giveUp);
  });

  test('closing it ends its connections and frees its port', async () => {
    const connect = () => Promise.reject(new Error('not reached'));
    const options = { host: '127.0.0.1', exportName: NAME, connect, log: silent };
    const first = await NbdGate.open({ ...options, port: 0 });
    await assert.rejects(NbdGate.open({ ...options, port: first.port }), { name: 'HypervisorError' });
    await first.close();
    const second = await NbdGate.open({ ...options, port: first.port });
    await second.close();
  });
});
