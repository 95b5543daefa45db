// Bindings of a port to hosts: Neutron's extension binding-extended. For operators.
import { type Static, Type } from 'typebox';
import {
  activateBinding,
  addBinding,
  type BindingRecord,
  findBinding,
  listBindings,
  removeBinding,
  updateBinding,
} from '../../control/network/bindings.ts';
import { type Route, route } from '../http/route.ts';
import { VIF_TYPE } from './ports.ts';
import { orThrow } from './refusals.ts';
import { only, Params, ShowQuery, strict, text, values } from './shapes.ts';

const URL = '/network/v2.0/ports/:id/bindings';
const service = 'network' as const;

/** `?fields=` leaves out what is not named. */
const Binding = Type.Partial(
  Type.Object({
    host: Type.String(),
    status: Type.Enum(['ACTIVE', 'INACTIVE']),
    vif_type: Type.String(),
    vnic_type: Type.Literal('normal'),
    vif_details: Type.Object({}, strict),
    profile: Type.Record(Type.String(), Type.Unknown()),
  }),
  strict,
);
const OneBinding = Type.Object({ binding: Binding }, strict);
const BindingParams = Type.Object({ id: text, host: text }, strict);
const BindingQuery = Type.Object(
  { fields: values, host: values, status: values, vif_type: values, vnic_type: values },
  strict,
);
const profile = Type.Optional(Type.Record(Type.String(), Type.Unknown()));
const vnic_type = Type.Optional(Type.Literal('normal'));
const CreateBinding = Type.Object(
  { binding: Type.Object({ host: Type.String({ minLength: 1, maxLength: 255 }), vnic_type, profile }, strict) },
  strict,
);
const UpdateBinding = Type.Object({ binding: Type.Object({ vnic_type, profile }, strict) }, strict);

export const bindingRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: URL, service, summary: 'Show on which hosts a port is bound', policy: 'get_port_binding' },
    params: Params,
    query: BindingQuery,
    answers: { 200: Type.Object({ bindings: Type.Array(Binding) }, strict) },
    handle: async ({ p, actor, params, query }) => {
      const found = orThrow(await listBindings(p.stores.global, actor, params.id)).map(render);
      const shown = found.filter(
        (each) =>
          (query.host?.includes(each.host) ?? true) &&
          (query.status?.includes(each.status) ?? true) &&
          (query.vif_type?.includes(each.vif_type) ?? true) &&
          (query.vnic_type?.includes(each.vnic_type) ?? true),
      );
      return { status: 200, body: { bindings: shown.map((each) => only(each, query.fields)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${URL}/:host`, service, summary: "Show a port's binding to a host" },
    policy: 'get_port_binding',
    params: BindingParams,
    query: ShowQuery,
    answers: { 200: OneBinding },
    handle: async ({ p, actor, params, query }) => {
      const found = orThrow(await findBinding(p.stores.global, actor, params.id, params.host));
      return { status: 200, body: { binding: only(render(found), query.fields) } };
    },
  }),
  route({
    ...{ method: 'POST', url: URL, service, summary: 'Bind a port to one more host', policy: 'create_port_binding' },
    params: Params,
    body: CreateBinding,
    answers: { 201: OneBinding },
    handle: async ({ p, actor, params, body: { binding } }) => {
      const wanted = { host: binding.host, profile: binding.profile ?? {} };
      const added = orThrow(await addBinding(p.stores.global, actor, params.id, wanted));
      return { status: 201, body: { binding: render(added) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${URL}/:host`, service, summary: "Change the profile of a port's binding" },
    policy: 'update_port_binding',
    params: BindingParams,
    body: UpdateBinding,
    answers: { 200: OneBinding },
    handle: async ({ p, actor, params, body: { binding } }) => {
      const change = binding.profile === undefined ? {} : { profile: binding.profile };
      const changed = orThrow(await updateBinding(p.stores.global, actor, params.id, params.host, change));
      return { status: 200, body: { binding: render(changed) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${URL}/:host/activate`, service, summary: "Make a port's binding the active one" },
    policy: 'activate_port_binding',
    params: BindingParams,
    answers: { 200: OneBinding },
    handle: async ({ p, actor, params }) => {
      const active = orThrow(await activateBinding(p.stores.global, actor, params.id, params.host));
      return { status: 200, body: { binding: render(active) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${URL}/:host`, service, summary: 'Delete a binding that is not active' },
    policy: 'delete_port_binding',
    params: BindingParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      orThrow(await removeBinding(p.stores.global, actor, params.id, params.host));
      return { status: 204 };
    },
  }),
];

const render = ({ host, active, profile }: BindingRecord): Required<Static<typeof Binding>> => ({
  ...{ host, status: active ? 'ACTIVE' : 'INACTIVE', vif_type: VIF_TYPE, vnic_type: 'normal', vif_details: {} },
  profile: { ...profile },
});
