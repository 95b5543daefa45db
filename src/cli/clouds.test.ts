// Credentials out of a clouds.yaml: where the file is looked for, and what is said when something is missing.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { credentialsOf } from './clouds.ts';

const directory = mkdtempSync(join(tmpdir(), 'crosscell-clouds-'));
after(() => rmSync(directory, { recursive: true }));

const auth = "auth_url: 'http://h:1/identity/v3', username: u, project_name: p";
writeFileSync(
  join(directory, 'clouds.yaml'),
  `clouds: {crosscell: {auth: {${auth}, password: s}}, bare: {auth: {${auth}}}}`,
);

test('the named data directory comes first, then the file of the environment', () => {
  const expected = { url: 'http://h:1', user: 'u', password: 's', project: 'p' };
  assert.deepEqual(credentialsOf(directory, 'crosscell', { OS_CLIENT_CONFIG_FILE: '/nowhere' }), expected);
  const file = join(directory, 'clouds.yaml');
  assert.deepEqual(credentialsOf(undefined, 'crosscell', { OS_CLIENT_CONFIG_FILE: file }), expected);
});

test('a password may come from the environment; what is missing is named', () => {
  assert.equal(credentialsOf(directory, 'bare', { OS_PASSWORD: 'x' }).password, 'x');
  assert.throws(() => credentialsOf(directory, 'bare', {}), /no auth.password, and OS_PASSWORD is not set/);
  assert.throws(() => credentialsOf(directory, 'other', {}), /no cloud 'other'/);
  assert.throws(() => credentialsOf(join(directory, 'x'), 'crosscell', {}), /ENOENT/);
});
