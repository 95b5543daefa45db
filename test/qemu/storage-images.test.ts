// Base images that volumes were made from: they do not fill a storage host's disk.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { finish, silent } from '../../src/host/test-support.ts';
import { connectStorage } from '../../src/storage/client.ts';
import { runStorage } from '../../src/storage/main.ts';

const MIB = 1024 ** 2;
const bytesOf = (n: number): Buffer => Buffer.alloc(MIB, n);
const volumeOf = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;

test('images that no volume is being made from go when they are too much', async () => {
  const stateDir = await realpath(await mkdtemp(join(tmpdir(), 'crosscell-storage-')));
  const web = createServer((request, response) => response.end(bytesOf(Number(request.url?.slice(1)))));
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo;
  const secret = 'a-secret-of-the-fleet';
  const agent = await runStorage({
    ...{ name: 's', stateDir, listen: { host: '127.0.0.1', port: 0 }, secret, unusedImageBytes: MIB, log: silent },
  });
  try {
    const host = connectStorage({ url: agent.url, secret, name: 's' });
    const make = (n: number) => {
      const sha256 = createHash('sha256').update(bytesOf(n)).digest('hex');
      const sizes = { sizeBytes: MIB, virtualBytes: MIB };
      const image = { id: volumeOf(n), format: 'raw', ...sizes, sha256, url: `http://127.0.0.1:${port}/${n}` } as const;
      return finish(() =>
        host.create(volumeOf(n), { generation: 1, sizeBytes: MIB, source: { kind: 'image', image } }),
      );
    };
    await Promise.all([1, 2, 3, 4].map(make));
    assert.equal((await readdir(join(stateDir, 'images'))).length, 1);
  } finally {
    await agent.close();
    web.closeAllConnections();
    web.close();
    await rm(stateDir, { recursive: true });
  }
});
