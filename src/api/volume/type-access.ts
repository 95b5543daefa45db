// Which projects may use a private volume type (cinder/api/contrib/volume_type_access.py).
import { Type } from 'typebox';
import { addTypeAccess, projectsOfType, removeTypeAccess } from '../../control/volumes/type-access.ts';
import { IdParams, object, text } from '../compute/common.ts';
import { notFound, refuse } from '../http/errors.ts';
import { byBody, type Route, route } from '../http/route.ts';
import { V3 } from './common.ts';
import { typeFor } from './types.ts';

const service = 'volume' as const;
const Project = object({ project: Type.String({ minLength: 1, maxLength: 255, pattern: '^[\\w-]+$' }) });

export const typeAccessRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V3}/types/:id/os-volume-type-access`, service },
    summary: 'List the projects that may use a private volume type',
    policy: 'volume_extension:volume_type_access:get_all_for_type',
    params: IdParams,
    answers: {
      200: object({ volume_type_access: Type.Array(object({ volume_type_id: text(), project_id: text() })) }),
    },
    handle: async ({ p, actor, params }) => {
      const type = await typeFor(p, actor, params.id);
      if (type.isPublic) throw notFound('Access list not available for public volume types.');
      const projects = await projectsOfType(p, type.id);
      const access = projects.map((project) => ({ volume_type_id: type.id, project_id: project }));
      return { status: 200, body: { volume_type_access: access } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${V3}/types/:id/action`, service },
    summary: 'Open a private volume type to a project, or close it: addProjectAccess, removeProjectAccess',
    policy: byBody({
      addProjectAccess: 'volume_extension:volume_type_access:addProjectAccess',
      removeProjectAccess: 'volume_extension:volume_type_access:removeProjectAccess',
    }),
    params: IdParams,
    body: Type.Union([object({ addProjectAccess: Project }), object({ removeProjectAccess: Project })]),
    answers: { 202: null },
    handle: async ({ p, actor, params, body }) => {
      const { id: typeId } = await typeFor(p, actor, params.id);
      refuse(
        'addProjectAccess' in body
          ? await addTypeAccess(p, { typeId, projectId: body.addProjectAccess.project })
          : await removeTypeAccess(p, { typeId, projectId: body.removeProjectAccess.project }),
      );
      return { status: 202 };
    },
  }),
];
