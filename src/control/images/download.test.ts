import assert from 'node:assert/strict';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findImage } from '../images.ts';
import type { Platform } from '../platform.ts';
import { checkUri, FAILED_IMPORT, importFromWeb, type WebDownloadSettings } from './download.ts';
import { importImage } from './members.ts';
import { createImage } from './records.ts';
import { imageWorld, member, qcow2, stranger } from './testing.ts';

const SAFE: WebDownloadSettings = { enabled: true, privateAddresses: false, ports: [80, 443] };

test('only http and https, ports that are allowed and public addresses pass', () => {
  for (const uri of [
    'http://example.org/a',
    'https://example.org/a?b=c',
    'https://8.8.8.8/x',
    'http://example.org:80/',
  ]) {
    assert.equal(checkUri(uri, SAFE), null, uri);
  }
  for (const uri of [
    ...[
      'file:///etc/passwd',
      'ftp://example.org/a',
      'no url',
      'http://example.org:22/',
      'http://me:secret@example.org/',
    ],
    ...['http://127.0.0.1/', 'http://2130706433/', 'http://0x7f.1/', 'http://[::1]/', 'http://[::ffff:10.0.0.1]/'],
    ...['http://169.254.169.254/latest/meta-data', 'https://192.168.1.1/'],
  ]) {
    assert.equal(checkUri(uri, SAFE)?.code, 400, uri);
  }
  assert.equal(checkUri('http://10.0.0.1:8080/', { ...SAFE, privateAddresses: true, ports: [8080] }), null);
});

async function served(answer: RequestListener, use: (port: number) => Promise<void>): Promise<void> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function queued(p: Platform): Promise<string> {
  const made = await createImage(p, member, {
    ...{ name: 'web', diskFormat: 'qcow2', containerFormat: 'bare', visibility: 'private', minDiskGb: 0, minRamMb: 0 },
    ...{ protected: false, hidden: false, properties: {}, tags: [] },
  });
  assert(made.kind === 'ok');
  return made.image.id;
}

const fetched = (p: Platform, id: string, uri: string, actor = member) =>
  importImage(p, actor, id, { name: 'web-download', uri });

/** What has become of it when nothing more comes. */
async function settled(p: Platform, id: string): Promise<string | undefined> {
  for (let tries = 0; tries < 500; tries += 1) {
    const image = await findImage(p, id);
    if (image?.status === 'active') return 'active';
    if (image?.properties[FAILED_IMPORT] === 'local') return `${image.status}: failed`;
    await sleep(10);
  }
  return 'never settled';
}

test('what the web has becomes the image', () =>
  served(
    (_request, response) => response.end(qcow2()),
    async (port) => {
      const webDownload = { enabled: true, privateAddresses: true, ports: [port] };
      await using world = await imageWorld({ webDownload });
      const id = await queued(world.p);
      const uri = `http://localhost:${port}/image`;
      assert.equal((await fetched(world.p, id, uri, stranger))?.code, 404);
      assert.equal(await fetched(world.p, id, uri), null);
      assert.equal(await settled(world.p, id), 'active');
      assert.equal((await findImage(world.p, id))?.sizeBytes, qcow2().length);
      assert.match((await fetched(world.p, id, uri))?.message ?? '', /needs to be in 'queued' state/);
    },
  ));

test('redirects are followed; a second try forgets that the first one failed', () => {
  let there = false;
  return served(
    ({ url }, response) => {
      if (url === '/image') response.writeHead(307, { location: '/a?b=c' }).end();
      else if (url === '/a?b=c' && there) response.writeHead(301, { location: 'data' }).end();
      else if (url === '/data') response.end(qcow2());
      else response.writeHead(404).end();
    },
    async (port) => {
      const webDownload = { enabled: true, privateAddresses: true, ports: [port] };
      await using world = await imageWorld({ webDownload });
      const id = await queued(world.p);
      const uri = `http://127.0.0.1:${port}/image`;
      assert.equal(await fetched(world.p, id, uri), null);
      assert.equal(await settled(world.p, id), 'queued: failed');
      there = true;
      assert.equal(await fetched(world.p, id, uri), null);
      assert.equal(await settled(world.p, id), 'active');
      assert.deepEqual((await findImage(world.p, id))?.properties, {});
    },
  );
});

