// Staging and importing of data, deactivating images, and what the image service can do. Source: glance/api/v2/images.py,
// image_actions.py, discovery.py. Data is imported from what was staged (glance-direct) or from the web (web-download;
// control/images/download.ts says what keeps that from reaching what only the image service can reach).
import { STORE_ID } from '../../control/images/download.ts';
import { importImage, importMethods, setActive, stageImage } from '../../control/images/members.ts';
import { refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { declaredLength, drain } from './data.ts';
import { ImportBody, ImportInfo, Member, MemberList, Params, StoresInfo } from './schemas.ts';
import { schemaRoute } from './shown-schemas.ts';

const IMAGE = '/image/v2/images/:id';
const service = 'image' as const;

const activation = (name: 'deactivate' | 'reactivate', summary: string): Route =>
  route({
    ...{ method: 'POST', url: `${IMAGE}/actions/${name}`, service, summary, policy: name },
    params: Params,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      refuse(await setActive(p, actor, params.id, name === 'reactivate'));
      return { status: 204 };
    },
  });

export const importRoutes: readonly Route[] = [
  route({
    ...{
      method: 'PUT',
      url: `${IMAGE}/stage`,
      service,
      summary: 'Stage data of a queued image',
      policy: 'upload_image',
    },
    params: Params,
    rawBody: true,
    contentTypes: ['application/octet-stream'],
    answers: { 204: null },
    handle: async ({ p, actor, params, request }) => {
      const stream = request.raw;
      const refusal = await stageImage(p, actor, params.id, { stream, declaredBytes: declaredLength(request) });
      if (refusal) await drain(p, stream);
      refuse(refusal);
      return { status: 204 };
    },
  }),
  route({
    ...{
      method: 'POST',
      url: `${IMAGE}/import`,
      service,
      summary: 'Import what was staged, or is fetched from the web',
      policy: 'upload_image',
    },
    params: Params,
    body: ImportBody,
    answers: { 202: null },
    handle: async ({ p, actor, params, body }) => {
      refuse(await importImage(p, actor, params.id, body.method));
      return { status: 202 };
    },
  }),
  activation('deactivate', "Take an image's data out of users' reach"),
  activation('reactivate', "Give an image's data back"),
  route({
    ...{ method: 'GET', url: '/image/v2/info/import', service, summary: 'Ways of importing data', policy: 'anyone' },
    answers: { 200: ImportInfo },
    handle: ({ p }) => {
      const methods = { description: 'Import methods available.', type: 'array', value: importMethods(p) };
      return { status: 200, body: { 'import-methods': methods } };
    },
  }),
  route({
    ...{ method: 'GET', url: '/image/v2/info/stores', service, summary: 'Stores of images', policy: 'anyone' },
    answers: { 200: StoresInfo },
    handle: () => ({
      status: 200,
      body: { stores: [{ id: STORE_ID, description: 'Files of the control plane', default: 'true' }] },
    }),
  }),
  schemaRoute('member', 'member', Member, { readOnly: ['schema'] }),
  schemaRoute('members', 'members', MemberList),
];
