// `crosscell up`: the whole system in one command, until Ctrl-C.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from '../host/lock.ts';
import { writeFileAtomically } from '../host/records.ts';
import { ApiClient } from './client.ts';
import { composeSystem, fileLogger, type System } from './compose.ts';
import type { Deployment } from './deployment.ts';
import { ensureGuestImage, GUEST_IMAGE } from './guest-image.ts';

export interface UpOptions {
  readonly deployment: Deployment;
  /** Print one JSON object when it serves, instead of sentences. */
  readonly json: boolean;
  /** Leave out the guest image. */
  readonly image: boolean;
}

/** Resolves with the exit status when the system has been stopped by a signal. */
export async function up({ deployment, json, image }: UpOptions): Promise<number> {
  mkdirSync(deployment.dataDirectory, { recursive: true });
  const lock = await lockDirectory(deployment.dataDirectory);
  if (lock === null) {
    process.stderr.write(`crosscell: another crosscell serves ${deployment.dataDirectory}\n`);
    return 1;
  }
  const say = (line: string): void => void (json || process.stdout.write(`${line}\n`));
  const stopped = signalled(['SIGINT', 'SIGTERM']);
  const log = fileLogger(deployment);
  const started = performance.now();
  const system = await composeSystem(deployment, { log });
  const clouds = await writeClouds(deployment, system);
  const served = performance.now() - started;
  if (image) await offerImage(system, say);
  announce(deployment, system, clouds, json, served);

  await stopped;
  say('stopping: the guests are shut down, everything is kept');
  await system.stop({ guestsWithinSeconds: deployment.settings.shutdownTimeoutSeconds });
  await lock.release();
  say('stopped');
  return 0;
}

const signalled = (signals: readonly NodeJS.Signals[]): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of signals) process.once(signal, () => resolve());
  });

/** Uploads the guest image at the first start, if it can be had on this machine. */
async function offerImage(system: System, say: (line: string) => void): Promise<void> {
  const api = new ApiClient({
    url: system.url,
    user: 'admin',
    password: system.secrets.adminPassword,
    project: 'admin',
  });
  await api.login();
  const { images } = await api.call<{ images: { id: string }[] }>('GET', `/image/v2/images?name=${GUEST_IMAGE}`);
  if (images.length > 0) return;
  const file = await ensureGuestImage(say);
  if (file === null) return;
  const created = await api.call<{ id: string }>('POST', '/image/v2/images', {
    name: GUEST_IMAGE,
    disk_format: 'qcow2',
    container_format: 'bare',
    visibility: 'public',
  });
  await api.upload(created.id, file);
}

/** A clouds.yaml for OpenStack's clients, in the data directory. */
async function writeClouds(deployment: Deployment, system: System): Promise<string> {
  const file = join(deployment.dataDirectory, 'clouds.yaml');
  const quoted = JSON.stringify;
  const text = [
    'clouds:',
    '  crosscell:',
    `    region_name: ${quoted(deployment.settings.region)}`,
    '    identity_api_version: 3',
    '    auth:',
    `      auth_url: ${quoted(`${system.url}/identity/v3`)}`,
    '      username: admin',
    `      password: ${quoted(system.secrets.adminPassword)}`,
    '      project_name: admin',
    '      user_domain_name: Default',
    '      project_domain_name: Default',
    '',
  ].join('\n');
  await writeFileAtomically(file, text, 0o600);
  return file;
}

function announce(deployment: Deployment, system: System, clouds: string, json: boolean, ms: number): void {
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ endpoint: system.url, clouds, pid: process.pid, startMs: Math.round(ms) })}\n`,
    );
    return;
  }
  const hosts = deployment.hosts.length;
  const lines = [
    `crosscell serves ${deployment.cells.length} cells with ${hosts} ${deployment.hypervisor} hosts (started in ${(ms / 1000).toFixed(1)} s)`,
    '',
    `  endpoint     ${system.url}/identity/v3`,
    `  data         ${deployment.dataDirectory}`,
    `  log          ${join(deployment.dataDirectory, 'logs', 'crosscell.log')}`,
    '',
    'Try first, in another terminal:',
    '',
    `  export OS_CLIENT_CONFIG_FILE=${clouds} OS_CLOUD=crosscell`,
    `  openstack server create --image ${GUEST_IMAGE} --flavor m1.tiny --network shared --wait first`,
    '  openstack server resize --flavor m1.small --wait first',
    '  openstack server resize confirm first',
    '',
    existsSync('/usr/bin/openstack') ? '' : '(the openstack command: apt-get install python3-openstackclient)\n',
    'Ctrl-C stops it; the data is kept.',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
