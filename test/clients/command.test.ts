// A smoke of the `openstack` command as Debian has it: one process that is told several commands, against a system of two
// cells of one simulated host each. The whole of it is `make test-clients`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { PASSWORDS, testSystem } from '../api/system.ts';
import { haveCommand } from './install.ts';
import { withoutProxies } from './tempest.ts';

const COMMANDS = [
  'token issue -f value -c project_id',
  'server create --image tiny --flavor m1.tiny --network shared --wait -f value -c status one',
  'server resize --flavor m1.small --wait one',
  'server show one -f value -c status -c flavor',
  'hypervisor list',
];
const LIMIT_MS = 60_000;

const skip = haveCommand() ? false : 'the openstack command is not installed (Debian: python3-openstackclient)';

test('the openstack command logs in, creates a server and resizes it across cells', { skip }, async () => {
  await using system = await testSystem({ hostsPerCell: 1 });
  const child = spawn('openstack', [], {
    env: {
      ...withoutProxies(process.env),
      OS_AUTH_URL: `${system.system.url}/identity/v3`,
      OS_USERNAME: 'admin',
      OS_PASSWORD: PASSWORDS.admin,
      OS_PROJECT_NAME: 'admin',
      OS_USER_DOMAIN_NAME: 'Default',
      OS_PROJECT_DOMAIN_NAME: 'Default',
      OS_IDENTITY_API_VERSION: '3',
    },
    stdio: 'pipe',
    timeout: LIMIT_MS,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk));
  child.stdin.end(`${COMMANDS.join('\n')}\n`);
  await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  assert.ok(said.includes(system.admin.projectId), said);
  assert.match(said, /ACTIVE/);
  assert.match(said, /VERIFY_RESIZE/);
  assert.match(said, /m1\.small/);
  assert.match(said, /cell1-host1[\s\S]*cell2-host1/);
});
