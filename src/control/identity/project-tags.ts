// The tags of a project, one by one or all at once.
import { badRequest, notFound, type Refusal, refused } from '../../model/refusal.ts';
import { type Changed, type Directory, ok } from './directory.ts';
import { projectNotFound } from './projects.ts';

export const MAX_TAGS = 80;

export const tagNotFound = (tag: string): Refusal => notFound(`Could not find project tag: ${tag.slice(0, 255)}.`);

/** @param edit what the tags are from now on, or why not */
export const editTags = (
  { change }: Directory,
  id: string,
  edit: (present: readonly string[]) => readonly string[] | Refusal,
): Promise<Changed<readonly string[]>> =>
  change(async (trx) => {
    const row = await trx.selectFrom('projects').select('tags_json').where('id', '=', id).executeTakeFirst();
    if (!row) return refused(projectNotFound(id));
    const tags = edit(JSON.parse(row.tags_json) as string[]);
    if ('code' in tags) return refused(tags);
    await trx
      .updateTable('projects')
      .set({ tags_json: JSON.stringify(tags) })
      .where('id', '=', id)
      .execute();
    return ok(tags);
  });

/** One that is there already changes nothing. */
export const withTag =
  (tag: string) =>
  (present: readonly string[]): readonly string[] | Refusal => {
    if (present.includes(tag)) return present;
    return present.length < MAX_TAGS ? [...present, tag] : badRequest(`A project has at most ${MAX_TAGS} tags.`);
  };

export const withoutTag =
  (tag: string) =>
  (present: readonly string[]): readonly string[] | Refusal =>
    present.includes(tag) ? present.filter((each) => each !== tag) : tagNotFound(tag);
