// One thread of a search: runs the parts that it is sent, one after the other, on a stage of its own, until it is
// sent null.
import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../lib/errors.ts';
import { openStage, type Scenario } from './scenario.ts';
import { type Part, runPart } from './search.ts';

invariant(parentPort, 'a thread of a search');
const port = parentPort;
const scenario = workerData as Scenario;
const stage = await openStage(scenario);
port.on('message', (part: Part | null) => {
  if (part === null) {
    stage.close();
    port.close();
    return;
  }
  runPart(stage, scenario, part).then(
    (result) => port.postMessage(result),
    (error: unknown) => {
      throw error;
    },
  );
});
