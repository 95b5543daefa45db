// What hangs on a flavor: extra specs, and the projects that may use a private one.
import { Type } from 'typebox';
import {
  deleteExtraSpec,
  extraSpecNotFound,
  type FlavorResult,
  flavorAccess,
  grantFlavor,
  revokeFlavor,
  setExtraSpecs,
} from '../../control/flavors.ts';
import type { Platform } from '../../control/platform.ts';
import { checkKnownSpecs } from '../../model/extra-specs.ts';
import type { Actor } from '../../model/types.ts';
import { badRequest, errorOf, notFound, refuse } from '../http/errors.ts';
import { byBody, type Route, route } from '../http/route.ts';
import { BASE, IdAndKeyParams, IdParams, object, StringMap, text } from './common.ts';
import { flavorFor } from './flavors.ts';
import { requireProject } from './quotas.ts';

const SPECS = `${BASE}/flavors/:id/os-extra_specs`;
const SpecsBody = Type.Record(Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }), text(), {
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 128,
});
/** From this microversion on, specs in Nova's namespaces must be known. */
const VALIDATED = 86;
const Access = Type.Array(object({ flavor_id: text(), tenant_id: text() }));

export const flavorExtraRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: SPECS,
    service: 'compute',
    summary: "List a flavor's extra specs",
    policy: 'os_compute_api:os-flavor-extra-specs:index',
    params: IdParams,
    answers: { 200: object({ extra_specs: StringMap }) },
    handle: async ({ p, actor, params }) => ({
      status: 200,
      body: { extra_specs: (await flavorFor(p, actor, params.id)).extraSpecs },
    }),
  }),
  route({
    method: 'POST',
    url: SPECS,
    service: 'compute',
    summary: 'Add or replace extra specs',
    policy: 'os_compute_api:os-flavor-extra-specs:create',
    params: IdParams,
    body: object({ extra_specs: SpecsBody }),
    answers: { 200: object({ extra_specs: StringMap }) },
    handle: async ({ p, params, body, minor }) => {
      if (minor >= VALIDATED) refuse(checkKnownSpecs(body.extra_specs));
      ok(await setExtraSpecs(p, params.id, body.extra_specs));
      return { status: 200, body: { extra_specs: body.extra_specs } };
    },
  }),
  route({
    method: 'GET',
    url: `${SPECS}/:key`,
    service: 'compute',
    summary: 'Show one extra spec',
    policy: 'os_compute_api:os-flavor-extra-specs:show',
    params: IdAndKeyParams,
    answers: { 200: StringMap },
    handle: async ({ p, actor, params }) => {
      const { extraSpecs } = await flavorFor(p, actor, params.id);
      const value = Object.hasOwn(extraSpecs, params.key) ? extraSpecs[params.key] : undefined;
      if (value === undefined) throw notFound(extraSpecNotFound(params.id, params.key).message);
      return { status: 200, body: { [params.key]: value } };
    },
  }),
  route({
    method: 'PUT',
    url: `${SPECS}/:key`,
    service: 'compute',
    summary: 'Replace one extra spec',
    policy: 'os_compute_api:os-flavor-extra-specs:update',
    params: IdAndKeyParams,
    body: SpecsBody,
    answers: { 200: StringMap },
    handle: async ({ p, params, body, minor }) => {
      if (minor >= VALIDATED) refuse(checkKnownSpecs(body));
      const value = Object.hasOwn(body, params.key) ? body[params.key] : undefined;
      if (value === undefined || Object.keys(body).length !== 1) throw badRequest('Request body and URI mismatch');
      ok(await setExtraSpecs(p, params.id, { [params.key]: value }));
      return { status: 200, body: { [params.key]: value } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${SPECS}/:key`,
    service: 'compute',
    summary: 'Delete one extra spec',
    policy: 'os_compute_api:os-flavor-extra-specs:delete',
    params: IdAndKeyParams,
    answers: { 200: null },
    handle: async ({ p, params }) => {
      ok(await deleteExtraSpec(p, params.id, params.key));
      return { status: 200 };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/flavors/:id/os-flavor-access`,
    service: 'compute',
    summary: 'List the projects that may use a private flavor',
    policy: 'os_compute_api:os-flavor-access',
    params: IdParams,
    answers: { 200: object({ flavor_access: Access }) },
    handle: async ({ p, actor, params }) => {
      const flavor = await flavorFor(p, actor, params.id);
      if (flavor.isPublic) throw notFound('Access list not available for public flavors.');
      return { status: 200, body: { flavor_access: await accessOf(p, params.id) } };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/flavors/:id/action`,
    service: 'compute',
    summary: 'Give a project access to a private flavor, or take it',
    policy: byBody({
      addTenantAccess: 'os_compute_api:os-flavor-access:add_tenant_access',
      removeTenantAccess: 'os_compute_api:os-flavor-access:remove_tenant_access',
    }),
    params: IdParams,
    body: Type.Union([
      object({ addTenantAccess: object({ tenant: Type.String({ minLength: 1, maxLength: 255 }) }) }),
      object({ removeTenantAccess: object({ tenant: Type.String({ minLength: 1, maxLength: 255 }) }) }),
    ]),
    answers: { 200: object({ flavor_access: Access }) },
    handle: async ({ p, actor, params, body }) => {
      await change(p, actor, params.id, body);
      return { status: 200, body: { flavor_access: await accessOf(p, params.id) } };
    },
  }),
];

type AccessChange = { addTenantAccess: { tenant: string } } | { removeTenantAccess: { tenant: string } };

async function change(p: Platform, actor: Actor, flavorId: string, body: AccessChange): Promise<void> {
  await flavorFor(p, actor, flavorId);
  if ('addTenantAccess' in body) {
    await requireProject(p, actor, body.addTenantAccess.tenant);
    refuse(await grantFlavor(p, flavorId, body.addTenantAccess.tenant));
  } else refuse(await revokeFlavor(p, flavorId, body.removeTenantAccess.tenant));
}

const accessOf = async (p: Platform, flavorId: string): Promise<object[]> =>
  (await flavorAccess(p, flavorId)).map((tenant) => ({ flavor_id: flavorId, tenant_id: tenant }));

function ok(result: FlavorResult): void {
  if (result.kind === 'refused') throw errorOf(result.refusal);
}
