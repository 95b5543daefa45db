// A whole system for tests of the API: everything in memory, simulated hosts, answers compared with their schemas.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { composeSystem, type System } from '../../src/cli/compose.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { qcow2 } from '../../src/control/images/testing.ts';
import { tempestCheck } from '../clients/schemas/check.ts';

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; undefined when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export interface Client {
  /** `path` from the root; `minor` is N of the microversion: 2.N, or 3.N of volumes. */
  (method: string, path: string, body?: unknown, minor?: number | 'latest'): Promise<Answered>;
  readonly token: string;
  readonly projectId: string;
  readonly userId: string;
}

export interface TestSystem extends AsyncDisposable {
  readonly system: System;
  readonly admin: Client;
  readonly alice: Client;
  readonly mallory: Client;
  readonly reader: Client;
  /** Sends a request as it is, with whatever headers. */
  raw(path: string, init: RequestInit): Promise<Answered>;
  /** An active image, and the shared network. */
  readonly imageId: string;
  readonly networkId: string;
}

export const PASSWORDS = {
  admin: 'admin-secret',
  alice: 'alice-secret',
  mallory: 'mallory-secret',
  rita: 'rita-secret',
} as const;

const LEVEL = process.env['CROSSCELL_TEST_LOG'] ?? 'silent';

export async function testSystem(
  options: {
    readonly cells?: number;
    readonly hostsPerCell?: number;
    readonly allowFaults?: boolean;
    readonly reclaimSeconds?: number;
    /** Floating IPs are of this network, and served. */
    readonly gatewayOn?: string;
  } = {},
): Promise<TestSystem> {
  const directory = mkdtempSync(join(tmpdir(), 'crosscell-api-'));
  const deployment = planDeployment(
    {
      ...(options.reclaimSeconds === undefined ? {} : { reclaim_instance_interval: options.reclaimSeconds }),
      ...(options.gatewayOn === undefined ? {} : { network: { external_cidr: options.gatewayOn, gateway: true } }),
      identity: {
        projects: [{ name: 'admin' }, { name: 'wonderland' }, { name: 'elsewhere' }],
        users: [
          { name: 'admin', password: PASSWORDS.admin, roles: { admin: ['admin'], wonderland: ['admin'] } },
          { name: 'alice', password: PASSWORDS.alice, roles: { wonderland: ['manager'] } },
          { name: 'mallory', password: PASSWORDS.mallory, roles: { elsewhere: ['member'] } },
          { name: 'rita', password: PASSWORDS.rita, roles: { wonderland: ['reader'] } },
        ],
      },
    },
    {
      data: directory,
      listen: '127.0.0.1:0',
      hypervisor: 'simulated',
      cells: options.cells ?? 2,
      hostsPerCell: options.hostsPerCell ?? 2,
    },
  );
  const system = await composeSystem(deployment, {
    log: pino({ level: LEVEL }),
    memoryDatabases: true,
    memoryHosts: true,
    checkAnswers: true,
    ...(await tempestCheck()),
    ...(options.allowFaults ? { allowFaults: true } : {}),
  });
  const raw = (path: string, init: RequestInit): Promise<Answered> => send(`${system.url}${path}`, init);
  const login = (name: keyof typeof PASSWORDS) => clientFor(system.url, name, PASSWORDS[name]);
  const [admin, alice, mallory, reader] = await Promise.all([
    login('admin'),
    login('alice'),
    login('mallory'),
    login('rita'),
  ]);
  const networkId = (await admin('GET', '/network/v2.0/networks?name=shared')).json.networks[0].id;
  return {
    system,
    admin,
    alice,
    mallory,
    reader,
    raw,
    networkId,
    imageId: await uploadImage(admin, system.url),
    async [Symbol.asyncDispose]() {
      await system.stop({ guestsWithinSeconds: null });
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function clientFor(url: string, name: string, password: string): Promise<Client> {
  const body = {
    auth: { identity: { methods: ['password'], password: { user: { name, domain: { name: 'Default' }, password } } } },
  };
  const answer = await send(`${url}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (answer.status !== 201) throw new Error(`no token for ${name}: ${answer.text}`);
  const token = answer.headers.get('x-subject-token') ?? '';
  const call = (method: string, path: string, content?: unknown, minor?: number | 'latest'): Promise<Answered> =>
    send(`${url}${path}`, {
      method,
      headers: {
        'x-auth-token': token,
        ...(content === undefined ? {} : { 'content-type': 'application/json' }),
        ...(minor === undefined ? {} : { 'openstack-api-version': versionOf(path, minor) }),
      },
      ...(content === undefined ? {} : { body: JSON.stringify(content) }),
    });
  return Object.assign(call, { token, projectId: answer.json.token.project.id, userId: answer.json.token.user.id });
}

const versionOf = (path: string, minor: number | 'latest'): string => {
  const [service, major] = path.startsWith('/volume') ? ['volume', 3] : ['compute', 2];
  return `${service} ${minor === 'latest' ? minor : `${major}.${minor}`}`;
};

async function send(url: string, init: RequestInit): Promise<Answered> {
  const response = await fetch(url, init);
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: parsed(text) };
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    // Not JSON: the test looks at `text`.
    return undefined;
  }
}

async function uploadImage(admin: Client, url: string): Promise<string> {
  const made = await admin('POST', '/image/v2/images', {
    name: 'tiny',
    disk_format: 'qcow2',
    container_format: 'bare',
    visibility: 'public',
  });
  const id = made.json.id as string;
  const data = qcow2();
  const uploaded = await fetch(`${url}/image/v2/images/${id}/file`, {
    method: 'PUT',
    headers: { 'x-auth-token': admin.token, 'content-type': 'application/octet-stream' },
    body: new Uint8Array(data),
  });
  if (uploaded.status !== 204) throw new Error(`the image was refused: ${await uploaded.text()}`);
  return id;
}

/** Waits until the server shows one of the statuses. */
export async function waitFor(
  client: Client,
  serverId: string,
  statuses: readonly string[],
  seconds = 20,
): Promise<string> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const { status, json } = await client('GET', `/compute/v2.1/servers/${serverId}`);
    const now = status === 404 ? 'gone' : (json.server.status as string);
    if (statuses.includes(now)) return now;
    if (Date.now() > end) throw new Error(`server ${serverId} is ${now}, not ${statuses.join(' or ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
