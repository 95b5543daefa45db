// Paths of the block storage API and of compute may have the project in them, as older clients need it:
// /volume/v3/{project_id}/volumes is the same as /volume/v3/volumes, and must name the project of the token
// (cinder/api/openstack/wsgi.py, nova/api/openstack/wsgi.py). /compute/v2 is Nova's older name of /compute/v2.1.
import type { Actor } from '../../model/types.ts';
import { badRequest } from './errors.ts';

const WITH_PROJECT =
  /^(\/volume\/v3|\/compute\/v2(?:\.1)?)\/([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=[/?]|$)/;
/** The document of the older version has a path of its own. */
const OLDER = /^\/compute\/v2\/(?=[^?])/;

/** The path without the project, and under the name that routes have. */
export const withoutProject = (url: string): string => url.replace(WITH_PROJECT, '$1').replace(OLDER, '/compute/v2.1/');

/** @throws ApiError 400 when the path names another project than the token's */
export function checkProject(originalUrl: string, actor: Actor): void {
  const named = WITH_PROJECT.exec(originalUrl)?.[2];
  if (named !== undefined && actor.userId !== '' && named !== actor.projectId) {
    throw badRequest('Malformed request url');
  }
}
