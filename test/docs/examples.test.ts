// The examples in the documentation: YAML ones are configurations that the program takes, shell ones are well formed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { parseConfig } from '../../src/cli/config.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { openDirectory } from '../../src/control/identity/directory.ts';
import { seedIdentity } from '../../src/control/identity/seeds.ts';
import { compileText } from '../../src/control/policies.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { openStores } from '../../src/store/stores.ts';
import { fences, pages, prose, ROOT, read } from './markdown.ts';

const SHELL_LIMIT_MS = 10_000;

async function examples(info: string): Promise<{ where: string; text: string }[]> {
  return (await pages()).flatMap((page) =>
    fences(read(page))
      .filter((fence) => fence.info === info)
      .map((fence) => ({ where: `${page}:${fence.line}`, text: fence.text })),
  );
}

test('every YAML example is a configuration that would start', async () => {
  const found = await examples('yaml');
  assert.ok(found.length >= 2);
  for (const { where, text } of found) {
    const { identity } = planDeployment(parseConfig(text, where), {});
    // As the program does: an administrator without a password gets the one on file.
    const users = identity.users.map((user) =>
      user.password === undefined && user.passwordHash === undefined ? { ...user, password: 'on file' } : user,
    );
    const stores = await openStores(':memory:');
    await seedIdentity(openDirectory(stores.global, systemClock), { ...identity, users });
    await stores.close();
  }
});

test('every example of a policy file is one, and names only rules that are asked', async () => {
  const found = await examples('yaml policy');
  assert.ok(found.length > 0);
  for (const { where, text } of found) {
    const read = compileText(text, where);
    assert.equal(read.kind, 'ok', JSON.stringify(read));
    if (read.kind === 'ok') assert.deepEqual(read.rules.warnings, []);
  }
});

test('every shell example is well formed', async () => {
  const found = await examples('sh');
  assert.ok(found.length > 0);
  for (const { where, text } of found) {
    const { status, stderr } = spawnSync('sh', ['-n'], { input: text, timeout: SHELL_LIMIT_MS });
    assert.equal(status, 0, `${where}: ${stderr}`);
  }
});

test('every fenced block says what it is, so that none escapes these tests', async () => {
  const known = ['sh', 'yaml', 'yaml policy', 'ts', 'json', 'text', 'nginx'];
  for (const page of await pages()) {
    for (const fence of fences(read(page)))
      assert.ok(known.includes(fence.info), `${page}:${fence.line}: '${fence.info}'`);
  }
});

test('the commands in README.md are those that crosscell up says to try first', () => {
  const said = read('src/cli/up.ts').replaceAll(/\$\{GUEST_IMAGE\}/g, 'crosscell-guest');
  const commands = [...read('README.md').matchAll(/^openstack .*$/gm)].map(([line]) => line);
  assert.equal(commands.length, 3);
  for (const command of commands) assert.ok(said.includes(`  ${command}'`) || said.includes(`  ${command}\``), command);
});

test('every make target that is named exists', async () => {
  const targets = new Set([...read('Makefile').matchAll(/^([a-z]+):/gm)].map(([, name]) => name));
  for (const page of await pages()) {
    for (const [, name] of read(page).matchAll(/(?:`|^)make ([a-z]+)/gm))
      assert.ok(targets.has(name), `${page}: make ${name}`);
  }
});

test('every source file and folder that is named exists', async () => {
  const missing: string[] = [];
  for (const page of await pages()) {
    for (const [, path = ''] of prose(read(page)).matchAll(/`((?:src|test|guest|tools|bench|docs|bin)\/[^`*<{ ]*)`/g)) {
      if (!existsSync(join(ROOT, path))) missing.push(`${page}: ${path}`);
    }
  }
  assert.deepEqual(missing, []);
});
