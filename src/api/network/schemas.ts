// Shapes of the network API v2.0 on the wire, as Neutron's (neutron-lib/api/definitions). What the embedded service has
// no choice about (admin_state_up, enable_dhcp, …) is taken only as it is.
import { Type } from 'typebox';

const text = Type.String({ maxLength: 255 });
const flag = Type.String({ pattern: '^([Tt]rue|[Ff]alse|1|0)$' });
const values = Type.Optional(Type.Array(text, { maxItems: 100 }));
const ipv4 = Type.String({ format: 'ipv4', maxLength: 15 });
const strict = { additionalProperties: false };

export const Params = Type.Object({ id: text }, strict);

const listing = {
  fields: values,
  id: values,
  name: values,
  project_id: values,
  tenant_id: values,
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })),
  marker: Type.Optional(text),
  sort_key: Type.Optional(Type.Literal('id')),
  sort_dir: Type.Optional(Type.Literal('asc')),
};
export const ShowQuery = Type.Object({ fields: values }, strict);
export const NetworkQuery = Type.Object(
  {
    ...listing,
    shared: Type.Optional(flag),
    status: values,
    admin_state_up: Type.Optional(flag),
    'router:external': Type.Optional(flag),
  },
  strict,
);
export const SubnetQuery = Type.Object(
  {
    ...listing,
    network_id: values,
    cidr: values,
    ip_version: Type.Optional(Type.Integer()),
    enable_dhcp: Type.Optional(flag),
  },
  strict,
);
export const PortQuery = Type.Object(
  {
    ...listing,
    network_id: values,
    device_id: values,
    device_owner: values,
    mac_address: values,
    status: values,
    admin_state_up: Type.Optional(flag),
    'binding:host_id': values,
    /** `ip_address=10.0.0.5` or `subnet_id=…`, as in Neutron. */
    fixed_ips: values,
  },
  strict,
);
/** Filters of lists that are always empty here. */
export const EmptyListQuery = Type.Object({}, { additionalProperties: Type.Union([text, Type.Array(text)]) });

const project = { project_id: Type.Optional(text), tenant_id: Type.Optional(text) };
const up = Type.Optional(Type.Literal(true));

export const CreateNetwork = Type.Object(
  {
    network: Type.Object(
      { ...project, name: Type.Optional(text), admin_state_up: up, shared: Type.Optional(Type.Boolean()) },
      strict,
    ),
  },
  strict,
);
export const UpdateNetwork = Type.Object(
  { network: Type.Object({ name: Type.Optional(text), admin_state_up: up }, strict) },
  strict,
);
export const CreateSubnet = Type.Object(
  {
    subnet: Type.Object(
      {
        ...project,
        network_id: text,
        name: Type.Optional(text),
        ip_version: Type.Literal(4),
        cidr: Type.String({ maxLength: 18 }),
        gateway_ip: Type.Optional(ipv4),
        allocation_pools: Type.Optional(
          Type.Array(Type.Object({ start: ipv4, end: ipv4 }, strict), { minItems: 1, maxItems: 1 }),
        ),
        enable_dhcp: up,
      },
      strict,
    ),
  },
  strict,
);
export const CreatePort = Type.Object(
  {
    port: Type.Object(
      {
        ...project,
        network_id: text,
        name: Type.Optional(text),
        admin_state_up: up,
        fixed_ips: Type.Optional(
          Type.Array(Type.Object({ subnet_id: Type.Optional(text), ip_address: Type.Optional(ipv4) }, strict), {
            maxItems: 1,
          }),
        ),
        security_groups: Type.Optional(Type.Array(text, { maxItems: 0 })),
      },
      strict,
    ),
  },
  strict,
);
export const UpdatePort = Type.Object(
  { port: Type.Object({ name: Type.Optional(text), admin_state_up: up }, strict) },
  strict,
);

const texts = Type.Array(Type.String());
const nothing = Type.Array(Type.Unknown(), { maxItems: 0 });
const record = {
  id: Type.String(),
  name: Type.String(),
  description: Type.Literal(''),
  project_id: Type.String(),
  tenant_id: Type.String(),
  tags: nothing,
  revision_number: Type.Integer(),
  created_at: Type.String(),
  updated_at: Type.String(),
};

