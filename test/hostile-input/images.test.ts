// Image uploads as an attacker or a broken client sends them, over real sockets to the real image API: each is answered
// with a 4xx that says what is wrong, and leaves no file in the image directory and no row but the queued image.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../../src/api/http/app.ts';
import { hostImageRoutes } from '../../src/api/image/data.ts';
import { imageRoutes } from '../../src/api/image/routes.ts';
import { type ImageWorld, imageWorld, qcow2 } from '../../src/control/images/testing.ts';
import { findImage, isForGuests } from '../../src/control/images.ts';
import { newId } from '../../src/lib/ids.ts';

const MAX_BYTES = 1024 * 1024;
const WAIT_MS = 10_000;
const PEOPLE = { member: { userId: 'u1', projectId: 'p1', roles: ['member'] } } as const;

let world: ImageWorld;
let app: FastifyInstance;
let port: number;

before(async () => {
  world = await imageWorld({ maxImageBytes: MAX_BYTES });
  const tokens = { principalOf: async (token: string) => (token === 'member' ? PEOPLE.member : null) };
  app = await buildApp({ platform: world.p, tokens, routes: [...imageRoutes, ...hostImageRoutes('secret')] });
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
});
after(async () => {
  await app.close();
  await world[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly message: string;
}

/** Sends a request whose body is written in pieces, wholly before the answer is read. */
function send(
  method: string,
  path: string,
  headers: Record<string, string | number>,
  pieces: readonly (Buffer | string)[],
): Promise<Answer> {
  return new Promise((done, failed) => {
    const sent = request(
      { host: '127.0.0.1', port, method, path, headers: { 'x-auth-token': 'member', ...headers }, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('error', failed);
        response.on('end', () => {
          const body = text === '' ? {} : (JSON.parse(text) as { error?: { message: string }; id?: string });
          done({ status: response.statusCode ?? 0, message: body.error?.message ?? body.id ?? '' });
        });
      },
    );
    sent.on('error', failed);
    for (const piece of pieces) sent.write(piece);
    sent.end();
  });
}

async function queued(diskFormat: 'raw' | 'qcow2'): Promise<string> {
  const body = JSON.stringify({ name: 'x', disk_format: diskFormat, container_format: 'bare' });
  const made = await send('POST', '/image/v2/images', json(body), [body]);
  assert.equal(made.status, 201);
  return made.message;
}
const json = (body: string) => ({ 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
const octets = { 'content-type': 'application/octet-stream' };

const upload = (id: string, data: Buffer, declared = true): Promise<Answer> =>
  send('PUT', `/image/v2/images/${id}/file`, declared ? { ...octets, 'content-length': data.length } : octets, [data]);

async function files(): Promise<string[]> {
  try {
    return await readdir(world.directory);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOENT');
    return [];
  }
}
const rows = () => world.p.stores.global.selectFrom('images').select(['id', 'status']).orderBy('id').execute();

/** Waits until the image is queued and no file is there: when a connection breaks, nobody answers. */
async function untilNothingIsLeft(id: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const status = (await findImage(world.p, id))?.status;
    const left = await files();
    if (status === 'queued' && left.length === 0) return;
    assert.ok(Date.now() < deadline, `still ${status} with ${left.join(', ')}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

async function refusedWithoutTrace(diskFormat: 'raw' | 'qcow2', data: Buffer, sentence: RegExp, code = 400) {
  for (const declared of [true, false]) {
    const id = await queued(diskFormat);
    const before = await rows();
    const answer = await upload(id, data, declared);
    assert.equal(answer.status, code, answer.message);
    assert.match(answer.message, sentence);
    assert.deepEqual(await files(), []);
    assert.equal((await findImage(world.p, id))?.status, 'queued');
    assert.deepEqual(await rows(), before);
  }
}

describe('qcow2 headers', () => {
  test('a backing file', () => refusedWithoutTrace('qcow2', qcow2({ backingFile: '/etc/passwd' }), /backing file/));
  test('a backing file by protocol', () =>
    refusedWithoutTrace('qcow2', qcow2({ backingFile: 'json:{"driver":"file","filename":"/etc/shadow"}' }), /backing/));
  test('an external data file', () => refusedWithoutTrace('qcow2', qcow2({ dataFile: '/etc/shadow' }), /external/));
  for (const virtualBytes of [2n ** 63n, 2n ** 64n - 1n, 2n ** 50n, 0n, 513n])
    test(`a virtual size of ${virtualBytes} bytes`, () =>
      refusedWithoutTrace('qcow2', qcow2({ virtualBytes }), /virtual size/));
  test('a header that is cut off', () => refusedWithoutTrace('qcow2', qcow2().subarray(0, 50), /cut off/));
  test('tables beyond the end of the file', () =>
    refusedWithoutTrace('qcow2', qcow2().subarray(0, 70_000), /table is not within the file/));
  test('nothing but the magic', () => refusedWithoutTrace('qcow2', Buffer.from('QFI\xfb', 'latin1'), /cut off/));
  test('noise after the magic', () => {
    const noise = Buffer.alloc(70_000, 0xff);
    noise.write('QFI\xfb', 0, 'latin1');
    return refusedWithoutTrace('qcow2', noise, /version/);
  });
});

describe('content that is not what it is declared to be', () => {
  const vmdk = Buffer.concat([Buffer.from('KDMV'), Buffer.alloc(2000)]);
  test('raw declared, qcow2 inside', () => refusedWithoutTrace('raw', qcow2(), /declared as raw .* qcow2/));
  test('qcow2 declared, vmdk inside', () => refusedWithoutTrace('qcow2', vmdk, /declared as qcow2 .* VMDK/));
  test('raw declared, vmdk inside', () => refusedWithoutTrace('raw', vmdk, /declared as raw .* VMDK/));
  test('qcow2 declared, text inside: kept, for no guest', async () => {
    const id = await queued('qcow2');
    assert.equal((await upload(id, readFileSync('/etc/passwd'))).status, 204);
    const image = await findImage(world.p, id);
    assert.ok(image && !isForGuests(image));
    assert.equal(image.virtualBytes, null);
    rmSync(join(world.directory, id));
  });
  test('nothing at all', () => refusedWithoutTrace('raw', Buffer.alloc(0), /empty/));
});

const hasQemuImg = spawnSync('qemu-img', ['--version']).status === 0;
describe('images made by qemu-img', { skip: hasQemuImg ? false : 'qemu-img is not installed' }, () => {
  const made = (...args: readonly string[]): Buffer => {
    const directory = mkdtempSync(join(tmpdir(), 'crosscell-hostile-'));
    try {
      writeFileSync(join(directory, 'base.raw'), Buffer.alloc(65536));
      execFileSync('qemu-img', ['create', '-q', ...args], { cwd: directory, stdio: 'pipe' });
      return readFileSync(join(directory, 'disk'));
    } finally {
      rmSync(directory, { recursive: true });
    }
  };
  test('a backing file', () =>
    refusedWithoutTrace('qcow2', made('-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'disk', '1M'), /backing file/));
  test('an external data file', () =>
    refusedWithoutTrace('qcow2', made('-f', 'qcow2', '-o', 'data_file=data.raw', 'disk', '1M'), /external/));
  test('a virtual size of 17 TiB', () =>
    refusedWithoutTrace('qcow2', made('-f', 'qcow2', 'disk', '17T'), /virtual size/));
  test('vmdk declared as qcow2', () => refusedWithoutTrace('qcow2', made('-f', 'vmdk', 'disk', '1M'), /VMDK/));
  test('an honest one is taken, with its virtual size', async () => {
    const id = await queued('qcow2');
    const answer = await upload(id, made('-f', 'qcow2', 'disk', '7M'));
    assert.equal(answer.status, 204, answer.message);
    assert.equal((await findImage(world.p, id))?.virtualBytes, 7 * 1024 * 1024);
    assert.deepEqual(await files(), [id]);
    rmSync(join(world.directory, id));
  });
  test('so is the one that these tests build from', async () => {
    const id = await queued('qcow2');
    assert.equal((await upload(id, qcow2())).status, 204);
    rmSync(join(world.directory, id));
  });
});

describe('sizes', () => {
  test('a body over its limit', () =>
    refusedWithoutTrace('raw', Buffer.alloc(MAX_BYTES + 1), /larger than 1048576 bytes/, 413));
  test('far over its limit', () =>
    refusedWithoutTrace('raw', Buffer.alloc(20 * MAX_BYTES), /larger than 1048576 bytes/, 413));
  test('chunk after chunk, without a length', async () => {
    const id = await queued('raw');
    const pieces = Array.from({ length: 40 }, () => Buffer.alloc(65536, 1));
    const answer = await send('PUT', `/image/v2/images/${id}/file`, octets, pieces);
    assert.equal(answer.status, 413);
    assert.match(answer.message, /larger than 1048576 bytes/);
    await untilNothingIsLeft(id);
  });
  test('an announced length that is absurd is refused before its bytes come', async () => {
    const id = await queued('raw');
    const answer = await rawExchange(
      id,
      ['Content-Type: application/octet-stream', 'Content-Length: 99999999999999'],
      Buffer.alloc(10),
      'wait',
    );
    assert.match(answer, /^HTTP\/1\.1 413 /);
    await untilNothingIsLeft(id);
  });
});

/**
 * Speaks HTTP by hand: sends headers and body, then ends its side (`end`), breaks the connection (`destroy`),
 * or waits for the server to close it. The answer, '' when there was none.
 */
function rawExchange(
  id: string,
  headers: readonly string[],
  body: Buffer,
  then: 'end' | 'destroy' | 'wait',
): Promise<string> {
  return new Promise((done) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => {
      const head = [`PUT /image/v2/images/${id}/file HTTP/1.1`, 'Host: x', 'X-Auth-Token: member', ...headers, '', ''];
      socket.write(head.join('\r\n'));
      socket.write(body, () => {
        if (then === 'end') socket.end();
        else if (then === 'destroy') void untilSaving(id).then(() => socket.destroy());
      });
    });
    socket.on('data', (data) => {
      answer += data.toString('latin1');
    });
    // A broken connection is what some of these tests are about: the answer, if any, is what counts.
    socket.on('error', () => undefined);
    socket.on('close', () => done(answer));
  });
}

async function untilSaving(id: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while ((await findImage(world.p, id))?.status !== 'saving') {
    assert.ok(Date.now() < deadline, 'the upload never began');
    await new Promise((next) => setTimeout(next, 5));
  }
}

describe('uploads that end early', () => {
  const type = 'Content-Type: application/octet-stream';
  const some = Buffer.alloc(70_000, 1);
  test('the client breaks the connection', async () => {
    const id = await queued('raw');
    await rawExchange(id, [type, 'Content-Length: 500000'], some, 'destroy');
    await untilNothingIsLeft(id);
  });
  test('the client ends its side before Content-Length is reached', async () => {
    const id = await queued('raw');
    await rawExchange(id, [type, 'Content-Length: 500000'], some, 'end');
    await untilNothingIsLeft(id);
  });
  test('a chunked body without its last chunk', async () => {
    const id = await queued('raw');
    const chunk = Buffer.concat([Buffer.from(`${some.length.toString(16)}\r\n`), some, Buffer.from('\r\n')]);
    await rawExchange(id, [type, 'Transfer-Encoding: chunked'], chunk, 'end');
    await untilNothingIsLeft(id);
  });
  test('chunks that are none', async () => {
    const id = await queued('raw');
    const answer = await rawExchange(id, [type, 'Transfer-Encoding: chunked'], Buffer.from('zz\r\nxx'), 'end');
    assert.ok(answer === '' || /^HTTP\/1\.1 4\d\d /.test(answer), answer);
    await untilNothingIsLeft(id);
  });
  test('afterwards the image takes an honest upload', async () => {
    const id = await queued('raw');
    await rawExchange(id, [type, 'Content-Length: 500000'], some, 'destroy');
    await untilNothingIsLeft(id);
    assert.equal((await upload(id, some)).status, 204);
    rmSync(join(world.directory, id));
  });
});

describe('names and ids that are paths', () => {
  const names = ['../../etc/passwd', '..', 'a/../b', '..\\..\\x', 'a\0b', 'a\nb', 'a\rb', '\u007f', 'x'.repeat(256)];
  for (const name of names) {
    test(`image name ${JSON.stringify(name).slice(0, 40)}`, async () => {
      const before = await rows();
      const body = JSON.stringify({ name, disk_format: 'raw', container_format: 'bare' });
      const answer = await send('POST', '/image/v2/images', json(body), [body]);
      assert.equal(answer.status, 400);
      assert.match(answer.message, name.includes('\0') ? /character NUL/ : /name/);
      assert.deepEqual(await rows(), before);
    });
  }
  for (const id of ['..%2F..%2Fetc%2Fpasswd', '%2e%2e', 'a%00b', '%0a', `${newId()}%2F..`, 'x'.repeat(300), newId()]) {
    test(`image id ${id.slice(0, 40)}`, async () => {
      const before = await rows();
      for (const [method, path] of [
        ['GET', `/image/v2/images/${id}`],
        ['GET', `/image/v2/images/${id}/file`],
        ['DELETE', `/image/v2/images/${id}`],
      ] as const) {
        const answer = await send(method, path, {}, []);
        assert.ok([400, 404, 405, 414].includes(answer.status), `${method} ${path}: ${answer.status}`);
      }
      const put = await send('PUT', `/image/v2/images/${id}/file`, octets, [Buffer.alloc(100)]);
      assert.ok([400, 404, 414].includes(put.status), `PUT: ${put.status}`);
      assert.deepEqual(await rows(), before);
      assert.deepEqual(await files(), []);
    });
  }
});

test('an upload of the wrong type, by nobody, or of JSON beyond its limit', async () => {
  const id = await queued('raw');
  const path = `/image/v2/images/${id}/file`;
  assert.equal((await send('PUT', path, json('{}'), ['{}'])).status, 415);
  assert.equal((await send('PUT', path, { ...octets, 'x-auth-token': 'x' }, [Buffer.alloc(100)])).status, 401);
  const body = JSON.stringify({ name: 'x'.repeat(2 * 1024 * 1024) });
  assert.equal((await send('POST', '/image/v2/images', json(body), [body])).status, 413);
  await untilNothingIsLeft(id);
});
