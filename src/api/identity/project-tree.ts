// What is above and below a project in the tree of projects, as GET /projects/{id} tells it when asked: the ids in one
// another, or the projects in which the user has a role, side by side (keystone/api/projects.py: _expand_project_ref).

import type { Directory, Project } from '../../control/identity/directory.ts';
import { ancestorsOf, listProjects } from '../../control/identity/projects.ts';
import type { Settings } from '../../control/platform.ts';
import type { Actor } from '../../model/types.ts';
import { badRequest } from '../http/errors.ts';
import { isSet, renderProject } from './render.ts';

export interface TreeQuery {
  readonly parents_as_list?: string;
  readonly parents_as_ids?: string;
  readonly subtree_as_list?: string;
  readonly subtree_as_ids?: string;
}

/** Ids in one another; null: there is nothing more. */
type Ids = { readonly [id: string]: Ids } | null;

interface Asking {
  readonly directory: Directory;
  readonly settings: Settings;
  readonly actor: Actor;
}

/** `parents` and `subtree`, as far as they are asked for. @throws ApiError 400 */
export async function treeOf(asking: Asking, project: Project, query: TreeQuery): Promise<object> {
  for (const what of ['parents', 'subtree'] as const) {
    if (isSet(query[`${what}_as_list`]) && isSet(query[`${what}_as_ids`])) {
      throw badRequest(`Cannot use ${what}_as_list and ${what}_as_ids query params at the same time.`);
    }
  }
  const above = isSet(query.parents_as_list) || isSet(query.parents_as_ids);
  const below = isSet(query.subtree_as_list) || isSet(query.subtree_as_ids);
  const parents = above ? await ancestorsOf(asking.directory, project) : [];
  const children: Children = below ? await childrenIn(asking.directory, project.domainId) : new Map();
  return {
    ...(isSet(query.parents_as_ids) ? { parents: idsAbove([...parents.map(({ id }) => id), project.domainId]) } : {}),
    ...(isSet(query.parents_as_list) ? { parents: await seen(asking, parents) } : {}),
    ...(isSet(query.subtree_as_ids) ? { subtree: idsBelow(children, project.id) } : {}),
    ...(isSet(query.subtree_as_list) ? { subtree: await seen(asking, allBelow(children, project.id)) } : {}),
  };
}

/** The nearest first; the domain is above all. */
const idsAbove = (ids: readonly string[]): Ids => ids.reduceRight<Ids>((above, id) => ({ [id]: above }), null);

/** The ids of the project and of all below it. */
export async function idsOfTree(directory: Directory, project: Project): Promise<string[]> {
  return [project, ...allBelow(await childrenIn(directory, project.domainId), project.id)].map(({ id }) => id);
}

const childrenIn = async (directory: Directory, domainId: string): Promise<Children> =>
  Map.groupBy(await listProjects(directory, { domainId }), (each) => each.parentId);

type Children = ReadonlyMap<string | null, readonly Project[]>;

/** A tree has few levels: control/identity/projects.ts. */
function idsBelow(children: Children, id: string): Ids {
  const below = children.get(id) ?? [];
  return below.length === 0 ? null : Object.fromEntries(below.map((each) => [each.id, idsBelow(children, each.id)]));
}

const allBelow = (children: Children, id: string): Project[] =>
  (children.get(id) ?? []).flatMap((each) => [each, ...allBelow(children, each.id)]);

async function seen({ directory, settings, actor }: Asking, projects: readonly Project[]): Promise<object[]> {
  const own = new Set((await listProjects(directory, { userId: actor.userId })).map(({ id }) => id));
  return projects.filter(({ id }) => own.has(id)).map((each) => ({ project: renderProject(settings, each) }));
}
