// An agent's HTTP server, and the file that tells a supervisor that it serves and where.

import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { urlHost } from '../lib/networks.ts';
import { identify, isAlive, isCode } from './qemu/proc.ts';
import { writeFileAtomically } from './record-files.ts';

const AgentFile = Type.Object({
  name: Type.String(),
  pid: Type.Integer({ minimum: 1 }),
  startTime: Type.String(),
  url: Type.String(),
});
/** What agent.json says; `startTime` is field 22 of /proc/<pid>/stat. */
export type AgentFile = Static<typeof AgentFile>;
const agentFileCheck = Compile(AgentFile);

const MIN_SECRET = 16;

export interface RunningAgent {
  /** Base URL for the agent's clients. */
  readonly url: string;
  /** Resolves when nothing of the agent is left. */
  close(): Promise<void>;
}

export interface ServeOptions {
  readonly app: FastifyInstance;
  readonly name: string;
  readonly secret: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly stateDir: string;
  readonly log: Logger;
  /** Ends what is behind the server. Also called when it cannot listen. */
  readonly end: () => Promise<void>;
}

/** Listens, then writes agent.json. */
export async function serveAgent(options: ServeOptions): Promise<RunningAgent> {
  const { app, listen, stateDir, log, end } = options;
  const file = join(stateDir, 'agent.json');
  try {
    if (options.secret.length < MIN_SECRET) throw new Error(`the fleet secret needs at least ${MIN_SECRET} characters`);
    await app.listen({ host: listen.host, port: listen.port });
  } catch (error) {
    await end();
    throw error;
  }
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : listen.port;
  const url = `http://${urlHost(listen.host)}:${port}`;
  const self: AgentFile = { name: options.name, pid: process.pid, startTime: ownStartTime(), url };
  await writeFileAtomically(file, `${JSON.stringify(self)}\n`, 0o600);
  log.info({ url, stateDir }, 'agent serves');
  return {
    url,
    close: async () => {
      await app.close();
      await rm(file, { force: true });
      await end();
    },
  };
}

/** The agent that serves this state directory now; null when none does. */
export async function findRunningAgent(stateDir: string): Promise<AgentFile | null> {
  let text: string;
  try {
    text = await readFile(join(stateDir, 'agent.json'), 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
  const file: unknown = JSON.parse(text);
  if (!agentFileCheck.Check(file)) throw new Error(`${stateDir}/agent.json is damaged`);
  return isAlive(file) ? file : null;
}

function ownStartTime(): string {
  const self = identify(process.pid);
  if (self === null) throw new Error('/proc does not show this process');
  return self.startTime;
}
