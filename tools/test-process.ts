// What tools/test.ts loads first in the process of each test file.
//
// node:test follows every promise from the test that began it, by a hook on each one made and collected, to know whose an
// error is that nobody catches. That takes half the time of a file that plays worlds, with their millions of promises.
// So it is given a hook that does nothing. Such an error then fails the file instead of one test, and is printed here.
// And a `before` in a `describe` does not wait for a `before` of the file any more: what it needs is made without a hook.
import asyncHooks from 'node:async_hooks';

const idle: asyncHooks.AsyncHook = { enable: () => idle, disable: () => idle };
const { createHook } = asyncHooks;
// The runner takes the function when it is loaded, and nothing else is loaded meanwhile.
Object.assign(asyncHooks, { createHook: () => idle });
await import('node:test');
Object.assign(asyncHooks, { createHook });

const tell = (error: unknown): void => {
  process.stderr.write(`nobody caught: ${error instanceof Error ? error.stack : String(error)}\n`);
};
process.on('uncaughtExceptionMonitor', tell);
process.on('unhandledRejection', tell);
