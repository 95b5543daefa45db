// The service catalog of a Keystone token, and where in it a service answers. Pure.
import { type Static, Type } from 'typebox';
import type { Interface } from './settings.ts';

const Text = Type.String({ maxLength: 4096 });

/** As in the answer to POST /v3/auth/tokens. Fields that nobody here reads are left out. */
export const Catalog = Type.Array(
  Type.Object({
    type: Text,
    endpoints: Type.Array(
      Type.Object({
        interface: Text,
        region_id: Type.Optional(Type.Union([Text, Type.Null()])),
        region: Type.Optional(Type.Union([Text, Type.Null()])),
        url: Text,
      }),
      { maxItems: 10_000 },
    ),
  }),
  { maxItems: 1000 },
);
export type Catalog = Static<typeof Catalog>;

/** What is asked for by the names of service-types.openstack.org. */
export type ServiceType = 'image' | 'network' | 'block-storage' | 'placement';

/** Names under which a type stands in catalogs, the official one first, and the version that its paths begin with. */
const SERVICES: Readonly<Record<ServiceType, { readonly types: readonly string[]; readonly version: string }>> = {
  image: { types: ['image'], version: '/v2' },
  network: { types: ['network'], version: '/v2.0' },
  // The project's id follows the version, or not, as the deployment has it: the URL is taken as it is.
  'block-storage': { types: ['block-storage', 'volumev3', 'volume'], version: '' },
  placement: { types: ['placement'], version: '' },
};

export interface Place {
  readonly region: string;
  readonly interface: Interface;
}

/** Base URL of the service with its version and without a trailing slash; null: the catalog does not have it. */
export function endpointIn(catalog: Catalog, type: ServiceType, place: Place): string | null {
  const { types, version } = SERVICES[type];
  for (const name of types) {
    for (const { endpoints } of catalog.filter((entry) => entry.type === name)) {
      const found = endpoints.find(
        (each) => each.interface === place.interface && (each.region_id ?? each.region) === place.region,
      );
      if (found) return withVersion(found.url, version);
    }
  }
  return null;
}

/** Some deployments name the version in the catalog, some do not. */
function withVersion(url: string, version: string): string {
  const base = url.replace(/\/+$/, '');
  return version === '' ? base : `${base.replace(/\/v[0-9]+(\.[0-9]+)?$/, '')}${version}`;
}
