// What of a host's files is not as its records have it, for the audit.
//
// Looked at is whether the files that a guest cannot do without are there, and what lies where only guests' things do. Not
// looked at: what files hold, what else lies in a guest's own directory, and base images that no guest uses: those are
// kept up to a limit (images.ts).
import { join } from 'node:path';
import { isUuid } from '../../lib/ids.ts';
import type { GuestSpec } from '../contract.ts';
import type { GuestBody } from '../records.ts';
import { allocatedBytes, namesIn } from './disk-files.ts';
import type { Layout } from './layout.ts';

/** Names of the files that the guest must have by its record and does not. */
export async function missingFiles(layout: Layout, serverId: string, guest: GuestBody): Promise<string[]> {
  const expected: Array<readonly [what: string, path: string]> = [];
  const disk = ({ root }: GuestSpec, what: string, path: string): void => {
    if (root.kind === 'image') expected.push([what, path], [`base image of the ${what}`, layout.image(root.image)]);
  };
  if (guest.disk === 'ready') disk(guest.spec, 'disk', layout.disk(serverId));
  if (guest.spare?.ready) disk(guest.spare.spec, 'second disk', layout.spareDisk(serverId));
  if (guest.memory === 'saved') expected.push(['memory', layout.memory(serverId)]);
  const missing: string[] = [];
  for (const [what, path] of expected) if ((await allocatedBytes(path)) === null) missing.push(what);
  return missing;
}

/** What lies among guests' directories, keys and memories and belongs to no guest's directory. */
export async function strayFiles(layout: Layout): Promise<string[]> {
  const guests = await namesIn(layout.guestsDir);
  const [keys, memories] = [await namesIn(layout.keysDir), await namesIn(layout.memoryDir)];
  const known = new Set(guests.filter(isUuid));
  return [
    ...guests.filter((name) => !known.has(name)).map((name) => join('guests', name)),
    ...keys.filter((name) => !known.has(name)).map((name) => join('keys', name)),
    ...memories.filter((name) => !known.has(name.split('.')[0] ?? '')).map((name) => join('memory', name)),
  ];
}
