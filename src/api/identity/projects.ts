// Projects and domains.
//
// Rules that say something about a record's domain are asked by the handlers, who know it; about a record that is not
// there they are asked with its id alone, so that who may not see it learns nothing from the answer.
import {
  DEFAULT_DOMAIN,
  type Domain,
  findAccount,
  findDomain,
  findProject,
  type ProjectIn,
} from '../../control/identity/directory.ts';
import {
  createDomain,
  deleteDomain,
  domainNotFound,
  listDomains,
  updateDomain,
} from '../../control/identity/domains.ts';
import {
  createProject,
  deleteProject,
  listProjects,
  projectNotFound,
  updateProject,
} from '../../control/identity/projects.ts';
import type { Identity } from '../../control/identity.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { treeOf } from './project-tree.ts';
import {
  isSet,
  listed,
  namesAsked,
  outcome,
  renderDomain,
  renderProject,
  stateAsked,
  tagsAsked,
  V3,
} from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;
const PROJECTS = `${V3}/projects`;
const DOMAINS = `${V3}/domains`;

export const projectTarget = (id: string, found: ProjectIn | null): Target => ({
  'target.project.id': id,
  ...(found ? { 'target.project.domain_id': found.project.domainId } : {}),
});

/** The domain that a list is about: the one asked for, else that of a domain's token; absent: all. */
export const domainAsked = (actor: Actor, asked: string | undefined): { readonly domainId?: string } => {
  const domainId = asked ?? actor.domainId;
  return domainId === undefined ? {} : { domainId };
};
export const domainTarget = ({ domainId }: { readonly domainId?: string }): Target =>
  domainId === undefined ? {} : { 'target.domain_id': domainId };

/** Where something new goes when the body does not say it: the domain of a domain's token, else the default one. */
export const homeDomain = (actor: Actor, asked: string | null | undefined): string =>
  asked ?? actor.domainId ?? DEFAULT_DOMAIN;