/** `?fields=` leaves out what is not named, so nothing is required. */
export const Network = Type.Partial(
  Type.Object({
    ...record,
    admin_state_up: Type.Literal(true),
    status: Type.Literal('ACTIVE'),
    shared: Type.Boolean(),
    mtu: Type.Integer(),
    subnets: texts,
    'router:external': Type.Literal(false),
    port_security_enabled: Type.Literal(false),
    availability_zones: nothing,
    availability_zone_hints: nothing,
  }),
  strict,
);
export const Subnet = Type.Partial(
  Type.Object({
    ...record,
    network_id: Type.String(),
    ip_version: Type.Literal(4),
    cidr: Type.String(),
    gateway_ip: Type.String(),
    allocation_pools: Type.Array(Type.Object({ start: Type.String(), end: Type.String() }, strict)),
    enable_dhcp: Type.Literal(true),
    dns_nameservers: nothing,
    host_routes: nothing,
    ipv6_address_mode: Type.Null(),
    ipv6_ra_mode: Type.Null(),
    subnetpool_id: Type.Null(),
    service_types: nothing,
  }),
  strict,
);
export const Port = Type.Partial(
  Type.Object({
    ...record,
    network_id: Type.String(),
    mac_address: Type.String(),
    fixed_ips: Type.Array(Type.Object({ subnet_id: Type.String(), ip_address: Type.String() }, strict)),
    admin_state_up: Type.Literal(true),
    status: Type.Union([Type.Literal('ACTIVE'), Type.Literal('DOWN')]),
    device_id: Type.String(),
    device_owner: Type.String(),
    security_groups: nothing,
    allowed_address_pairs: nothing,
    extra_dhcp_opts: nothing,
    port_security_enabled: Type.Literal(false),
    'binding:vnic_type': Type.Literal('normal'),
    'binding:host_id': Type.String(),
    'binding:vif_type': Type.String(),
    'binding:vif_details': Type.Object({}, strict),
    'binding:profile': Type.Object({}, strict),
  }),
  strict,
);

const links = Type.Optional(
  Type.Array(Type.Object({ rel: Type.Literal('next'), href: Type.String() }, strict), { maxItems: 1 }),
);
export const OneNetwork = Type.Object({ network: Network }, strict);
export const OneSubnet = Type.Object({ subnet: Subnet }, strict);
export const OnePort = Type.Object({ port: Port }, strict);
export const Networks = Type.Object({ networks: Type.Array(Network), networks_links: links }, strict);
export const Subnets = Type.Object({ subnets: Type.Array(Subnet), subnets_links: links }, strict);
export const Ports = Type.Object({ ports: Type.Array(Port), ports_links: links }, strict);
/** `?fields=` leaves out what is not named. */
export const Binding = Type.Partial(
  Type.Object({
    host: Type.String(),
    status: Type.Union([Type.Literal('ACTIVE'), Type.Literal('INACTIVE')]),
    vif_type: Type.String(),
    vnic_type: Type.Literal('normal'),
    vif_details: Type.Object({}, strict),
    profile: Type.Record(Type.String(), Type.Unknown()),
  }),
  strict,
);
export const OneBinding = Type.Object({ binding: Binding }, strict);
export const BindingParams = Type.Object({ id: text, host: text }, strict);
export const BindingQuery = Type.Object(
  { fields: values, host: values, status: values, vif_type: values, vnic_type: values },
  strict,
);
const profile = Type.Optional(Type.Record(Type.String(), Type.Unknown()));
const vnic = Type.Optional(Type.Literal('normal'));
export const CreateBinding = Type.Object(
  { binding: Type.Object({ host: Type.String({ minLength: 1, maxLength: 255 }), vnic_type: vnic, profile }, strict) },
  strict,
);
export const UpdateBinding = Type.Object({ binding: Type.Object({ vnic_type: vnic, profile }, strict) }, strict);
export const Extension = Type.Object(
  {
    alias: Type.String(),
    name: Type.String(),
    description: Type.String(),
    updated: Type.String(),
    links: nothing,
  },
  strict,
);
export const Quota = Type.Object({ quota: Type.Record(Type.String(), Type.Integer()) }, strict);
