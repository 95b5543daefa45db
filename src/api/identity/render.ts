// Identity's records as the API shows them, and the small things that its routes share.
import type { ApplicationCredential } from '../../control/identity/application-credentials.ts';
import {
  type Changed,
  type Directory,
  type Domain,
  findRole,
  type Group,
  MAX_LISTED,
  type Project,
  type Role,
  type User,
} from '../../control/identity/directory.ts';
import type { NameFilter, NamePart } from '../../control/identity/names.ts';
import { MAX_TAGS } from '../../control/identity/project-tags.ts';
import type { Settings } from '../../control/platform.ts';
import { isoMicroseconds } from '../../model/time.ts';
import type { TagFilter } from '../../store/tag-filter.ts';
import { badRequest, errorOf } from '../http/errors.ts';

export const V3 = '/identity/v3';

export const selfLink = (settings: Settings, path: string): { self: string } => ({
  self: `${settings.publicUrl}${V3}${path}`,
});

/** @param limit what the query asks for; a list that goes on says that it is truncated */
export function listed(
  settings: Settings,
  path: string,
  plural: string,
  items: readonly object[],
  limit: number = MAX_LISTED,
): object {
  const most = Math.min(limit, MAX_LISTED);
  return {
    [plural]: items.slice(0, most),
    links: { self: `${settings.publicUrl}${V3}${path}`, next: null, previous: null },
    ...(items.length > most ? { truncated: true } : {}),
  };
}

/** @throws ApiError with the refusal */
export function outcome<T>(result: Changed<T>): T {
  if (result.kind === 'refused') throw errorOf(result.refusal);
  return result.value;
}

/** Keystone's flags in queries: there without a value, or anything but 0 and false, is a yes. */
export const isSet = (flag: string | undefined): boolean => flag !== undefined && !/^(0|false|no)$/i.test(flag);

/** `enabled=` as a filter; absent when it is not asked for. */
export const stateAsked = ({ enabled }: { readonly enabled?: string }): { readonly enabled?: boolean } =>
  enabled === undefined ? {} : { enabled: isSet(enabled) };

type NamesQuery = { readonly name?: string } & {
  readonly [key in `name__${'' | 'i'}${NamePart['at']}`]?: string;
};
const PARTS = ['contains', 'startswith', 'endswith'] as const;

/** `name=` and its inexact kin (`name__istartswith=`) as a filter. */
export const namesAsked = (query: NamesQuery): NameFilter => ({
  ...(query.name === undefined ? {} : { name: query.name }),
  nameParts: PARTS.flatMap((at) =>
    [false, true].flatMap((anyCase) => {
      const text = query[`name__${anyCase ? 'i' : ''}${at}` as const];
      return text === undefined ? [] : [{ at, text, anyCase }];
    }),
  ),
});

const TAGS = { tags: 'all', 'tags-any': 'any', 'not-tags': 'notAll', 'not-tags-any': 'none' } as const;

/** Lists of tags between commas as a filter. @throws ApiError 400 */
export const tagsAsked = (query: { readonly [key in keyof typeof TAGS]?: string }): TagFilter =>
  Object.fromEntries(
    Object.entries(TAGS).flatMap(([name, key]) => {
      const wanted = query[name as keyof typeof TAGS];
      if (wanted === undefined) return [];
      const some = wanted.split(',');
      if (some.length > MAX_TAGS) throw badRequest(`Invalid input for ${name}: more than ${MAX_TAGS} tags.`);
      return [[key, some]];
    }),
  );

export const renderProject = (settings: Settings, project: Project): object => ({
  ...{ id: project.id, name: project.name, domain_id: project.domainId },
  parent_id: project.parentId ?? project.domainId,
  ...{ description: project.description, enabled: project.enabled, is_domain: false },
  ...{ tags: project.tags, options: {}, links: selfLink(settings, `/projects/${project.id}`) },
});

export const renderUser = (settings: Settings, user: User): object => ({
  ...{ id: user.id, name: user.name, domain_id: user.domainId, enabled: user.enabled },
  ...(user.description === null ? {} : { description: user.description }),
  ...(user.email === null ? {} : { email: user.email }),
  ...(user.defaultProjectId === null ? {} : { default_project_id: user.defaultProjectId }),
  ...(user.projectId === null ? {} : { project_id: user.projectId }),
  ...{ password_expires_at: null, options: user.options, links: selfLink(settings, `/users/${user.id}`) },
});

export const renderGroup = (settings: Settings, group: Group): object => ({
  ...{ id: group.id, name: group.name, domain_id: group.domainId, description: group.description },
  links: selfLink(settings, `/groups/${group.id}`),
});

export const renderRole = (settings: Settings, role: Role): object => ({
  ...{ id: role.id, name: role.name, domain_id: null, description: role.description, options: {} },
  links: selfLink(settings, `/roles/${role.id}`),
});

export const renderDomain = (settings: Settings, domain: Domain): object => ({
  ...{ id: domain.id, name: domain.name, description: domain.description, enabled: domain.enabled },
  ...{ tags: [], options: {}, links: selfLink(settings, `/domains/${domain.id}`) },
});

/** Roles that are gone are left out. */
export async function renderCredential(
  settings: Settings,
  directory: Directory,
  credential: ApplicationCredential,
): Promise<object> {
  const roles = await Promise.all(credential.roleIds.map((id) => findRole(directory, id)));
  const { id, name, description, projectId, userId, unrestricted, expiresAt } = credential;
  return {
    ...{ id, name, description, project_id: projectId, user_id: userId, unrestricted, system: null },
    expires_at: expiresAt === null ? null : withMicros(isoMicroseconds(expiresAt), credential.expiresMicros),
    roles: roles.flatMap((role) => (role ? { id: role.id, name: role.name, domain_id: null } : [])),
    links: selfLink(settings, `/users/${userId}/application_credentials/${id}`),
  };
}

/** @param time ends with six digits of a second, the last three of which are replaced */
const withMicros = (time: string, micros: number): string => `${time.slice(0, -3)}${String(micros).padStart(3, '0')}`;