export const projectRoutes = ({ directory }: Identity): readonly Route[] => [
  route({
    ...{ method: 'GET', url: PROJECTS, service, summary: 'List projects' },
    policy: 'identity:list_projects',
    target: 'handler',
    query: schema.ProjectQuery,
    answers: { 200: schema.listOf('projects', schema.Project) },
    handle: async ({ p, actor, query }) => {
      const domain = domainAsked(actor, query.domain_id);
      requireRule(p, service, actor, 'identity:list_projects', domainTarget(domain));
      // Domains are no projects here.
      const projects = isSet(query.is_domain)
        ? []
        : await listProjects(directory, {
            ...domain,
            ...stateAsked(query),
            ...namesAsked(query),
            tags: tagsAsked(query),
            ...(query.parent_id === undefined ? {} : { parentId: query.parent_id }),
            ...(query.user === undefined ? {} : { userId: query.user }),
          });
      const shown = projects.map((each) => renderProject(p.settings, each));
      return { status: 200, body: listed(p.settings, '/projects', 'projects', shown, query.limit) };
    },
  }),
  route({
    ...{ method: 'POST', url: PROJECTS, service, summary: 'Create a project' },
    policy: 'identity:create_project',
    body: schema.CreateProject,
    answers: { 201: schema.one('project', schema.Project) },
    handle: async ({ p, actor, body: { project: wish } }) => {
      const parent = wish.parent_id ? await findProject(directory, wish.parent_id) : null;
      const project = await createProject(directory, {
        ...{ name: wish.name, description: wish.description ?? '', enabled: wish.enabled ?? true },
        domainId: homeDomain(actor, wish.domain_id ?? parent?.project.domainId),
        ...{ parentId: wish.parent_id ?? null, tags: wish.tags ?? [] },
      });
      return { status: 201, body: { project: renderProject(p.settings, outcome(project)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${PROJECTS}/:id`, service, summary: 'Show a project' },
    policy: 'identity:get_project',
    target: 'handler',
    params: schema.IdParams,
    query: schema.TreeQuery,
    answers: { 200: schema.one('project', schema.ProjectInTree) },
    handle: async ({ p, actor, params, query }) => {
      const found = await findProject(directory, params.id);
      requireRule(p, service, actor, 'identity:get_project', projectTarget(params.id, found));
      if (!found) throw errorOf(projectNotFound(params.id));
      const tree = await treeOf({ directory, settings: p.settings, actor }, found.project, query);
      return { status: 200, body: { project: { ...renderProject(p.settings, found.project), ...tree } } };
    },
  }),
  route({
    ...{ method: 'PATCH', url: `${PROJECTS}/:id`, service, summary: 'Change a project' },
    policy: 'identity:update_project',
    target: (id) => projectTarget(id, null),
    params: schema.IdParams,
    body: schema.UpdateProject,
    answers: { 200: schema.one('project', schema.Project) },
    handle: async ({ p, params, body: { project: wish } }) => {
      const found = await findProject(directory, params.id);
      if (!found) throw errorOf(projectNotFound(params.id));
      sameDomain(wish.domain_id, found.project.domainId);
      const changed = await updateProject(directory, params.id, {
        ...(wish.name === undefined ? {} : { name: wish.name }),
        ...(wish.description === undefined ? {} : { description: wish.description ?? '' }),
        ...(wish.enabled === undefined ? {} : { enabled: wish.enabled }),
        ...(wish.tags === undefined ? {} : { tags: wish.tags }),
      });
      return { status: 200, body: { project: renderProject(p.settings, outcome(changed)) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${PROJECTS}/:id`, service, summary: 'Delete a project; its servers stay' },
    policy: 'identity:delete_project',
    target: (id) => projectTarget(id, null),
    params: schema.IdParams,
    answers: { 204: null },
    handle: async ({ params }) => {
      const found = await findProject(directory, params.id);
      if (!found) throw errorOf(projectNotFound(params.id));
      outcome(await deleteProject(directory, found.project.id));
      return { status: 204 };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/users/:id/projects`, service, summary: 'Projects in which a user has a role' },
    policy: 'identity:list_user_projects',
    target: 'handler',
    params: schema.IdParams,
    query: schema.query(schema.ByDomain),
    answers: { 200: schema.listOf('projects', schema.Project) },
    handle: async ({ p, actor, params, query }) => {
      const account = await findAccount(directory, params.id);
      requireRule(p, service, actor, 'identity:list_user_projects', {
        'target.user.id': params.id,
        ...(account ? { 'target.user.domain_id': account.user.domainId } : {}),
      });
      const projects = await listProjects(directory, {
        userId: account?.user.id ?? '',
        ...stateAsked(query),
        ...namesAsked(query),
        ...(query.domain_id === undefined ? {} : { domainId: query.domain_id }),
      });
      const shown = projects.map((each) => renderProject(p.settings, each));
      return { status: 200, body: listed(p.settings, `/users/${params.id}/projects`, 'projects', shown, query.limit) };
    },
  }),
];

/** @throws ApiError 400: what is in one domain stays in it */
export function sameDomain(asked: string | undefined, is: string): void {
  if (asked !== undefined && asked !== is) throw badRequest('Cannot change Domain ID.');
}

export const domainRoutes = ({ directory }: Identity): readonly Route[] => {
  const found = async (id: string): Promise<Domain> => {
    const domain = await findDomain(directory, id);
    if (!domain) throw errorOf(domainNotFound(id));
    return domain;
  };
  return [
    route({
      ...{ method: 'GET', url: DOMAINS, service, summary: 'List domains' },
      policy: 'identity:list_domains',
      query: schema.query(schema.ByNameAndState),
      answers: { 200: schema.listOf('domains', schema.Domain) },
      handle: async ({ p, query }) => {
        const filter = { ...stateAsked(query), ...namesAsked(query) };
        const shown = (await listDomains(directory, filter)).map((each) => renderDomain(p.settings, each));
        return { status: 200, body: listed(p.settings, '/domains', 'domains', shown, query.limit) };
      },
    }),
    route({
      ...{ method: 'POST', url: DOMAINS, service, summary: 'Create a domain' },
      policy: 'identity:create_domain',
      body: schema.CreateDomain,
      answers: { 201: schema.one('domain', schema.Domain) },
      handle: async ({ p, body: { domain: wish } }) => {
        const made = await createDomain(directory, {
          ...{ name: wish.name, description: wish.description ?? '', enabled: wish.enabled ?? true },
        });
        return { status: 201, body: { domain: renderDomain(p.settings, outcome(made)) } };
      },
    }),
    route({
      ...{ method: 'GET', url: `${DOMAINS}/:id`, service, summary: 'Show a domain' },
      policy: 'identity:get_domain',
      target: (id) => ({ 'target.domain.id': id }),
      params: schema.IdParams,
      answers: { 200: schema.one('domain', schema.Domain) },
      handle: async ({ p, params }) => ({
        ...{ status: 200, body: { domain: renderDomain(p.settings, await found(params.id)) } },
      }),
    }),
    route({
      ...{ method: 'PATCH', url: `${DOMAINS}/:id`, service, summary: 'Change a domain' },
      policy: 'identity:update_domain',
      params: schema.IdParams,
      body: schema.UpdateDomain,
      answers: { 200: schema.one('domain', schema.Domain) },
      handle: async ({ p, params, body: { domain: wish } }) => {
        const changed = await updateDomain(directory, (await found(params.id)).id, {
          ...(wish.name === undefined ? {} : { name: wish.name }),
          ...(wish.description === undefined ? {} : { description: wish.description ?? '' }),
          ...(wish.enabled === undefined ? {} : { enabled: wish.enabled }),
        });
        return { status: 200, body: { domain: renderDomain(p.settings, outcome(changed)) } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${DOMAINS}/:id`, service },
      summary: 'Delete a disabled domain, with the projects and users in it',
      policy: 'identity:delete_domain',
      params: schema.IdParams,
      answers: { 204: null },
      handle: async ({ params }) => {
        outcome(await deleteDomain(directory, (await found(params.id)).id));
        return { status: 204 };
      },
    }),
  ];
};
