// What each version of each saga's definition is: test/house/saga-versions.txt. Run as a program it writes the list anew:
//
//   node test/house/saga-versions.ts
//
// A row of a saga remembers the version of its definition and the index of its step. So a definition whose steps have
// changed, and that a release has been published with, gets the next version, and the old one stays in the registry.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MOVES } from '../../src/moves/registry.ts';

export const LIST = fileURLToPath(new URL('saga-versions.txt', import.meta.url));

/** One line for each: `name version: steps in order; pivot`. */
export const definitionLines = (): string[] =>
  MOVES.map(({ definition: { name, version, steps, pivot } }) => {
    const order = steps.map((step) =>
      step.retryFrom === undefined ? step.name : `${step.name} (retried from ${steps[step.retryFrom]?.name})`,
    );
    return `${name} ${version}: ${order.join(', ')}; pivot ${steps[pivot]?.name}`;
  }).toSorted();

if (import.meta.main) writeFileSync(LIST, `${definitionLines().join('\n')}\n`);
