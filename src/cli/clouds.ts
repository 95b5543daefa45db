// Credentials from a clouds.yaml: the one that `crosscell up` writes into the data directory, if one is named; else, as
// OpenStack's clients do, the file that OS_CLIENT_CONFIG_FILE names; else that of the default data directory. A password
// that the file leaves out comes from OS_PASSWORD.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { messageOf } from '../lib/errors.ts';
import type { Credentials } from './client.ts';
import { ConfigError } from './config.ts';
import { DEFAULTS } from './deployment.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws ConfigError when there is no such file or cloud, or something is missing in it */
export function credentialsOf(data: string | undefined, cloud: string, environment: Environment): Credentials {
  const named = data === undefined ? environment['OS_CLIENT_CONFIG_FILE'] : undefined;
  const file = named ?? join(data ?? DEFAULTS.data, 'clouds.yaml');
  const entry = at(at(readYaml(file), 'clouds'), cloud);
  if (entry === undefined) throw new ConfigError(`${file}: there is no cloud '${cloud}'`);
  const auth = at(entry, 'auth');
  const text = (key: string): string => {
    const value = at(auth, key) ?? (key === 'password' ? environment['OS_PASSWORD'] : undefined);
    if (typeof value === 'string' && value !== '') return value;
    const where = key === 'password' ? ', and OS_PASSWORD is not set' : '';
    throw new ConfigError(`${file}: cloud '${cloud}' has no auth.${key}${where}`);
  };
  return {
    url: text('auth_url').replace(/\/identity\/v3\/?$/, ''),
    user: text('username'),
    password: text('password'),
    project: text('project_name'),
  };
}

function readYaml(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${file} cannot be read (see --data and OS_CLIENT_CONFIG_FILE): ${messageOf(error)}`);
  }
}

const at = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Readonly<Record<string, unknown>>)[key]
    : undefined;
