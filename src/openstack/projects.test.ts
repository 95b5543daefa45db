import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { projectsOf } from './projects.ts';
import { fakeOpenstack } from './testing.ts';

test('a project is there unless Keystone says that it is not', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  fake.on('/v3/projects/there', () => ({ status: 200, body: { project: { id: 'there' } } }));
  fake.on('/v3/projects/hidden', () => ({ status: 403, body: { error: { message: 'no' } } }));
  fake.on('/v3/projects/a%2Fb', () => ({ status: 404, body: { error: { message: 'Could not find project' } } }));
  const projects = projectsOf(fake.session);
  assert.deepEqual(
    [await projects.isThere('there'), await projects.isThere('hidden'), await projects.isThere('a/b')],
    [true, true, false],
  );
});
