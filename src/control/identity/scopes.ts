// What a token is for, with its names looked up.
import { type Directory, type Domain, findDomain, findProject, type Project } from './directory.ts';
import type { Scope } from './tokens.ts';

export type ScopeInfo =
  | { readonly kind: 'project'; readonly project: Project; readonly domain: Domain }
  | { readonly kind: 'domain'; readonly domain: Domain }
  | { readonly kind: 'system' }
  | { readonly kind: 'unscoped' };

/** Null: not there, or disabled. */
export async function scopeInfo(directory: Directory, scope: Scope): Promise<ScopeInfo | null> {
  switch (scope.kind) {
    case 'unscoped':
    case 'system':
      return { kind: scope.kind };
    case 'domain': {
      const domain = await findDomain(directory, scope.id);
      return domain?.enabled ? { kind: 'domain', domain } : null;
    }
    case 'project': {
      const found = await findProject(directory, scope.id);
      return found?.project.enabled && found.domain.enabled ? { kind: 'project', ...found } : null;
    }
  }
}
