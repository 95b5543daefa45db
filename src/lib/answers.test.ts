import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonOf, readLimited } from './answers.ts';

test('an answer is read up to its limit, and no further', async () => {
  assert.equal(await readLimited(new Response(null), 0), '');
  assert.equal(await readLimited(new Response('äö'), 4), 'äö');
  let pulled = 0;
  const endless = new ReadableStream({
    pull(controller) {
      pulled += 1;
      controller.enqueue(new Uint8Array(1000));
    },
  });
  await assert.rejects(readLimited(new Response(endless), 2500), /^Error: the answer is longer than 2500 bytes$/);
  assert.ok(pulled < 10, `${pulled} chunks`);
});

test('what is no JSON is nothing that a schema allows', () => {
  assert.deepEqual(jsonOf('{"a":[1]}'), { a: [1] });
  assert.equal(jsonOf('null'), null);
  assert.equal(jsonOf('<html>'), undefined);
});
