// `crosscell agent`: one compute host, as a process of its own. Ending it leaves its guests running.
import { readFileSync } from 'node:fs';
import pino from 'pino';
import { runAgent } from '../host/main.ts';
import { ConfigError } from './config.ts';
import { parseListen } from './deployment.ts';

export interface AgentOptions {
  readonly name: string;
  readonly stateDir: string;
  readonly listen: string;
  readonly secretFile: string;
  readonly dataAddress?: string;
  readonly vcpus?: number;
  readonly memoryMb?: number;
  readonly diskGb?: number;
  readonly qemuBinary?: string;
  readonly accelerator?: 'auto' | 'kvm' | 'tcg';
  readonly runAs?: string;
  readonly copyBytesPerSecond?: number;
  /** Each NAME=PATH. */
  readonly share?: readonly string[];
}

/** Resolves with the exit status when the agent has been told to end. */
export async function agent(options: AgentOptions): Promise<number> {
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  const { vcpus, memoryMb, diskGb } = options;
  const running = await runAgent({
    name: options.name,
    stateDir: options.stateDir,
    listen: parseListen(options.listen),
    secret: readFileSync(options.secretFile, 'utf8').trim(),
    resources: {
      ...(vcpus === undefined ? {} : { vcpus }),
      ...(memoryMb === undefined ? {} : { memoryMb }),
      ...(diskGb === undefined ? {} : { diskGb }),
    },
    ...(options.dataAddress === undefined ? {} : { dataAddress: options.dataAddress }),
    ...(options.qemuBinary === undefined ? {} : { qemuBinary: options.qemuBinary }),
    ...(options.accelerator === undefined ? {} : { accelerator: options.accelerator }),
    ...(options.runAs === undefined ? {} : { runAs: options.runAs === '' ? null : options.runAs }),
    ...(options.copyBytesPerSecond === undefined ? {} : { copyBytesPerSecond: options.copyBytesPerSecond }),
    shares: sharesOf(options.share ?? []),
    log: pino({ level: 'info' }, pino.destination({ fd: 1, sync: true })).child({ host: options.name }),
  });
  await ended;
  await running.close();
  return 0;
}

/** `10.0.0.5:/volumes=/mnt/volumes`: names have no equals sign, paths may. */
function sharesOf(given: readonly string[]): Record<string, string> {
  const shares: Record<string, string> = {};
  for (const text of given) {
    const [, name, path] = /^([^=]+)=([/].*)$/.exec(text) ?? [];
    if (name === undefined || path === undefined) throw new ConfigError(`--share needs NAME=/PATH, not '${text}'`);
    shares[name] = path;
  }
  return shares;
}