test('of one project no more than two are fetched at once, whatever they have to forget before', () => {
  const held: ServerResponse[] = [];
  let holds = false;
  const fail = (response: ServerResponse) => response.writeHead(404).end();
  return served(
    (_request, response) => (holds ? held.push(response) : fail(response)),
    async (port) => {
      const webDownload = { enabled: true, privateAddresses: true, ports: [port] };
      await using world = await imageWorld({ webDownload });
      const ids: string[] = [];
      const uri = `http://127.0.0.1:${port}/image`;
      for (let count = 0; count < 5; count += 1) {
        const id = await queued(world.p);
        assert.equal(await fetched(world.p, id, uri), null);
        assert.equal(await settled(world.p, id), 'queued: failed');
        ids.push(id);
      }
      holds = true;
      const answers = await Promise.all(ids.map((id) => fetched(world.p, id, uri)));
      assert.deepEqual(answers.map((refusal) => refusal?.code ?? 0).toSorted(), [0, 0, 503, 503, 503]);
      const [refusedFirst = ''] = ids.filter((_, index) => answers[index]?.code === 503);
      const image = await findImage(world.p, refusedFirst);
      assert(image);
      assert.equal(await importFromWeb(world.p, stranger, image, uri), null);
      for (let tries = 0; held.length < 3 && tries < 500; tries += 1) await sleep(10);
      held.forEach(fail);
      for (const id of ids) assert.equal(await settled(world.p, id), 'queued: failed');
    },
  );
});

test('what may not be asked for is not asked for by a redirect either', () =>
  served(
    () => assert.fail('it was asked'),
    async (inside) =>
      served(
        (_request, response) => response.writeHead(302, { location: `http://localhost:${inside}/` }).end(),
        async (port) => {
          const webDownload = { enabled: true, privateAddresses: true, ports: [port] };
          await using world = await imageWorld({ webDownload });
          const id = await queued(world.p);
          assert.equal(await fetched(world.p, id, `http://127.0.0.1:${port}/image`), null);
          assert.equal(await settled(world.p, id), 'queued: failed');
        },
      ),
  ));

test('what cannot be had leaves it queued: errors, redirects without end or to elsewhere, what is no image, what is too large', async () => {
  const leadsTo =
    (location: string): RequestListener =>
    (_request, response) =>
      response.writeHead(302, { location }).end();
  const answers: (readonly [RequestListener, number])[] = [
    [(_request, response) => response.writeHead(404).end(), 1],
    [(_request, response) => response.writeHead(302).end(), 1],
    [leadsTo('/round'), 6],
    ...['http://127.0.0.1:1/', 'file:///etc/passwd', 'http://me:secret@127.0.0.1/', 'http://'].map(
      (location) => [leadsTo(location), 1] as const,
    ),
    [(_request, response) => response.end('no image'), 1],
    [(_request, response) => response.writeHead(200, { 'content-length': String(2 ** 40) }).write('x'), 1],
    [(request) => request.socket.destroy(), 1],
  ];
  for (const [answer, times] of answers) {
    let asked = 0;
    const counted: RequestListener = (request, response) => {
      asked += 1;
      answer(request, response);
    };
    await served(counted, async (port) => {
      await using world = await imageWorld({ webDownload: { enabled: true, privateAddresses: true, ports: [port] } });
      const id = await queued(world.p);
      assert.equal(await fetched(world.p, id, `http://127.0.0.1:${port}/image`), null);
      assert.equal(await settled(world.p, id), 'queued: failed');
      assert.equal(asked, times);
    });
  }
});

test('a name that means an address which is not public is not connected to', () =>
  served(
    () => assert.fail('it was asked'),
    async (port) => {
      await using world = await imageWorld({ webDownload: { enabled: true, privateAddresses: false, ports: [port] } });
      const id = await queued(world.p);
      assert.equal(await fetched(world.p, id, `http://localhost:${port}/image`), null);
      assert.equal(await settled(world.p, id), 'queued: failed');
    },
  ));

test('where it is turned off there is no such method', async () => {
  await using world = await imageWorld({ webDownload: { ...SAFE, enabled: false } });
  const id = await queued(world.p);
  assert.equal(
    (await fetched(world.p, id, 'https://example.org/'))?.message,
    "Unknown import method name 'web-download'.",
  );
});
