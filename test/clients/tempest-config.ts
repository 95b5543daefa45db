// Tempest's configuration for the system under test. What is off says why.
import { EXTENSIONS } from '../../src/api/network/extensions.ts';
import { PASSWORD, type Seeded } from './system.ts';

/** How long Tempest waits for a server; emulated guests are slow. */
const BUILD_TIMEOUT_S = { simulated: 120, qemu: 600 } as const;

type Section = Readonly<Record<string, string | number | boolean>>;

/** The text of tempest.conf; `directory` is Tempest's own, for logs and locks. */
export function tempestConfig(system: Seeded, directory: string): string {
  const { url, images, flavors, publicNetwork } = system;
  const buildTimeout = BUILD_TIMEOUT_S[system.hypervisor];
  const sections: Readonly<Record<string, Section>> = {
    DEFAULT: { debug: true, log_dir: directory, log_file: 'tempest.log', use_stderr: false },
    oslo_concurrency: { lock_path: directory },
    auth: {
      use_dynamic_credentials: true,
      // Who logs into guests pays for a network of each project's own: interfaces with addresses of one's choice want one.
      create_isolated_networks: system.logins,
      default_credentials_domain_name: 'Default',
      tempest_roles: 'member',
      admin_username: 'admin',
      admin_password: PASSWORD,
      admin_project_name: 'admin',
      admin_domain_name: 'Default',
    },
    identity: {
      uri_v3: `${url}/identity/v3`,
      auth_version: 'v3',
      region: 'RegionOne',
      v3_endpoint_type: 'public',
      default_domain_id: 'default',
    },
    'identity-feature-enabled': { api_v2: false, api_v2_admin: false, api_v3: true, application_credentials: true },
    service_available: { nova: true, glance: true, neutron: true, cinder: true, swift: false, horizon: false },
    compute: {
      image_ref: images[0],
      image_ref_alt: images[1],
      flavor_ref: flavors[0],
      flavor_ref_alt: flavors[1],
      fixed_network_name: 'shared',
      min_compute_nodes: 2,
      build_interval: 1,
      build_timeout: buildTimeout,
      shelved_offload_time: 0,
      volume_device_name: 'vdb',
      min_microversion: 2.1,
      max_microversion: 'latest',
    },
    'compute-feature-enabled': {
      resize: true,
      cold_migration: true,
      // Not there yet: moves are cold.
      live_migration: false,
      block_migration_for_live_migration: false,
      volume_backed_live_migration: false,
      pause: true,
      suspend: true,
      shelve: true,
      shelve_migrate: true,
      snapshot: true,
      rescue: true,
      stable_rescue: true,
      // No agent in guests could set it.
      change_password: false,
      console_output: true,
      vnc_console: true,
      serial_console: true,
      spice_console: false,
      interface_attach: true,
      metadata_service: false,
      // Servers' metadata, too, is taken for Xen's. What is truly gone with Xen is left out of the lists.
      xenapi_apis: true,
      config_drive: true,
      // Files into guests: Nova took them away with 2.57.
      personality: false,
      attach_encrypted_volume: false,
      volume_multiattach: true,
      // A volume is detached and the other one attached.
      swap_volume: false,
      disk_config: true,
      enable_instance_password: true,
      hostname_fqdn_sanitization: true,
      scheduler_enabled_filters: [
        'AvailabilityZoneFilter',
        'ComputeFilter',
        'ComputeCapabilitiesFilter',
        'ImagePropertiesFilter',
        'ServerGroupAntiAffinityFilter',
        'ServerGroupAffinityFilter',
        'SameHostFilter',
        'DifferentHostFilter',
      ].join(','),
    },
    validation: validationOf(system),
    network: {
      public_network_id: publicNetwork.id,
      floating_network_name: publicNetwork.name,
      // Where guests are logged into, that is by floating IPs alone.
      project_networks_reachable: !system.logins,
      project_network_cidr: '10.100.0.0/16',
      project_network_mask_bits: 28,
      build_interval: 1,
      build_timeout: 60,
    },
    'network-feature-enabled': {
      ipv6: false,
      floating_ips: true,
      port_security: true,
      // What is about others is skipped.
      api_extensions: EXTENSIONS.map(([alias]) => alias).join(','),
    },
    scenario: { img_file: system.disk.file, img_disk_format: system.disk.format, img_container_format: 'bare' },
    image: {
      build_interval: 1,
      build_timeout: 120,
      container_formats: 'bare',
      // The first is what images of random bytes are made as.
      disk_formats: 'raw,qcow2',
      // Only so that the classes are not skipped that would import from a URL.
      http_image: 'http://127.0.0.1:9/none',
    },
    volume: {
      catalog_type: 'volumev3',
      vendor_name: 'Crosscell',
      storage_protocol: 'nbd',
      build_interval: 1,
      build_timeout: 120,
      volume_size: 1,
      min_microversion: '3.0',
      max_microversion: 'latest',
    },
    'volume-feature-enabled': { backup: false, snapshot: true, clone: true },
  };
  return Object.entries(sections)
    .flatMap(([name, section]) => [
      `[${name}]`,
      ...Object.entries(section).map(([key, value]) => `${key} = ${value}`),
      '',
    ])
    .join('\n');
}

/** Simulated guests have nobody to log into. */
function validationOf({ logins }: Seeded): Section {
  if (!logins) return { run_validation: false };
  return {
    run_validation: true,
    connect_method: 'floating',
    image_ssh_user: 'root',
    image_alt_ssh_user: 'root',
    ssh_timeout: BUILD_TIMEOUT_S.qemu,
    ping_timeout: 60,
    // The shell's own blkid knows no labels of CDs.
    ssh_shell_prologue: 'set -eu -o pipefail; PATH=$$PATH:/sbin; blkid() { /bin/blkid "$@"; };',
  };
}

/** Where stestr finds Tempest's tests; a class is not torn apart. */
export const stestrConfig = (packages: string): string =>
  [
    '[DEFAULT]',
    `test_path=${packages}/tempest/test_discover`,
    `top_dir=${packages}`,
    String.raw`group_regex=([^\.]*\.)*`,
    '',
  ].join('\n');
