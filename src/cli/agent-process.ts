// An agent of this machine as a process: started detached, so it outlives its starter; found again by the agent.json in
// its state directory, which says where it listens; ended by SIGTERM, then SIGKILL.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isAlive } from '../host/qemu/proc.ts';
import { findRunningAgent } from '../host/serve-agent.ts';
import { systemClock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 10_000;

export interface AgentPlan {
  /** For people: "the agent of cell1-host1". */
  readonly title: string;
  readonly directory: string;
  readonly logFile: string;
  /** The command of crosscell and its options. */
  readonly command: readonly string[];
}

export class AgentProcess {
  readonly plan: AgentPlan;
  #child: ChildProcess | null = null;

  constructor(plan: AgentPlan) {
    this.plan = plan;
  }

  /** Where it listens; it is started if it does not run. */
  async ensure(): Promise<string> {
    const { directory, title, logFile } = this.plan;
    const running = await findRunningAgent(directory);
    if (running) return running.url;
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    const child = await this.#spawn();
    this.#child = child;
    const giveUp = systemClock.now() + START_LIMIT_MS;
    for (;;) {
      const started = await findRunningAgent(directory);
      if (started) return started.url;
      const dead = child.exitCode !== null || child.signalCode !== null;
      if (dead || systemClock.now() > giveUp) {
        throw new Error(`${title} ${dead ? 'ended at its start' : 'does not answer'}: see ${logFile}`);
      }
      await systemClock.sleep(50);
    }
  }

  /** Rejects when there is no such program any more, or no room for another process. */
  async #spawn(): Promise<ChildProcess> {
    const log = openSync(this.plan.logFile, 'a', 0o600);
    try {
      const options = ['--disable-warning=ExperimentalWarning', MAIN, ...this.plan.command];
      const child = spawn(process.execPath, options, { detached: true, stdio: ['ignore', log, log] });
      child.unref();
      await once(child, 'spawn');
      return child;
    } catch (error) {
      throw new Error(`${this.plan.title} cannot be started: ${messageOf(error)}`, { cause: error });
    } finally {
      closeSync(log);
    }
  }

  /** Resolves when it is gone. */
  async end(): Promise<void> {
    const running = await findRunningAgent(this.plan.directory);
    if (running) {
      process.kill(running.pid, 'SIGTERM');
      const giveUp = systemClock.now() + STOP_LIMIT_MS;
      while (isAlive(running)) {
        if (systemClock.now() > giveUp) {
          process.kill(running.pid, 'SIGKILL');
          break;
        }
        await systemClock.sleep(20);
      }
    }
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => {
        child.once('exit', resolve);
        child.ref();
      });
    }
  }
}
