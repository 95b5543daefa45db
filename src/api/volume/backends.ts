// Storage hosts in Cinder's words: services, pools, zones; and the list of extensions, which is empty.
import { Type } from 'typebox';
import {
  listStorageHosts,
  type StorageHostRecord,
  setStorageHostDisabled,
} from '../../control/volumes/storage-hosts.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { booleanOf, nullable, object, text } from '../compute/common.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { V3 } from './common.ts';
import { backendOf, hostOf } from './render.ts';
import { SnapshotQuery, VolumeQuery } from './schemas.ts';

const service = 'volume' as const;

/** Parameters of lists that are no filters. */
const PAGING = ['limit', 'offset', 'marker', 'sort', 'sort_key', 'sort_dir', 'all_tenants', 'with_count', 'name~'];
const filtersOf = (resource: string, { properties }: { readonly properties: object }) => ({
  resource,
  filters: Object.keys(properties).filter((name) => !PAGING.includes(name)),
});
const FILTERS = [filtersOf('volume', VolumeQuery), filtersOf('snapshot', SnapshotQuery)];
const BINARY = 'cinder-volume';

const Service = object({
  binary: text(),
  host: text(),
  zone: text(),
  status: Type.Enum(['enabled', 'disabled']),
  state: Type.Enum(['up', 'down']),
  updated_at: text(),
  disabled_reason: Type.Null(),
  frozen: Type.Boolean(),
  replication_status: text(),
  active_backend_id: Type.Null(),
  backend_state: Type.Optional(text()),
  cluster: Type.Optional(Type.Null()),
});

const ServiceBody = object({
  host: text(),
  binary: Type.Optional(text()),
  service: Type.Optional(text()),
  disabled_reason: Type.Optional(nullable(text())),
});
const Switched = object({
  host: text(),
  service: text(),
  binary: text(),
  disabled: Type.Boolean(),
  status: text(),
  disabled_reason: Type.Optional(nullable(text())),
});

const renderService = (host: StorageHostRecord, zone: string, minor: number): object => ({
  ...{ binary: BINARY, host: backendOf(host.name), zone, status: host.disabled ? 'disabled' : 'enabled' },
  ...{ state: host.up ? 'up' : 'down', updated_at: isoMicroseconds(host.lastSeenAt ?? host.updatedAt) },
  ...{ disabled_reason: null, frozen: false, replication_status: 'disabled', active_backend_id: null },
  ...(minor >= 7 ? { cluster: null } : {}),
  ...(minor >= 49 ? { backend_state: host.up ? 'up' : 'down' } : {}),
});

const renderPool = (host: StorageHostRecord, detail: boolean): object => ({
  name: hostOf(host.name),
  ...(detail
    ? {
        capabilities: {
          ...{ volume_backend_name: host.name, driver_version: '1', vendor_name: 'Crosscell' },
          ...{ storage_protocol: 'nbd', total_capacity_gb: host.totalGb, free_capacity_gb: host.freeGb },
          ...{ reserved_percentage: 0, QoS_support: false, multiattach: true, thin_provisioning_support: true },
          ...{ timestamp: isoMicroseconds(host.lastSeenAt ?? host.updatedAt), updated: null },
        },
      }
    : {}),
});

/** The name of a storage host, also where clients write it as host@backend#pool. */
const nameOf = (host: string): string => host.split('@', 1)[0] ?? '';

const switching = (verb: 'enable' | 'disable' | 'disable-log-reason', summary: string): Route =>
  route({
    ...{ method: 'PUT', url: `${V3}/os-services/${verb}`, service, summary },
    policy: 'volume_extension:services:update',
    body: ServiceBody,
    answers: { 200: Switched },
    handle: async ({ p, body }) => {
      const disabled = verb !== 'enable';
      const name = body.binary ?? body.service ?? BINARY;
      if (name !== BINARY) throw notFound(`Service ${name} could not be found on host ${body.host}.`);
      if (verb === 'disable-log-reason' && !body.disabled_reason) throw badRequest('Missing disabled reason field');
      refuse(await setStorageHostDisabled(p, nameOf(body.host), disabled));
      const answer = { host: body.host, service: name, binary: name, disabled };
      const reason = verb === 'disable' ? {} : { disabled_reason: body.disabled_reason ?? null };
      return { status: 200, body: { ...answer, status: disabled ? 'disabled' : 'enabled', ...reason } };
    },
  });

export const backendRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V3}/os-services`, service, summary: 'List storage hosts as services' },
    policy: 'volume_extension:services:index',
    query: object({ host: Type.Optional(text()), binary: Type.Optional(text()) }),
    answers: { 200: object({ services: Type.Array(Service) }) },
    handle: async ({ p, query, minor }) => {
      const hosts = (await listStorageHosts(p))
        .filter((each) => query.host === undefined || each.name === nameOf(query.host))
        .filter(() => query.binary === undefined || query.binary === BINARY);
      return {
        status: 200,
        body: { services: hosts.map((each) => renderService(each, p.settings.defaultZone, minor)) },
      };
    },
  }),
  switching('enable', 'Let new volumes go to a storage host'),
  switching('disable', 'Let no new volumes go to a storage host'),
  switching('disable-log-reason', 'The same, with a reason, which is not kept'),
  route({
    ...{ method: 'GET', url: `${V3}/scheduler-stats/get_pools`, service, summary: 'List storage hosts as pools' },
    policy: 'scheduler_extension:scheduler_stats:get_pools',
    query: object({ detail: Type.Optional(text(10)) }),
    answers: {
      200: object({
        pools: Type.Array(object({ name: text(), capabilities: Type.Optional(Type.Object({})) })),
      }),
    },
    handle: async ({ p, query }) => {
      const detail = booleanOf(query.detail) === true;
      return { status: 200, body: { pools: (await listStorageHosts(p)).map((each) => renderPool(each, detail)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/os-availability-zone`, service, summary: 'List zones of volumes: the default one' },
    policy: 'anyone',
    answers: {
      200: object({
        availabilityZoneInfo: Type.Array(
          object({ zoneName: text(), zoneState: object({ available: Type.Boolean() }) }),
        ),
      }),
    },
    handle: async ({ p }) => {
      const available = (await listStorageHosts(p)).some((each) => each.up && !each.disabled);
      const zone = { zoneName: p.settings.defaultZone, zoneState: { available } };
      return { status: 200, body: { availabilityZoneInfo: [zone] } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/resource_filters`, service, summary: 'List what lists can be filtered by' },
    policy: 'anyone',
    since: 33,
    query: object({ resource: Type.Optional(text()) }),
    answers: {
      200: object({ resource_filters: Type.Array(object({ resource: text(), filters: Type.Array(text()) })) }),
    },
    handle: ({ query }) => {
      const asked = FILTERS.filter(({ resource }) => query.resource === undefined || query.resource === resource);
      return { status: 200, body: { resource_filters: asked } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/extensions`, service, summary: 'List extensions: none' },
    policy: 'anyone',
    answers: { 200: object({ extensions: Type.Array(Type.Object({}), { maxItems: 0 }) }) },
    handle: () => ({ status: 200, body: { extensions: [] } }),
  }),
];
