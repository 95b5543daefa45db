// An agent that cannot be started is told, and costs nobody else anything.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentProcess } from './agent-process.ts';

test('an agent whose program is gone, as after an upgrade, is told of, and the process goes on', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-agent-process-'));
  const program = process.execPath;
  process.execPath = join(directory, 'node');
  try {
    const agent = new AgentProcess({
      title: 'the agent',
      directory,
      logFile: join(directory, 'log'),
      command: ['agent'],
    });
    await assert.rejects(agent.ensure(), /the agent cannot be started: .*ENOENT/);
    await agent.end();
  } finally {
    process.execPath = program;
    await rm(directory, { recursive: true });
  }
});
