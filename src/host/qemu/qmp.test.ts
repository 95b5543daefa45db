// QMP framing against a server that says exactly what the test wants, in the pieces it wants.
import assert from 'node:assert/strict';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Qmp } from './qmp.ts';

const GREETING = '{"QMP":{"version":{},"capabilities":["oob"]}}\r\n';

describe('qmp', () => {
  let server: Server;
  let port = 0;
  let script: (socket: Socket, command: { id: number; execute?: string; 'exec-oob'?: string }) => void;
  let greeting = GREETING;
  let heard: string[] = [];
  before(async () => {
    server = createServer((socket) => {
      socket.write(greeting);
      socket.setEncoding('utf8').on('data', (text: string) => {
        for (const line of text.split('\n').filter((part) => part !== '')) {
          heard.push(line);
          const command = JSON.parse(line);
          if (command.execute === 'qmp_capabilities') socket.write(`{"return":{},"id":${command.id}}\r\n`);
          else script(socket, command);
        }
      });
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address ? address.port : 0;
  });
  after(() => server.close());
  async function attach(timeoutMs = 1000): Promise<Qmp> {
    heard = [];
    const socket = createConnection({ port, host: '127.0.0.1' });
    await new Promise((resolve) => socket.once('connect', resolve));
    return Qmp.attach(socket, timeoutMs);
  }

  test('asks for out-of-band commands where they are offered', async () => {
    greeting = GREETING;
    const qmp = await attach();
    assert.deepEqual(JSON.parse(heard[0] ?? ''), {
      execute: 'qmp_capabilities',
      arguments: { enable: ['oob'] },
      id: 1,
    });
    qmp.close();
    greeting = '{"QMP":{"version":{},"capabilities":[]}}\n';
    const plain = await attach();
    assert.deepEqual(JSON.parse(heard[0] ?? '').arguments, {});
    plain.close();
    greeting = GREETING;
  });

  test('answers are matched by id, whatever their order and pieces', async () => {
    const waiting: number[] = [];
    script = (socket, command) => {
      waiting.push(command.id);
      if (waiting.length < 2) return;
      const [first, second] = waiting;
      const text = `{"return":"b","id":${second}}\r\n{"event":"STOP","data":{"x":"ü"}}\r\n{"return":"a","id":${first}}\r\n`;
      const bytes = Buffer.from(text);
      // One byte at a time: line ends and a two-byte character fall between pieces.
      for (let i = 0; i < bytes.length; i += 1) socket.write(bytes.subarray(i, i + 1));
    };
    const qmp = await attach();
    const answers = await Promise.all([qmp.execute('one'), qmp.execute('two', { k: 1 }, { oob: true })]);
    assert.deepEqual(answers, ['a', 'b']);
    assert.match(heard.at(-1) ?? '', /"exec-oob":"two"/);
    assert.deepEqual(await qmp.waitEvent('STOP', 100), { event: 'STOP', data: { x: 'ü' } }, 'events are kept');
    assert.equal(await qmp.waitEvent('RESUME', 20), null);
    qmp.close();
  });

  test('an error, silence and a lost connection reject', async () => {
    script = (socket, command) => {
      if (command.execute === 'fail') socket.write(`{"error":{"class":"X","desc":"no"},"id":${command.id}}\n`);
      if (command.execute === 'die') socket.destroy();
    };
    const qmp = await attach();
    await assert.rejects(qmp.execute('fail'), { message: 'X: no' });
    await assert.rejects(qmp.execute('silence', {}, { timeoutMs: 20 }), /did not answer silence in time/);
    await assert.rejects(qmp.execute('die'), /closed/);
    await qmp.closed;
    await assert.rejects(qmp.execute('later'), /closed/);
  });

  test('whatever is not QMP ends the connection', async () => {
    for (const rubbish of ['not json\n', '[1]\n', '"x"\n']) {
      script = (socket) => socket.write(rubbish);
      const qmp = await attach();
      await assert.rejects(qmp.execute('x'), /does not speak QMP/);
    }
    greeting = '';
    await assert.rejects(attach(50), /did not greet in time/);
    greeting = GREETING;
  });
});
