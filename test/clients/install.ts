// Debian's clients: found, or installed where apt-get may be run, or asked for.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { say } from './say.ts';

const run = promisify(execFile);

/** Package → the file that shows that it is installed. */
const PACKAGES: Readonly<Record<string, string>> = {
  'python3-openstackclient': '/usr/bin/openstack',
  'python3-novaclient': '/usr/bin/nova',
  'python3-glanceclient': '/usr/bin/glance',
  tempest: '/usr/bin/tempest',
  // Scenarios call it.
  'iputils-ping': '/usr/bin/ping',
  'python3-tempest': '/usr/lib/python3/dist-packages/tempest/__init__.py',
};
/** Where Debian's packages put Tempest's tests. */
export const PACKAGES_DIRECTORY = '/usr/lib/python3/dist-packages';
const APT_LIMIT_MS = 600_000;

const missing = (): string[] => Object.keys(PACKAGES).filter((name) => !existsSync(PACKAGES[name] ?? ''));

/** Whether the `openstack` command is here. */
export const haveCommand = (): boolean => existsSync('/usr/bin/openstack');

/** Null: all are here now. Otherwise what somebody has to do. */
export async function whyNoClients(): Promise<string | null> {
  const wanted = missing();
  if (wanted.length === 0) return null;
  const install = `apt-get install --no-install-recommends ${wanted.join(' ')}`;
  if (!existsSync('/usr/bin/apt-get'))
    return `not on Debian: install openstackclient, novaclient, glanceclient and Tempest`;
  if (process.getuid?.() !== 0) return `as root: ${install}`;
  say(install);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await run('apt-get', ['update'], { timeout: APT_LIMIT_MS, env });
    await run('apt-get', ['install', '-y', '--no-install-recommends', ...wanted], { timeout: APT_LIMIT_MS, env });
  } catch (error) {
    return `${install} failed: ${error instanceof Error ? error.message.slice(0, 500) : ''}`;
  }
  return missing().length === 0 ? null : `${install} did not bring ${missing().join(', ')}`;
}
