// fast-check as every test with random input uses it: the same input each time, so that a change is judged by what it
// changes and not by luck. PROPERTY_SEED=<integer> tries other input; PROPERTY_SEED=random draws anew in each run, as
// 'make test-long' does. A failure prints the seed and the path that repeat it.
import fc from 'fast-check';

const seed = process.env['PROPERTY_SEED'] ?? '1';
if (seed !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) });

export { fc };
