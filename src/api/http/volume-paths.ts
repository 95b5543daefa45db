// The block storage API's paths may have the project in them, as older clients need it: /volume/v3/{project_id}/volumes is
// the same as /volume/v3/volumes, and must name the project of the token (cinder/api/openstack/wsgi.py).
import type { Actor } from '../../model/types.ts';
import { badRequest } from './errors.ts';

const WITH_PROJECT = /^\/volume\/v3\/([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=[/?]|$)/;

/** The path without the project. */
export const withoutProject = (url: string): string => url.replace(WITH_PROJECT, '/volume/v3');

/** @throws ApiError 400 when the path names another project than the token's */
export function checkProject(originalUrl: string, actor: Actor): void {
  const named = WITH_PROJECT.exec(originalUrl)?.[1];
  if (named !== undefined && actor.userId !== '' && named !== actor.projectId) {
    throw badRequest('Malformed request url');
  }
}
