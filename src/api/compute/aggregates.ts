// Host aggregates and, made from them, availability zones.
import { type Static, Type } from 'typebox';
import {
  type AggregateRecord,
  type AggregateResult,
  addAggregateHost,
  aggregateNotFound,
  createAggregate,
  deleteAggregate,
  findAggregate,
  listAggregates,
  removeAggregateHost,
  setAggregateMetadata,
  updateAggregate,
} from '../../control/aggregates.ts';
import { type HostRecord, listHosts } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Answer, byBody, type Route, route } from '../http/route.ts';
import { BASE, IdParams, nullable, object, StringMap, text } from './common.ts';

const Aggregate = object({
  id: Type.Integer(),
  uuid: Type.Optional(text()),
  name: text(),
  availability_zone: nullable(text()),
  hosts: Type.Array(text()),
  metadata: StringMap,
  created_at: text(),
  updated_at: nullable(text()),
  deleted: Type.Boolean(),
  deleted_at: Type.Null(),
});
const One = object({ aggregate: Aggregate });
const { hosts: _hosts, metadata: _metadata, ...bare } = Aggregate.properties;
/** A new one is answered without hosts and metadata, as in Nova. */
const Created = object({ aggregate: object(bare) });
const Name = Type.String({ minLength: 1, maxLength: 255 });
const HostBody = object({ host: Name });

export const aggregateRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-aggregates`,
    service: 'compute',
    summary: 'List host aggregates',
    policy: 'os_compute_api:os-aggregates:index',
    answers: { 200: object({ aggregates: Type.Array(Aggregate) }) },
    handle: async ({ p, minor }) => ({
      status: 200,
      body: { aggregates: (await listAggregates(p)).map((each) => render(each, minor)) },
    }),
  }),
  route({
    method: 'POST',
    url: `${BASE}/os-aggregates`,
    service: 'compute',
    summary: 'Create a host aggregate',
    policy: 'os_compute_api:os-aggregates:create',
    body: object({ aggregate: object({ name: Name, availability_zone: Type.Optional(nullable(Name)) }) }),
    answers: { 200: Created },
    handle: async ({ p, body, minor }) => {
      const result = await createAggregate(p, body.aggregate.name, body.aggregate.availability_zone ?? null);
      if (result.kind === 'refused') throw errorOf(result.refusal);
      const { hosts, metadata, ...aggregate } = render(result.aggregate, minor) as Record<string, unknown>;
      return { status: 200, body: { aggregate } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-aggregates/:id`,
    service: 'compute',
    summary: 'Show a host aggregate',
    policy: 'os_compute_api:os-aggregates:show',
    params: IdParams,
    answers: { 200: One },
    handle: async ({ p, params, minor }) => {
      const aggregate = await findAggregate(p, aggregateNumber(params.id));
      if (!aggregate) throw errorOf(aggregateNotFound(params.id.slice(0, 100)));
      return { status: 200, body: { aggregate: render(aggregate, minor) } };
    },
  }),
  route({
    method: 'PUT',
    url: `${BASE}/os-aggregates/:id`,
    service: 'compute',
    summary: 'Rename a host aggregate or change its zone',
    policy: 'os_compute_api:os-aggregates:update',
    params: IdParams,
    body: object({
      aggregate: Type.Object(
        { name: Type.Optional(Name), availability_zone: Type.Optional(nullable(Name)) },
        { additionalProperties: false, minProperties: 1 },
      ),
    }),
    answers: { 200: One },
    handle: async ({ p, params, body, minor }) => {
      const { name, availability_zone: zone } = body.aggregate;
      const change = { ...(name === undefined ? {} : { name }), ...(zone === undefined ? {} : { zone }) };
      return answer(await updateAggregate(p, aggregateNumber(params.id), change), minor);
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/os-aggregates/:id`,
    service: 'compute',
    summary: 'Delete a host aggregate that has no hosts',
    policy: 'os_compute_api:os-aggregates:delete',
    params: IdParams,
    answers: { 200: null },
    handle: async ({ p, params }) => {
      refuse(await deleteAggregate(p, aggregateNumber(params.id)));
      return { status: 200 };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/os-aggregates/:id/action`,
    service: 'compute',
    summary: 'Add or remove a host, set metadata',
    policy: byBody({
      add_host: 'os_compute_api:os-aggregates:add_host',
      remove_host: 'os_compute_api:os-aggregates:remove_host',
      set_metadata: 'os_compute_api:os-aggregates:set_metadata',
    }),
    params: IdParams,
    body: Type.Union([
      object({ add_host: HostBody }),
      object({ remove_host: HostBody }),
      object({
        set_metadata: object({
          metadata: Type.Record(Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }), nullable(text()), {
            additionalProperties: false,
            maxProperties: 128,
          }),
        }),
      }),
    ]),
    answers: { 200: One },
    handle: async ({ p, params, body, minor }) => {
      const id = aggregateNumber(params.id);
      if ('add_host' in body) return answer(await addAggregateHost(p, id, body.add_host.host), minor);
      if ('remove_host' in body) return answer(await removeAggregateHost(p, id, body.remove_host.host), minor);
      return answer(await setAggregateMetadata(p, id, body.set_metadata.metadata), minor);
    },
  }),
];

