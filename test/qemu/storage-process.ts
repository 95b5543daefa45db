// A storage agent as a process of its own, for tests that kill it. Takes its configuration as JSON; ends when its standard
// input does, so that no agent outlives its test.
import { pino } from 'pino';
import { runStorage, type StorageConfig } from '../../src/storage/main.ts';

const { logFile, ...config } = JSON.parse(process.argv[2] ?? '{}') as Omit<StorageConfig, 'log'> & { logFile: string };
const log = pino({ level: 'debug' }, pino.destination({ dest: logFile, append: true, sync: true }));
const agent = await runStorage({ ...config, log });
process.stdout.write(`${agent.url}\n`);
process.stdin.resume();
process.stdin.once('end', () => {
  void agent.close().then(() => process.exit(0));
});
