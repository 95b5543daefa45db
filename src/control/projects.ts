// Which projects there are: by Keystone where identity is its own, else by the records here.
import type { Platform } from './platform.ts';

/** @throws ServiceDown when Keystone does not answer */
export async function isProject(p: Platform, id: string): Promise<boolean> {
  if (p.projects) return p.projects.isThere(id);
  const row = await p.stores.global.selectFrom('projects').select('id').where('id', '=', id).executeTakeFirst();
  return row !== undefined;
}
