// `crosscell api` and `crosscell conductor`: a part of the control plane each, on PostgreSQL, beside any number of others.
//
// They share the databases, the secrets of the data directory and, for the API, its images; agents run as processes of
// their own. Any of them may end at any instant: what a conductor had under way is another's when its lease has run out.
// Logs go to the standard output, one JSON object per line; with --json, to the standard error.
import pino from 'pino';
import { composeSystem } from './compose.ts';
import { ConfigError } from './config.ts';
import type { Deployment } from './deployment.ts';
import { signalled, writeClouds } from './up.ts';

/** Resolves with the exit status when it has been stopped by a signal. @throws ConfigError */
export async function serve(deployment: Deployment, role: 'api' | 'conductor', json: boolean): Promise<number> {
  if (deployment.databases.kind !== 'postgres') {
    throw new ConfigError(`crosscell ${role} needs PostgreSQL: --database, or database.url in the configuration`);
  }
  const homeless = [...deployment.hosts, ...deployment.storageHosts].find((host) => host.url === null);
  if (homeless) throw new ConfigError(`host ${homeless.name} has no url: crosscell ${role} starts no agents`);
  const stopped = signalled(['SIGINT', 'SIGTERM']);
  const log = pino({ level: deployment.logLevel }, pino.destination({ fd: json ? 2 : 1, sync: true }));
  const started = performance.now();
  const system = await composeSystem(deployment, { log, role });
  const clouds = role === 'api' ? await writeClouds(deployment, system) : null;
  const startMs = Math.round(performance.now() - started);
  const where = clouds === null ? {} : { endpoint: system.url, clouds };
  if (json) process.stdout.write(`${JSON.stringify({ role, ...where, pid: process.pid, startMs })}\n`);
  await stopped;
  await system.stop({ guestsWithinSeconds: null });
  return 0;
}