const Zone = object({
  zoneName: text(),
  zoneState: object({ available: Type.Boolean() }),
  hosts: Type.Union([
    Type.Null(),
    Type.Record(
      Type.String(),
      Type.Record(
        Type.String(),
        object({ available: Type.Boolean(), active: Type.Boolean(), updated_at: nullable(text()) }),
      ),
    ),
  ]),
});
const Zones = object({ availabilityZoneInfo: Type.Array(Zone) });

async function zonesWith(
  p: Platform,
  hostsOf: (hosts: readonly HostRecord[]) => Static<typeof Zone>['hosts'],
): Promise<Static<typeof Zone>[]> {
  const zones = Map.groupBy(await listHosts(p), (host) => host.zone);
  return [...zones].map(([zoneName, hosts]) => ({
    zoneName,
    zoneState: { available: hosts.some((host) => !host.disabled) },
    hosts: hostsOf(hosts),
  }));
}

const servicesOf = (hosts: readonly HostRecord[]) =>
  Object.fromEntries(
    hosts.map((host) => [
      host.name,
      {
        'nova-compute': {
          available: host.up,
          active: !host.disabled,
          updated_at: host.lastSeenAt === null ? null : isoMicroseconds(host.lastSeenAt),
        },
      },
    ]),
  );

export const zoneRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-availability-zone`,
    service: 'compute',
    summary: 'List availability zones',
    policy: 'os_compute_api:os-availability-zone:list',
    answers: { 200: Zones },
    handle: async ({ p }) => {
      return { status: 200, body: { availabilityZoneInfo: await zonesWith(p, () => null) } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-availability-zone/detail`,
    service: 'compute',
    summary: 'List availability zones with their hosts',
    policy: 'os_compute_api:os-availability-zone:detail',
    answers: { 200: Zones },
    handle: async ({ p }) => {
      return { status: 200, body: { availabilityZoneInfo: await zonesWith(p, servicesOf) } };
    },
  }),
];

/** A malformed number is one that does not exist. */
export const aggregateNumber = (text: string): number => (/^\d{1,9}$/.test(text) ? Number(text) : -1);

function answer(result: AggregateResult, minor: number): Answer {
  if (result.kind === 'refused') throw errorOf(result.refusal);
  return { status: 200, body: { aggregate: render(result.aggregate, minor) } };
}

const render = (aggregate: AggregateRecord, minor: number): object => ({
  id: aggregate.id,
  ...(minor >= 41 ? { uuid: aggregate.uuid } : {}),
  name: aggregate.name,
  availability_zone: aggregate.zone,
  hosts: aggregate.hosts,
  metadata: { ...aggregate.metadata, ...(aggregate.zone === null ? {} : { availability_zone: aggregate.zone }) },
  created_at: isoMicroseconds(aggregate.createdAt),
  updated_at: aggregate.updatedAt === null ? null : isoMicroseconds(aggregate.updatedAt),
  deleted: false,
  deleted_at: null,
});
