// The control plane as processes of their own on PostgreSQL: an API, conductors, and one process of simulated hosts; and a
// client for the API. Whoever starts them kills them: every child is put into the caller's list as soon as it lives.
import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connectHost } from '../../src/host/client.ts';
import type { Seen } from './simulated-hosts.ts';

const PASSWORD = 'storm-password';
const SECRET = 'a fleet secret for the storm';
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const CELLS = ['east', 'west'];
const HOSTS = CELLS.flatMap((cell) => [`${cell}-1`, `${cell}-2`]);

export interface Installation {
  /** The configuration file, and what it says. */
  readonly file: string;
  readonly text: string;
  connect(host: string): ReturnType<typeof connectHost>;
  /** What the hosts have seen until now. */
  seen(): Promise<Seen>;
}

/**
 * Starts two simulated hosts in each of two cells, east and west, and writes a configuration with them.
 * @param database url of the global database
 * @param options further lines of the configuration
 */
export async function install(
  directory: string,
  database: string,
  options: string,
  children: ChildProcess[],
): Promise<Installation> {
  const hosts = await startHosts(directory, children);
  const { urls } = hosts;
  const data = join(directory, 'data');
  await mkdir(join(data, 'secrets'), { recursive: true });
  await writeFile(join(data, 'secrets', 'fleet'), SECRET, { mode: 0o600 });
  await writeFile(join(data, 'secrets', 'admin-password'), PASSWORD, { mode: 0o600 });
  const text = configuration(data, database, options, urls);
  const file = join(directory, 'crosscell.yaml');
  await writeFile(file, text);
  return {
    file,
    text,
    connect: (name) => connectHost({ url: urls[name] ?? '', secret: SECRET, name }),
    async seen() {
      const answer = once(hosts.child, 'message');
      hosts.child.send('seen');
      return ((await answer) as [Seen])[0];
    },
  };
}

interface Hosts {
  readonly child: ChildProcess;
  readonly urls: Readonly<Record<string, string>>;
}

async function startHosts(directory: string, children: ChildProcess[]): Promise<Hosts> {
  const argument = JSON.stringify({ directory: join(directory, 'hosts'), names: HOSTS, secret: SECRET });
  const child = fork(fileURLToPath(new URL('./simulated-hosts.ts', import.meta.url)), [argument]);
  children.push(child);
  const [message] = (await once(child, 'message')) as [{ urls: Record<string, string> }];
  return { child, urls: message.urls };
}

const configuration = (data: string, database: string, options: string, urls: Record<string, string>): string => `
database: { url: "${database}" }
data: ${data}
listen: 127.0.0.1:0
log_level: warn
inventory: { reserved_host_memory_mb: 0 }
quota: { instances: -1, cores: -1, ram: -1 }
storage_hosts: []
${options}
cells:
${CELLS.map((cell) => {
  const hosts = HOSTS.filter((name) => name.startsWith(cell)).map((name) => `{ name: ${name}, url: "${urls[name]}" }`);
  return `  - { name: ${cell}, hosts: [${hosts.join(', ')}] }`;
}).join('\n')}
`;

export interface Part {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly endpoint?: string;
}

/** Resolves when it serves. */
export async function startPart(
  role: 'api' | 'conductor',
  { file }: Installation,
  children: ChildProcess[],
): Promise<Part> {
  const args = ['--disable-warning=ExperimentalWarning', MAIN, role, '--config', file, '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  assert(child.stdout);
  const gone = once(child, 'exit').then(() => assert.fail(`crosscell ${role} ended at its start`));
  const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), gone])) as [string];
  gone.catch(() => undefined);
  return { child, ...(JSON.parse(line) as { pid: number; endpoint?: string }) };
}

/** The API as its administrator sees it. */
export interface Cloud {
  /** Makes so many servers at once; their ids, when they have been accepted. */
  create(servers: number): Promise<string[]>;
  action(serverId: string, body: unknown): Promise<void>;
  statuses(): Promise<string[]>;
}

/** Logs in, and makes a small image that the servers are made from. */
export async function logIn(api: Part): Promise<Cloud> {
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  const user = { name: 'admin', domain: { id: 'default' }, password: PASSWORD };
  const answer = await fetch(`${api.endpoint}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity: { methods: ['password'], password: { user } }, scope } }),
  });
  const token = answer.headers.get('x-subject-token');
  assert(token, `no token: ${answer.status} ${await answer.text()}`);
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    type = 'application/json',
    microversion = '2.1',
  ) => {
    const response = await fetch(`${api.endpoint}${path}`, {
      method,
      headers: {
        ...{ 'x-auth-token': token, 'openstack-api-version': `compute ${microversion}` },
        ...(body === undefined ? {} : { 'content-type': type }),
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const said = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${said}`);
    return (said.startsWith('{') ? JSON.parse(said) : {}) as Record<string, unknown>;
  };
  const image = (await call('POST', '/image/v2/images', {
    ...{ name: 'i', disk_format: 'raw', container_format: 'bare', visibility: 'public' },
  })) as { id: string };
  await call('PUT', `/image/v2/images/${image.id}/file`, 'x'.repeat(512), 'application/octet-stream');
  return {
    async create(servers) {
      const created = await Promise.all(
        Array.from({ length: servers }, (_, n) =>
          call('POST', '/compute/v2.1/servers', { server: { name: `s${n}`, imageRef: image.id, flavorRef: '1' } }),
        ),
      );
      return created.map((each) => (each as { server: { id: string } }).server.id);
    },
    action: async (id, body) =>
      void (await call('POST', `/compute/v2.1/servers/${id}/action`, body, 'application/json', '2.56')),
    statuses: async () => {
      const { servers } = (await call('GET', '/compute/v2.1/servers/detail')) as { servers: { status: string }[] };
      return servers.map((each) => each.status);
    },
  };
}
