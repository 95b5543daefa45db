// `crosscell storage`: one storage host, as a process of its own. Ending it leaves its volumes being served.
import { readFileSync } from 'node:fs';
import pino from 'pino';
import { runStorage } from '../storage/main.ts';
import { parseListen } from './deployment.ts';

export interface StorageOptions {
  readonly name: string;
  readonly stateDir: string;
  readonly listen: string;
  readonly secretFile: string;
  readonly dataAddress?: string;
  readonly daemonBinary?: string;
  readonly runAs?: string;
}

/** Resolves with the exit status when the storage host has been told to end. */
export async function storage(options: StorageOptions): Promise<number> {
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  const running = await runStorage({
    name: options.name,
    stateDir: options.stateDir,
    listen: parseListen(options.listen),
    secret: readFileSync(options.secretFile, 'utf8').trim(),
    ...(options.dataAddress === undefined ? {} : { dataAddress: options.dataAddress }),
    ...(options.daemonBinary === undefined ? {} : { daemonBinary: options.daemonBinary }),
    ...(options.runAs === undefined ? {} : { runAs: options.runAs === '' ? null : options.runAs }),
    log: pino({ level: 'info' }, pino.destination({ fd: 1, sync: true })).child({ storage: options.name }),
  });
  await ended;
  await running.close();
  return 0;
}
