// Tables of the embedded network service, all in the global database. Columns as in global-schema.ts.
import type { Generated } from 'kysely';

/** What every record of the network service has. revision grows with each change that its user can see. */
interface Standard {
  id: string;
  name: string;
  description: Generated<string>;
  project_id: string;
  /** A list of texts. */
  tags_json: Generated<string>;
  revision: Generated<number>;
  created_at: number;
  updated_at: number;
}

export interface NetworkTables {
  networks: Standard & {
    /** 1: every project may use it. */
    shared: number;
    /** 1: floating IPs and routers' gateways are taken from it, and every project sees it. */
    external: Generated<number>;
    admin_state_up: Generated<number>;
    /** What its new ports have. */
    port_security: Generated<number>;
    mtu: number;
    /** A record; ''. */
    dns_domain: Generated<string>;
  };
  /** Projects that a network is shared with, one by one, by a network service elsewhere. */
  network_shares: { network_id: string; project_id: string };
  subnets: Standard & {
    network_id: string;
    cidr: string;
    /** Null: it has none. */
    gateway_ip: string | null;
    /** `[[first, last], …]`, dotted, in order, without overlap. */
    pools_json: string;
    dns_json: Generated<string>;
    /** `[{destination, nexthop}, …]` */
    routes_json: Generated<string>;
    enable_dhcp: Generated<number>;
    /** Device owners whose ports alone have addresses of it; none: all. */
    service_types_json: Generated<string>;
  };
  ports: Standard & {
    network_id: string;
    mac: string;
    /** Device tag of the server's port; null: none. */
    tag: string | null;
    /** The server that uses it, or ''. Written by the moves alone. */
    device_id: string;
    /** What else has it: a router, a floating IP, or what its user says; '' when a server has it, or nobody. */
    holder_id: Generated<string>;
    device_owner: string;
    /** 1: a user made it, and keeps it when a server lets go of it. */
    by_user: Generated<number>;
    /** When its server got it; null: it has none. */
    attached_at: number | null;
    /** Where an operator says that it is (binding:host_id). A server's port is where its active binding is. */
    wanted_host: Generated<string>;
    admin_state_up: Generated<number>;
    port_security: Generated<number>;
    /** `[{ip_address, mac_address}, …]` */
    address_pairs_json: Generated<string>;
    /** `[{opt_name, opt_value, ip_version}, …]` */
    dhcp_options_json: Generated<string>;
    dns_name: Generated<string>;
    /** `normal`, or another of Neutron's, of which no guest here can have a card. */
    vnic_type: Generated<string>;
    /** Free for the operator's use. */
    profile_json: Generated<string>;
  };
  /** The addresses of ports. position: as they were asked for; a guest is told the first. */
  port_addresses: {
    port_id: string;
    position: number;
    subnet_id: string;
    ip: string;
  };
  /** At most one active binding per port. generation: fence of the saga that last changed it; older ones are refused. */
  port_bindings: {
    port_id: string;
    host: string;
    active: number;
    generation: number;
    /** 1: an operator asked for it, and only an operator deletes it. */
    by_operator: Generated<number>;
    /** Free for the operator's use. Null: that of its port. */
    profile_json: string | null;
  };
  /** is_default 1: the one of its project that ports have when none is named. */
  security_groups: Standard & { is_default: Generated<number>; stateful: Generated<number> };
  security_group_rules: Omit<Standard, 'name'> & {
    group_id: string;
    direction: string;
    ethertype: string;
    /** A name or a number, as it was given; null: every one. */
    protocol: string | null;
    port_min: number | null;
    port_max: number | null;
    remote_prefix: string | null;
    remote_group_id: string | null;
  };
  port_security_groups: { port_id: string; group_id: string };
  routers: Standard & {
    admin_state_up: Generated<number>;
    /** Its gateway's network; its port there has the router as holder. Null: it has none. */
    external_network_id: string | null;
    enable_snat: Generated<number>;
    routes_json: Generated<string>;
  };
  floating_ips: Omit<Standard, 'name'> & {
    network_id: string;
    /** Its own port on the external network. */
    port_id: string;
    ip: string;
    /** The port that it leads to, that port's address, and the router between them; null: to none. */
    fixed_port_id: string | null;
    fixed_ip: string | null;
    router_id: string | null;
    /** Records; ''. */
    dns_name: Generated<string>;
    dns_domain: Generated<string>;
  };
}
