// Consoles of a real guest: over the whole way, from QEMU to a websocket client and to a browser.
//
// The guest is one sector: it echoes what comes from its serial line and from its keyboard, on its serial line and its
// screen alike. So a key that is pressed in the browser shows on the serial line.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { chromium, type Page } from 'playwright-core';
import { whyNoGuests } from '../../guest/run.ts';
import { ApiClient } from '../../src/cli/client.ts';
import { composeSystem, type System } from '../../src/cli/compose.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { connect, openStatus } from './viewer.ts';

/** 16-bit code at 7c00, then a text that it shows first. */
const CODE = Buffer.from(
  '31c08ed8be397cac84c0740abaf803eeb40ecd10ebf1' + // show the text: port 3f8, BIOS call 10
    'fbf4b401cd167406b400cd16eb0b' + // wait for an interrupt; a key?
    'bafd03eca80174eab2f8ec' + // or a byte from the line?
    'baf803eeb40ecd10ebdd', // show it, and again
  'hex',
);
const GREETING = 'CROSSCELL CONSOLE\r\n';
const BROWSER = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const PASSWORD = 'secret-of-the-test';

function bootSector(): Uint8Array {
  const image = new Uint8Array(1024 * 1024);
  image.set(CODE);
  image.set(Buffer.from(GREETING, 'latin1'), CODE.length);
  image.set([0x55, 0xaa], 510);
  return image;
}

describe("a real guest's consoles", { skip: (await whyNoGuests()) ?? false }, () => {
  let directory: string;
  let system: System;
  let api: ApiClient;
  let serverId: string;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'crosscell-console-'));
    const flags = { data: directory, listen: '127.0.0.1:0', cells: 1, hostsPerCell: 1, adminPassword: PASSWORD };
    system = await composeSystem(planDeployment({}, { ...flags, hypervisor: 'qemu' }), {
      log: pino({ level: process.env['CROSSCELL_TEST_LOG'] ?? 'silent' }),
      memoryDatabases: true,
      checkAnswers: true,
    });
    api = new ApiClient({ url: system.url, user: 'admin', password: PASSWORD, project: 'admin' });
    await api.login();
    serverId = await newServer();
  });
  after(async () => {
    await system.stop({ guestsWithinSeconds: 0 });
    rmSync(directory, { recursive: true, force: true });
  });

  async function newServer(): Promise<string> {
    const image = { name: 'sector', disk_format: 'raw', container_format: 'bare', visibility: 'public' };
    const { id } = await api.call<{ id: string }>('POST', '/image/v2/images', image);
    const file = join(directory, 'sector.raw');
    writeFileSync(file, bootSector());
    await api.upload(id, file);
    const server = { name: 'echo', imageRef: id, flavorRef: '1', networks: 'none' };
    const made = await api.call<{ server: { id: string } }>('POST', '/compute/v2.1/servers', { server });
    await status(made.server.id, 'ACTIVE');
    return made.server.id;
  }

  async function status(id: string, wanted: string): Promise<void> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const { server } = await api.call<{ server: { status: string } }>('GET', `/compute/v2.1/servers/${id}`);
      if (server.status === wanted) return;
      assert.notEqual(server.status, 'ERROR', JSON.stringify(server));
      assert.ok(Date.now() < deadline, `it is ${server.status}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async function consoleUrl(protocol: 'vnc' | 'serial'): Promise<URL> {
    const remote_console = { protocol, type: protocol === 'vnc' ? 'novnc' : 'serial' };
    const path = `/compute/v2.1/servers/${serverId}/remote-consoles`;
    const made = await api.call<{ remote_console: { url: string } }>('POST', path, { remote_console });
    return new URL(made.remote_console.url);
  }

  it('carries the serial line both ways, for one at a time', async () => {
    const first = await connect((await consoleUrl('serial')).href);
    first.send('abc');
    await first.until(/abc/);
    const second = await connect((await consoleUrl('serial')).href);
    await first.closed;
    second.send('xyz');
    await second.until(/xyz/);
    second.close();
    const path = `/compute/v2.1/servers/${serverId}/action`;
    const { output } = await api.call<{ output: string }>('POST', path, { 'os-getConsoleOutput': {} });
    assert.match(output, /CROSSCELL CONSOLE[\s\S]*abc[\s\S]*xyz/);
  });

  it('greets as an RFB server', async () => {
    const url = await consoleUrl('vnc');
    const viewer = await connect(`${url.origin.replace('http', 'ws')}/${url.searchParams.get('path')}`);
    await viewer.until(/^RFB 003\.008\n$/);
    viewer.send('RFB 003.008\n');
    await viewer.untilBytes(14);
    viewer.send(Uint8Array.of(1));
    await viewer.untilBytes(18);
    viewer.send(Uint8Array.of(1));
    await viewer.until(new RegExp(`QEMU \\(${serverId}\\)$`));
    viewer.close();
  });

  it('shows the screen in a browser, and takes keys there', {
    skip: BROWSER ? false : 'no Chromium on this machine',
  }, async () => {
    const serial = await connect((await consoleUrl('serial')).href);
    const browser = await chromium.launch({ executablePath: BROWSER ?? '', args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(error.message));
      await page.goto((await consoleUrl('vnc')).href);
      await page.getByText(`QEMU (${serverId})`).waitFor();
      await drawn(page);
      await page.locator('canvas').click();
      await page.keyboard.type('keys');
      await serial.until(/keys/);
      serial.close();

      const url = (await consoleUrl('serial')).href.replace(/^ws/, 'http');
      await page.goto(url);
      await page.getByText('Connected').waitFor();
      await page.keyboard.type('typed');
      await page.locator('.xterm-rows').getByText('typed').waitFor();
      assert.deepEqual(complaints, []);
    } finally {
      await browser.close();
    }
  });

  it('holds up no stop, and ends with it', async () => {
    const url = await consoleUrl('vnc');
    const socketUrl = `${url.origin.replace('http', 'ws')}/${url.searchParams.get('path')}`;
    const [screen, serial] = [await connect(socketUrl), await connect((await consoleUrl('serial')).href)];
    const unread = await connect(socketUrl);
    unread.stopReading();
    await api.call('POST', `/compute/v2.1/servers/${serverId}/action`, { reboot: { type: 'HARD' } });
    await Promise.all([screen.closed, serial.closed]);
    await status(serverId, 'ACTIVE');
    assert.equal(await openStatus(socketUrl), 403);
    unread.close();
  });
});

/** Resolves when something is on the screen that is not black. */
async function drawn(page: Page): Promise<void> {
  const deadline = Date.now() + 30_000;
  // Not waitForFunction, which evaluates text in the page: the page forbids that.
  while (!(await page.evaluate(PIXELS))) assert.ok(Date.now() < deadline, 'the screen stays black');
}

const PIXELS = `(() => {
  const canvas = document.querySelector('canvas');
  if (!canvas || canvas.width < 320) return false;
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, index) => index % 4 === 0 && value > 100).length > 200;
})()`;
