// Lists that old clients ask for: the extensions, frozen since 2.1, of which those are named that are really here; and
// server groups, of which there are none.
import { Type } from 'typebox';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, object, text } from './common.ts';

const Extension = object({
  name: text(),
  alias: text(),
  description: text(),
  namespace: text(),
  updated: text(),
  links: Type.Array(Type.Object({}), { maxItems: 0 }),
});

const EXTENSIONS = [
  ['os-aggregates', 'Aggregates', 'Host aggregates'],
  ['os-availability-zone', 'AvailabilityZone', 'Availability zones'],
  ['os-extended-availability-zone', 'ExtendedAvailabilityZone', 'Zone of a server'],
  ['os-extended-server-attributes', 'ExtendedServerAttributes', 'Host of a server'],
  ['os-extended-status', 'ExtendedStatus', 'States of a server'],
  ['os-flavor-access', 'FlavorAccess', 'Access to private flavors'],
  ['os-flavor-extra-specs', 'FlavorExtraSpecs', 'Extra specs of flavors'],
  ['os-hypervisors', 'Hypervisors', 'Hypervisors'],
  ['os-instance-actions', 'InstanceActions', 'Actions of a server'],
  ['os-keypairs', 'Keypairs', 'Key pairs'],
  ['os-lock-server', 'LockServer', 'Locking of servers'],
  ['os-migrate-server', 'MigrateServer', 'Cold migration'],
  ['os-migrations', 'Migrations', 'Migrations'],
  ['os-quota-sets', 'Quotas', 'Quotas'],
  ['os-services', 'Services', 'Compute services'],
].map(([alias = '', name = '', description = '']) => ({
  alias,
  name,
  description,
  namespace: 'http://docs.openstack.org/compute/ext/fake_xml',
  updated: '2014-12-03T00:00:00Z',
  links: [],
}));

export const extensionRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/extensions`,
    service: 'compute',
    summary: 'List extensions',
    policy: 'os_compute_api:extensions',
    answers: { 200: object({ extensions: Type.Array(Extension) }) },
    handle: () => ({ status: 200, body: { extensions: EXTENSIONS } }),
  }),
  route({
    method: 'GET',
    url: `${BASE}/extensions/:alias`,
    service: 'compute',
    summary: 'Show an extension',
    policy: 'os_compute_api:extensions',
    params: object({ alias: Type.String({ maxLength: 1024 }) }),
    answers: { 200: object({ extension: Extension }) },
    handle: ({ params }) => {
      const extension = EXTENSIONS.find((each) => each.alias === params.alias);
      if (!extension) throw notFound('The resource could not be found.');
      return { status: 200, body: { extension } };
    },
  }),
];
