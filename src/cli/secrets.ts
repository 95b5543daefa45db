// Secrets of a deployment: files in <data>/secrets, made at the first start, readable by their owner alone.
import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isCode } from '../host/qemu/proc.ts';
import { writeFileAtomically } from '../host/record-files.ts';

export interface Secrets {
  /** Between control plane and agents. */
  readonly fleet: string;
  readonly fleetFile: string;
  readonly tokenKey: Buffer;
  readonly adminPassword: string;
}

/** @param adminPassword what the command line says; null: what is on file, or a new one */
export async function openSecrets(dataDirectory: string, adminPassword: string | null): Promise<Secrets> {
  const directory = join(dataDirectory, 'secrets');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const fleetFile = join(directory, 'fleet');
  const passwordFile = join(directory, 'admin-password');
  if (adminPassword !== null) await writeFileAtomically(passwordFile, `${adminPassword}\n`, 0o600);
  return {
    fleetFile,
    fleet: await secret(fleetFile, () => randomBytes(32).toString('hex')),
    tokenKey: Buffer.from(await secret(join(directory, 'token-key'), () => randomBytes(32).toString('hex')), 'hex'),
    adminPassword: await secret(passwordFile, () => randomBytes(12).toString('base64url')),
  };
}

async function secret(file: string, make: () => string): Promise<string> {
  if (!existsSync(file)) {
    // Several processes may start at once on a new directory: the first one's secret is everybody's.
    const mine = `${file}.${process.pid}`;
    await writeFileAtomically(mine, `${make()}\n`, 0o600);
    try {
      linkSync(mine, file);
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
    rmSync(mine);
  }
  return readFileSync(file, 'utf8').trim();
}
