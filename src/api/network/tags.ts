// Tags of a record, as Neutron's extensions standard-attr-tag and tag-creation: the same seven calls for every
// resource.
import { Type } from 'typebox';
import { type NetworkResource, no } from '../../control/network/results.ts';
import { changeTags } from '../../control/network/tags.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Route, route } from '../http/route.ts';
import { orThrow } from './refusals.ts';
import type { Context } from './resource.ts';
import { Params, service, strict, text, V2 } from './shapes.ts';

const Tag = Type.String({ minLength: 1, maxLength: 255 });
const Tags = Type.Object({ tags: Type.Array(Tag, { maxItems: 100 }) }, strict);
const TagParams = Type.Object({ id: text, tag: Tag }, strict);

/** The seven calls. `tagsOf`: the record's tags; null when the actor does not see it. */
export function tagRoutes(
  path: string,
  single: NetworkResource,
  tagsOf: (context: Context, id: string) => Promise<readonly string[] | null>,
): Route[] {
  const url = `${V2}/${path}/:id/tags`;
  const [get, update] = [`get_${single}` as RuleName, `update_${single}` as RuleName];
  const seen = async (call: { p: Context['p']; actor: Context['actor']; params: { id: string } }) => {
    const { p, actor, params } = call;
    const context = { p, actor, db: p.stores.global, now: p.clock.now() };
    const message = `Resource ${single} ${params.id} could not be found.`;
    return {
      ...context,
      tags: (await tagsOf(context, params.id)) ?? orThrow<string[]>(no(404, 'TagResourceNotFound', message)),
    };
  };
  const change = async (
    call: Parameters<typeof seen>[0],
    make: (tags: readonly string[]) => readonly string[],
    missing?: string,
  ) => {
    const { db, now } = await seen(call);
    return orThrow(await changeTags(db, single, call.params.id, now, make, missing));
  };
  return [
    route({
      ...{ method: 'GET', url, service, summary: 'List tags', policy: get },
      params: Params,
      answers: { 200: Tags },
      handle: async (call) => ({ status: 200, body: { tags: [...(await seen(call)).tags] } }),
    }),
    route({
      ...{ method: 'PUT', url, service, summary: 'Replace the tags', policy: update },
      params: Params,
      body: Tags,
      answers: { 200: Tags },
      handle: async (call) => ({ status: 200, body: { tags: await change(call, () => call.body.tags) } }),
    }),
    route({
      ...{ method: 'POST', url, service, summary: 'Add tags', policy: update },
      params: Params,
      body: Tags,
      answers: { 200: Tags },
      handle: async (call) => {
        const { tags } = call.body;
        await change(call, (before) => [...before, ...tags]);
        return { status: 200, body: { tags } };
      },
    }),
    route({
      ...{ method: 'DELETE', url, service, summary: 'Take all tags away', policy: update },
      params: Params,
      answers: { 204: null },
      handle: async (call) => {
        await change(call, () => []);
        return { status: 204 };
      },
    }),
    route({
      ...{ method: 'GET', url: `${url}/:tag`, service, summary: 'Whether a tag is there', policy: get },
      params: TagParams,
      answers: { 204: null },
      handle: async (call) => {
        const { tag } = call.params;
        if (!(await seen(call)).tags.includes(tag)) orThrow(no(404, 'TagNotFound', `Tag ${tag} could not be found.`));
        return { status: 204 };
      },
    }),
    route({
      ...{ method: 'PUT', url: `${url}/:tag`, service, summary: 'Add a tag', policy: update },
      params: TagParams,
      answers: { 201: null },
      handle: async (call) => {
        await change(call, (tags) => [...tags, call.params.tag]);
        return { status: 201 };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${url}/:tag`, service, summary: 'Take a tag away', policy: update },
      params: TagParams,
      answers: { 204: null },
      handle: async (call) => {
        const { tag } = call.params;
        await change(call, (tags) => tags.filter((each) => each !== tag), tag);
        return { status: 204 };
      },
    }),
  ];
}
