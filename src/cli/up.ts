// `crosscell up`: the whole system in one command, until Ctrl-C.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from '../host/lock.ts';
import { writeFileAtomically } from '../host/record-files.ts';
import { newRequestId } from '../lib/ids.ts';
import type { Actor } from '../model/types.ts';
import { composeSystem, fileLogger, type System } from './compose.ts';
import type { Deployment } from './deployment.ts';
import { ensureGuestImage, GUEST_IMAGE } from './guest-image.ts';
import { offerImage } from './offer-image.ts';

export interface UpOptions {
  readonly deployment: Deployment;
  /** Print one JSON object when it serves, instead of sentences. */
  readonly json: boolean;
  /** Leave out the guest image. */
  readonly image: boolean;
  /** Let administrators inject faults; never by configuration. */
  readonly allowFaults: boolean;
}

/** Resolves with the exit status when the system has been stopped by a signal. */
export async function up({ deployment, json, image, allowFaults }: UpOptions): Promise<number> {
  mkdirSync(deployment.dataDirectory, { recursive: true });
  const lock = await lockDirectory(deployment.dataDirectory);
  if (lock === null) {
    process.stderr.write(`crosscell: another crosscell serves ${deployment.dataDirectory}\n`);
    return 1;
  }
  const say = (line: string): void => void (json || process.stdout.write(`${line}\n`));
  const stopped = signalled(['SIGINT', 'SIGTERM']);
  const log = fileLogger(deployment);
  if (allowFaults) process.stderr.write(FAULTS_WARNING);
  const started = performance.now();
  const system = await composeSystem(deployment, { log, allowFaults });
  const clouds = await writeClouds(deployment, system);
  const served = performance.now() - started;
  if (image && !system.platform.imageMirror) {
    await offerImage(system.platform, operator(system), () => ensureGuestImage(say));
  }
  announce(deployment, system, clouds, json, served);

  await stopped;
  say('stopping: the guests are shut down, everything is kept');
  await system.stop({ guestsWithinSeconds: deployment.settings.shutdownTimeoutSeconds });
  await lock.release();
  say('stopped');
  return 0;
}

const FAULTS_WARNING = `
  ****************************************************************************
  *  --allow-faults: every administrator can make this system fail, cut off  *
  *  its hosts and cells, and kill its control plane. Never in production.   *
  ****************************************************************************

`;

export const signalled = (signals: readonly NodeJS.Signals[]): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of signals) process.once(signal, () => resolve());
  });

const operator = ({ administrator }: System): Actor => ({
  userId: administrator?.userId ?? '',
  projectId: administrator?.projectId ?? 'crosscell',
  roles: ['admin'],
  requestId: newRequestId(),
});

/**
 * A clouds.yaml for OpenStack's clients, in the data directory: for the first administrator that there is. Null: with
 * Keystone users have their own.
 */
export async function writeClouds(deployment: Deployment, system: System): Promise<string | null> {
  if (system.identity === null) return null;
  const file = join(deployment.dataDirectory, 'clouds.yaml');
  const quoted = JSON.stringify;
  const password = system.administrator?.password ?? null;
  const text = [
    'clouds:',
    '  crosscell:',
    `    region_name: ${quoted(deployment.settings.region)}`,
    '    identity_api_version: 3',
    '    auth:',
    `      auth_url: ${quoted(`${system.url}/identity/v3`)}`,
    `      username: ${quoted(system.administrator?.user ?? '')}`,
    ...(password === null ? ['      # password: as you have set it'] : [`      password: ${quoted(password)}`]),
    `      project_name: ${quoted(system.administrator?.project ?? '')}`,
    '      user_domain_name: Default',
    '      project_domain_name: Default',
    '',
  ].join('\n');
  await writeFileAtomically(file, text, 0o600);
  return file;
}

function announce(deployment: Deployment, system: System, clouds: string | null, json: boolean, ms: number): void {
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
    clouds === null ? `  endpoint     ${system.url}/compute/v2.1` : `  endpoint     ${system.url}/identity/v3`,
    `  data         ${deployment.dataDirectory}`,
    `  log          ${join(deployment.dataDirectory, 'logs', 'crosscell.log')}`,
    '',
    ...(clouds === null ? WITH_KEYSTONE : tryFirst(clouds)),
    'Ctrl-C stops it; the data is kept.',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

const WITH_KEYSTONE = [
  'Users and tokens are those of Keystone, whose catalog must name the endpoint:',
  'docs/openstack-services.md has the commands.',
  '',
];

const tryFirst = (clouds: string): string[] => [
  'Try first, in another terminal:',
  '',
  `  export OS_CLIENT_CONFIG_FILE=${clouds} OS_CLOUD=crosscell`,
  `  openstack server create --image ${GUEST_IMAGE} --flavor m1.tiny --network shared --wait first`,
  '  openstack server resize --flavor m1.small --wait first',
  '  openstack server resize confirm first',
  '',
  ...(existsSync('/usr/bin/openstack') ? [] : ['(the openstack command: apt-get install python3-openstackclient)', '']),
];
