// The store that the other tests run on keeps the same contract as the real ones.
import { MemorySagaStore, testSagaStore } from './test-support.ts';

testSagaStore('memory', async (clock) => ({ store: new MemorySagaStore(clock), close: async () => undefined }));
