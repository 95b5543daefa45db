// Tags of projects; with a project itself they are changed all at once (projects.ts).
import { findProject, type Project } from '../../control/identity/directory.ts';
import { editTags, tagNotFound, withoutTag, withTag } from '../../control/identity/project-tags.ts';
import { projectNotFound } from '../../control/identity/projects.ts';
import type { Identity } from '../../control/identity.ts';
import type { Settings } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf } from '../http/errors.ts';
import { type Route, type RouteSpec, route } from '../http/route.ts';
import { projectTarget } from './projects.ts';
import { outcome, selfLink, V3 } from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;
const TAGS = `${V3}/projects/:id/tags`;

type TagCall = Parameters<RouteSpec<typeof schema.IdParams, undefined, undefined>['handle']>[0];

export function tagRoutes({ directory }: Identity): readonly Route[] {
  /** The project, once the rule allows it. @throws ApiError 403, 404 */
  async function about(
    { p, actor, params }: Pick<TagCall, 'p' | 'actor' | 'params'>,
    rule: RuleName,
  ): Promise<Project> {
    const found = await findProject(directory, params.id);
    requireRule(p, service, actor, rule, projectTarget(params.id, found));
    if (!found) throw errorOf(projectNotFound(params.id));
    return found.project;
  }
  const shown = (settings: Settings, { id }: Project, tags: readonly string[]): object => ({
    ...{ tags, links: selfLink(settings, `/projects/${id}/tags`) },
  });

  const all = { url: TAGS, service, target: 'handler', params: schema.IdParams } as const;
  const one = { url: `${TAGS}/:tag`, service, target: 'handler', params: schema.TagParams } as const;
  return [
    route({
      ...{ ...all, method: 'GET', policy: 'identity:list_project_tags', summary: "List a project's tags" },
      answers: { 200: schema.TagsAnswer },
      handle: async (call) => {
        const project = await about(call, 'identity:list_project_tags');
        return { status: 200, body: shown(call.p.settings, project, project.tags) };
      },
    }),
    route({
      ...{ ...all, method: 'PUT', policy: 'identity:update_project_tags', summary: "Replace a project's tags" },
      body: schema.ReplaceTags,
      answers: { 200: schema.TagsAnswer },
      handle: async (call) => {
        const project = await about(call, 'identity:update_project_tags');
        const tags = outcome(await editTags(directory, project.id, () => call.body.tags));
        return { status: 200, body: shown(call.p.settings, project, tags) };
      },
    }),
    route({
      ...{ ...all, method: 'DELETE', policy: 'identity:delete_project_tags', summary: "Delete a project's tags" },
      answers: { 204: null },
      handle: async (call) => {
        const project = await about(call, 'identity:delete_project_tags');
        outcome(await editTags(directory, project.id, () => []));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...one, method: 'GET', policy: 'identity:get_project_tag', summary: 'Check whether a project has a tag' },
      answers: { 204: null },
      handle: async (call) => {
        const project = await about(call, 'identity:get_project_tag');
        if (!project.tags.includes(call.params.tag)) throw errorOf(tagNotFound(call.params.tag));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...one, method: 'PUT', policy: 'identity:create_project_tag', summary: 'Tag a project' },
      answers: { 201: null },
      tells: ['location'],
      handle: async (call) => {
        const { id } = await about(call, 'identity:create_project_tag');
        outcome(await editTags(directory, id, withTag(call.params.tag)));
        const { self } = selfLink(call.p.settings, `/projects/${id}/tags/${encodeURIComponent(call.params.tag)}`);
        return { status: 201, headers: { location: self } };
      },
    }),
    route({
      ...{ ...one, method: 'DELETE', policy: 'identity:delete_project_tag', summary: 'Take a tag from a project' },
      answers: { 204: null },
      handle: async (call) => {
        const { id } = await about(call, 'identity:delete_project_tag');
        outcome(await editTags(directory, id, withoutTag(call.params.tag)));
        return { status: 204 };
      },
    }),
  ];
}
