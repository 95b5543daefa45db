// The system under test: this checkout, two cells of one host each, so that every move crosses cells; seeded with what
// Tempest and the walk need. Hosts are simulated, or run real guests of the small image.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ApiClient } from '../../src/cli/client.ts';
import { ensureGuestImage } from '../../src/cli/guest-image.ts';
import { say } from './say.ts';

export const CROSSCELL = join(import.meta.dirname, '..', '..', 'bin', 'crosscell');
export const PASSWORD = 'secret';
/** Tempest knows no other. */
const SSH_PORT = 22;
const IMAGE_BYTES = 1_000_000;
const STOP_LIMIT_MS = 90_000;

export type HypervisorKind = 'simulated' | 'qemu';

export interface Seeded extends AsyncDisposable {
  readonly url: string;
  readonly hypervisor: HypervisorKind;
  /** Whether Tempest can log into guests. */
  readonly logins: boolean;
  readonly directory: string;
  /** What the images are made of. */
  readonly disk: Disk;
  readonly images: readonly [string, string];
  readonly flavors: readonly [string, string];
  /** The one that floating IPs are of. */
  readonly publicNetwork: { readonly id: string; readonly name: string };
}

/**
 * Starts it and seeds it. @throws Error when it does not serve
 * @param text a configuration file's, in the place of two cells of one host each
 */
export async function startSystem(hypervisor: HypervisorKind, text?: string): Promise<Seeded> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-clients-'));
  const data = join(directory, 'data');
  const logins = hypervisor === 'qemu' ? await externalNetwork() : null;
  const config = join(directory, 'crosscell.yaml');
  await writeFile(config, text ?? (logins === null ? '' : configOf(logins)));
  const shape = text === undefined ? ['--cells', '2', '--hosts-per-cell', '1', '--hypervisor', hypervisor] : [];
  const rest = ['--data', data, '--listen', '127.0.0.1:0', '--admin-password', PASSWORD, '--json', '--config', config];
  const child = spawn(CROSSCELL, ['up', ...shape, '--no-image', ...rest], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = async (): Promise<void> => {
    await end(child);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const url = await endpointOf(child);
    const client = new ApiClient({ url, user: 'admin', password: PASSWORD, project: 'admin' });
    await client.login();
    const disk = await diskFor(hypervisor, directory);
    const images = [await addImage(client, disk, 'cirros'), await addImage(client, disk, 'other')] as const;
    const publicNetwork = await publicNetworkOf(client);
    return {
      url,
      hypervisor,
      logins: logins !== null,
      directory,
      disk,
      images,
      flavors: ['1', '2'],
      publicNetwork,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Guests have config drives, which say who may log in, and floating IPs lead to them. */
const configOf = (externalCidr: string): string =>
  `force_config_drive: true\nnetwork: { external_cidr: ${externalCidr}, gateway: true }\n`;

/**
 * Addresses for floating IPs that this machine has without anybody's doing. Null: SSH's port cannot be listened at
 * there.
 */
async function externalNetwork(): Promise<string | null> {
  const network = `127.24.${randomBytes(1)[0]}`;
  const server = createServer();
  const reason = await new Promise<string | null>((resolve) => {
    server.once('error', (error) => resolve(error.message));
    server.listen({ host: `${network}.1`, port: SSH_PORT }, () => server.close(() => resolve(null)));
  });
  if (reason === null) return `${network}.0/24`;
  say(`nobody logs into guests: ${reason} (as root, or with net.ipv4.ip_unprivileged_port_start at most ${SSH_PORT})`);
  return null;
}

async function endpointOf(child: ChildProcess): Promise<string> {
  if (child.stdout) {
    for await (const line of createInterface({ input: child.stdout })) {
      return (JSON.parse(line) as { endpoint: string }).endpoint;
    }
  }
  throw new Error('crosscell up ended before it served');
}

export interface Disk {
  readonly file: string;
  readonly format: 'raw' | 'qcow2';
}

/** What servers boot from. Simulated guests boot from anything. */
async function diskFor(hypervisor: HypervisorKind, directory: string): Promise<Disk> {
  if (hypervisor === 'qemu') {
    const file = await ensureGuestImage(say);
    if (file === null) throw new Error('without the guest image no real guest can run');
    return { file, format: 'qcow2' };
  }
  const file = join(directory, 'image.raw');
  await writeFile(file, randomBytes(IMAGE_BYTES));
  return { file, format: 'raw' };
}

async function addImage(client: ApiClient, disk: Disk, name: string): Promise<string> {
  const wish = { name, disk_format: disk.format, container_format: 'bare', visibility: 'public' };
  const { id } = await client.call<{ id: string }>('POST', '/image/v2/images', wish);
  await client.upload(id, disk.file);
  return id;
}

async function publicNetworkOf(client: ApiClient): Promise<Seeded['publicNetwork']> {
  const path = '/network/v2.0/networks?router:external=true';
  const { networks } = await client.call<{ networks: { id: string; name: string }[] }>('GET', path);
  const [network] = networks;
  if (!network) throw new Error('there is no external network');
  return network;
}

/** Guests are asked first; what does not end in time is ended. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const limit = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  await ended;
  clearTimeout(limit);
}
