// Consoles over the API and its websocket proxy, on simulated hosts.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { type Client, type TestSystem, testSystem, waitFor } from '../api/system.ts';
import { connect, openStatus, type Viewer } from './viewer.ts';

describe('consoles', () => {
  let world: TestSystem;
  const open: Viewer[] = [];
  const servers: string[] = [];
  before(async () => {
    world = await testSystem({ cells: 2, hostsPerCell: 1 });
  });
  after(async () => {
    for (const viewer of open) viewer.close();
    await world[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    for (const id of servers.splice(0)) await world.alice('DELETE', `/compute/v2.1/servers/${id}`);
  });

  async function newServer(name: string): Promise<string> {
    const { imageId, networkId, alice } = world;
    const server = { name, imageRef: imageId, flavorRef: '1', networks: [{ uuid: networkId }] };
    const made = await alice('POST', '/compute/v2.1/servers', { server });
    assert.equal(made.status, 202, made.text);
    servers.push(made.json.server.id);
    await waitFor(alice, made.json.server.id, ['ACTIVE']);
    return made.json.server.id;
  }

  async function urlOf(client: Client, id: string, protocol: 'vnc' | 'serial'): Promise<URL> {
    const type = protocol === 'vnc' ? 'novnc' : 'serial';
    const body = { remote_console: { protocol, type } };
    const made = await client('POST', `/compute/v2.1/servers/${id}/remote-consoles`, body, 6);
    assert.equal(made.status, 200, made.text);
    assert.equal(made.json.remote_console.type, type);
    return new URL(made.json.remote_console.url);
  }

  /** The websocket behind the URL that the API gave. */
  async function socketUrl(client: Client, id: string, protocol: 'vnc' | 'serial'): Promise<string> {
    const url = await urlOf(client, id, protocol);
    if (protocol === 'serial') return url.href;
    return `${url.origin.replace('http', 'ws')}/${url.searchParams.get('path')}`;
  }

  async function view(url: string): Promise<Viewer> {
    const viewer = await connect(url);
    open.push(viewer);
    return viewer;
  }

  it('shows what the guest has printed, and takes what is typed', async () => {
    const id = await newServer('typed');
    const viewer = await view(await socketUrl(world.alice, id, 'serial'));
    await viewer.until(/GUEST UP cpus=1/);
    viewer.send('hello\r');
    await viewer.until(/hello/);
    assert.equal(viewer.protocol, 'binary');
  });

  it('speaks RFB on the screen', async () => {
    const id = await newServer('screen');
    const viewer = await view(await socketUrl(world.alice, id, 'vnc'));
    await viewer.until(/^RFB 003\.008\n/);
    viewer.send('RFB 003.008\n');
    await viewer.untilBytes(12 + 2);
    assert.deepEqual([...viewer.bytes().subarray(12)], [1, 1]);
    viewer.send(Uint8Array.of(1));
    await viewer.untilBytes(14 + 4);
    viewer.send(Uint8Array.of(1));
    await viewer.until(/simulated \(/);
  });

  it('serves a page that may load and reach nothing but its own origin', async () => {
    const id = await newServer('page');
    for (const protocol of ['vnc', 'serial'] as const) {
      const url = await urlOf(world.alice, id, protocol);
      // Dashboards add words of noVNC's.
      const page = await fetch(`${url.href.replace(/^ws/, 'http')}&title=page(${id})&autoconnect=true`);
      assert.equal(page.status, 200);
      const html = await page.text();
      assert.match(html, /<html.*>[\s\S]*<script[\s\S]*<\/html>/);
      assert.match(
        page.headers.get('content-security-policy') ?? '',
        /default-src 'none'; script-src 'self';.* frame-ancestors 'none'$/,
      );
      assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
      for (const [, file = ''] of html.matchAll(/(?:src|href)="(assets\/[^"]+)"/g)) {
        const asset = await fetch(new URL(file, url.href.replace(/^ws/, 'http')));
        assert.equal(asset.status, 200, file);
        assert.match(asset.headers.get('content-type') ?? '', file.endsWith('.js') ? /javascript/ : /css/);
      }
    }
    assert.equal((await fetch(`${world.system.url}/console/assets/..%2fpages.ts`)).status, 404);
  });

  it('opens nothing without a good token, for another kind, or for a page of another origin', async () => {
    const id = await newServer('guarded');
    const url = await socketUrl(world.alice, id, 'vnc');
    assert.equal(await openStatus(url.replace('token=', 'token=bad')), 403);
    // Without a token it is the page.
    assert.equal(await openStatus(url.replace(/token=.*/, '')), 200);
    assert.equal(await openStatus(url.replace('/vnc', '/serial')), 403);
    assert.equal(await openStatus(url, 'https://elsewhere.example'), 403);
    assert.equal(await openStatus(url, world.system.url), 101);
    assert.equal(await openStatus(`${world.system.url}/healthz`), 200);
  });

  it('keeps no token that could be used', async () => {
    const id = await newServer('hashed');
    const url = await socketUrl(world.alice, id, 'vnc');
    const token = new URL(url).searchParams.get('token') ?? '';
    const rows = await world.system.stores.global.selectFrom('console_tokens').selectAll().execute();
    assert.ok(rows.some(({ server_id }) => server_id === id));
    assert.ok(!JSON.stringify(rows).includes(token));
  });

  it('is over when the server stops, and its token is good for nothing when it runs again', async () => {
    const { alice } = world;
    const id = await newServer('stopped');
    const url = await socketUrl(alice, id, 'serial');
    const viewer = await view(url);
    await viewer.until(/GUEST UP/);
    const path = `/compute/v2.1/servers/${id}`;
    await alice('POST', `${path}/action`, { 'os-stop': null });
    await viewer.closed;
    await waitFor(alice, id, ['SHUTOFF']);
    assert.equal(await openStatus(url), 403);
    const body = { remote_console: { protocol: 'vnc', type: 'novnc' } };
    const off = await alice('POST', `${path}/remote-consoles`, body, 6);
    assert.equal(off.status, 409);
    assert.equal(off.json.conflictingRequest.message, `Instance ${id} is not ready`);
    await alice('POST', `${path}/action`, { 'os-start': null });
    await waitFor(alice, id, ['ACTIVE']);
    assert.equal(await openStatus(url), 403);
    assert.equal(await openStatus(await socketUrl(alice, id, 'serial')), 101);
  });

  it('does not keep a move from ending, and ends with it', async () => {
    const { alice } = world;
    const id = await newServer('moved');
    const url = await socketUrl(alice, id, 'vnc');
    const idle = await view(url);
    idle.stopReading();
    const serial = await view(await socketUrl(alice, id, 'serial'));
    serial.stopReading();
    serial.send('x'.repeat(900_000));
    const reader = await view(url);
    await alice('POST', `/compute/v2.1/servers/${id}/action`, { resize: { flavorRef: '2' } });
    await waitFor(alice, id, ['VERIFY_RESIZE']);
    await reader.closed;
    assert.equal(await openStatus(url), 403);
    const after = await view(await socketUrl(alice, id, 'vnc'));
    await after.until(/^RFB/);
    await alice('POST', `/compute/v2.1/servers/${id}/action`, { confirmResize: null });
    await waitFor(alice, id, ['ACTIVE']);
    await alice('DELETE', `/compute/v2.1/servers/${id}`);
    await after.closed;
    await waitFor(alice, id, ['gone']);
  });

  it("gives nobody a console of another project's server", async () => {
    const id = await newServer('foreign');
    const body = { remote_console: { protocol: 'vnc', type: 'novnc' } };
    const path = `/compute/v2.1/servers/${id}/remote-consoles`;
    assert.equal((await world.mallory('POST', path, body, 6)).status, 404);
    assert.equal((await world.reader('POST', path, body, 6)).status, 403);
  });

  it('tells administrators where a console is', async () => {
    const id = await newServer('shown');
    const token = new URL(await socketUrl(world.alice, id, 'serial')).searchParams.get('token');
    const path = `/compute/v2.1/os-console-auth-tokens/${token}`;
    const shown = await world.admin('GET', path, undefined, 31);
    assert.equal(shown.status, 200, shown.text);
    assert.equal(shown.json.console.instance_uuid, id);
    assert.match(shown.json.console.internal_access_path, /\/consoles\/serial\//);
    assert.equal((await world.alice('GET', path, undefined, 31)).status, 403);
    assert.equal((await world.admin('GET', path, undefined, 30)).status, 400);
    assert.equal((await world.admin('GET', `${path}x`, undefined, 31)).status, 404);
  });

  it('refuses what is not offered as Nova does', async () => {
    const { alice } = world;
    const id = await newServer('refused');
    const path = `/compute/v2.1/servers/${id}`;
    const create = (protocol: string, type: string, minor: number) =>
      alice('POST', `${path}/remote-consoles`, { remote_console: { protocol, type } }, minor);
    const said = async (protocol: string, type: string, minor = 8): Promise<string> => {
      const answer = await create(protocol, type, minor);
      assert.equal(answer.status, 400, answer.text);
      return answer.json.badRequest.message;
    };
    assert.equal(await said('spice', 'spice-html5'), 'Unavailable console type spice-html5.');
    assert.equal(await said('rdp', 'rdp-html5'), 'Unavailable console type rdp.');
    assert.equal(await said('mks', 'webmks'), 'Unavailable console type webmks.');
    assert.equal(await said('vnc', 'xvpvnc'), 'Invalid console type xvpvnc');
    assert.match(await said('mks', 'webmks', 7), /'mks' is not one of/);
    assert.equal((await create('vnc', 'novnc', 5)).status, 404);

    const old = (name: string, type: string, minor = 1) => alice('POST', `${path}/action`, { [name]: { type } }, minor);
    const vnc = await old('os-getVNCConsole', 'novnc', 5);
    assert.equal(vnc.status, 200);
    assert.match(vnc.json.console.url, /\/console\/vnc\?path=console%2Fvnc%3Ftoken%3D/);
    assert.equal((await old('os-getSerialConsole', 'serial')).json.console.type, 'serial');
    assert.equal(
      (await old('os-getSPICEConsole', 'spice-html5')).json.badRequest.message,
      'Unavailable console type spice-html5.',
    );
    const late = await old('os-getVNCConsole', 'novnc', 6);
    assert.equal(late.status, 404);
    assert.equal(late.json.itemNotFound.message, 'The resource could not be found.');
  });

  it('lets go of the oldest tokens of a server', async () => {
    const id = await newServer('many');
    const first = await socketUrl(world.alice, id, 'vnc');
    for (let made = 0; made < 64; made += 1) await socketUrl(world.alice, id, 'vnc');
    const { n } = await world.system.stores.global
      .selectFrom('console_tokens')
      .select((eb) => eb.fn.countAll<number>().as('n'))
      .where('server_id', '=', id)
      .executeTakeFirstOrThrow();
    assert.equal(n, 64);
    assert.equal(await openStatus(first), 403);
  });

  it('tells what was printed, as many lines as are asked for, and refuses what Nova refuses', async () => {
    const { alice } = world;
    const id = await newServer('printed');
    const output = (value: unknown) =>
      alice('POST', `/compute/v2.1/servers/${id}/action`, { 'os-getConsoleOutput': value });
    const all = (await output({})).json.output as string;
    assert.match(all, /GUEST UP/);
    assert.doesNotMatch(all, /[^\P{Cc}\n\t]/u);
    for (const length of [null, -1, '-1', 1_000_000, '123456789012']) {
      assert.equal((await output({ length })).json.output.trimEnd(), all.trimEnd(), String(length));
    }
    assert.equal((await output({ length: 2 })).json.output.split('\n').length, 2);
    assert.equal((await output({ length: '2' })).json.output.split('\n').length, 2);
    assert.equal((await output({ length: 0 })).json.output, '');
    for (const wrong of [null, { length: -2 }, { length: '-2' }, { length: 'all' }, { length: 1.5 }, { lines: 1 }]) {
      assert.equal((await output(wrong)).status, 400, JSON.stringify(wrong));
    }
    const nobody = '/compute/v2.1/servers/00000000-0000-4000-8000-000000000000/action';
    assert.equal((await alice('POST', nobody, { 'os-getConsoleOutput': {} })).status, 404);
  });

  it('has a limit for each server', async () => {
    const id = await newServer('crowded');
    const url = await socketUrl(world.alice, id, 'vnc');
    for (let made = 0; made < 16; made += 1) await view(url);
    assert.equal(await openStatus(url), 503);
  });
});
