// The four services beside compute: what clients make, read, change and delete, and what is refused.
import { asking, type Step, waiting } from '../exchange.ts';
import { DEFENDED } from './defended.ts';

const identity = asking('identity');
const image = asking('image');
const network = asking('network');
const volume = asking('volumev3');
const until = waiting('volumev3');
const NOWHERE = '11111111-2222-4333-8444-555555555555';

export const identityWalk: readonly Step[] = [
  identity('GET', ''),
  identity('GET', '/projects?name=admin'),
  identity('GET', '/projects/absent'),
  identity('POST', '/projects', {
    body: { project: { name: 'compare', domain_id: 'default' } },
    keep: { otherProject: 'project.id' },
  }),
  identity('POST', '/projects', { body: { project: { name: 'compare', domain_id: 'default' } } }),
  identity('PATCH', '/projects/{otherProject}', {
    body: { project: { description: 'for a comparison' } },
    defended: DEFENDED.projectExtra,
  }),
  identity('GET', '/users?name=admin', { defended: DEFENDED.moreIdentity }),
  identity('POST', '/users', {
    body: { user: { name: 'compare', password: 'compare-secret', domain_id: 'default' } },
    keep: { otherUser: 'user.id' },
  }),
  identity('POST', '/users', { body: { user: { domain_id: 'default' } }, defended: DEFENDED.schemaWords }),
  identity('GET', '/users/{otherUser}'),
  identity('GET', '/roles?name=member', { keep: { role: 'roles.0.id' }, defended: DEFENDED.roleOptions }),
  identity('PUT', '/projects/{otherProject}/users/{otherUser}/roles/{role}'),
  identity('GET', '/role_assignments?user.id={otherUser}'),
  identity('GET', '/auth/projects'),
  identity('GET', '/auth/catalog'),
  identity('GET', '/domains'),
  identity('GET', '/services', { defended: DEFENDED.moreIdentity }),
  identity('GET', '/endpoints'),
  identity('POST', '/auth/tokens', {
    body: {
      auth: {
        identity: {
          methods: ['password'],
          password: { user: { name: 'compare', domain: { id: 'default' }, password: 'compare-secret' } },
        },
        scope: { project: { id: '{otherProject}' } },
      },
    },
  }),
  identity('POST', '/auth/tokens', {
    body: {
      auth: {
        identity: {
          methods: ['password'],
          password: { user: { name: 'compare', domain: { id: 'default' }, password: 'wrong' } },
        },
      },
    },
  }),
  identity('POST', '/auth/tokens', { body: { auth: {} }, defended: DEFENDED.schemaWords }),
  identity('GET', '/auth/tokens', { headers: { 'x-subject-token': 'nonsense' }, defended: DEFENDED.noSuchToken }),
  identity('DELETE', '/users/{otherUser}'),
  identity('DELETE', '/projects/{otherProject}'),
  identity('GET', '/projects/{otherProject}'),
];

export const imageWalk: readonly Step[] = [
  image('GET', '/images', { defended: DEFENDED.imagePlaces }),
  image('GET', '/images/{image}', { defended: DEFENDED.imagePlaces }),
  image('GET', `/images/${NOWHERE}`, { defended: DEFENDED.imageErrors }),
  image('POST', '/images', {
    body: { name: 'compare', disk_format: 'raw', container_format: 'bare' },
    keep: { ours: 'id' },
  }),
  image('POST', '/images', { body: { name: 'compare', disk_format: 'floppy' }, defended: DEFENDED.imageErrors }),
  image('GET', '/images/{ours}/file'),
  image('PATCH', '/images/{ours}', {
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
    body: [{ op: 'replace', path: '/name', value: 'compared' }],
  }),
  image('PATCH', '/images/{ours}', {
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
    body: [{ op: 'replace', path: '/status', value: 'active' }],
    defended: DEFENDED.imageErrors,
  }),
  image('PUT', '/images/{ours}/tags/compared'),
  image('PUT', '/images/{ours}/file', { headers: { 'content-type': 'application/octet-stream' }, body: 'bytes' }),
  image('GET', '/images/{ours}', { defended: DEFENDED.imagePlaces }),
  image('GET', '/images/{ours}/members'),
  image('GET', '/images?limit=0'),
  image('GET', '/images?sort_key=nothing', { defended: DEFENDED.imageErrors }),
  image('GET', '/schemas/image', { defended: DEFENDED.imageSchemas }),
  image('GET', '/info/import'),
  image('DELETE', '/images/{ours}'),
  image('DELETE', '/images/{ours}', { defended: DEFENDED.imageErrors }),
];

export const networkWalk: readonly Step[] = [
  network('GET', '/networks', { defended: DEFENDED.providers }),
  network('GET', `/networks/${NOWHERE}`),
  network('GET', '/extensions'),
  network('POST', '/networks', {
    body: { network: { name: 'compare' } },
    keep: { ours: 'network.id' },
    defended: DEFENDED.madeNetwork,
  }),
  network('POST', '/subnets', {
    body: { subnet: { network_id: '{ours}', ip_version: 4, cidr: '10.77.0.0/24' } },
    keep: { subnet: 'subnet.id' },
  }),
  network('POST', '/subnets', { body: { subnet: { network_id: '{ours}', ip_version: 4, cidr: '10.77.0.0/25' } } }),
  network('POST', '/subnets', { body: { subnet: { network_id: '{ours}', ip_version: 4, cidr: 'wide' } } }),
  network('GET', '/subnets/{subnet}'),
  network('POST', '/ports', {
    body: { port: { network_id: '{ours}' } },
    keep: { port: 'port.id' },
    defended: DEFENDED.portNames,
  }),
  network('POST', '/ports', { body: { port: { network_id: NOWHERE } } }),
  network('GET', '/ports/{port}', { defended: DEFENDED.portNames }),
  network('PUT', '/ports/{port}', { body: { port: { name: 'compared' } }, defended: DEFENDED.portNames }),
  network('DELETE', '/networks/{ours}'),
  network('GET', '/security-groups?name=default', { defended: DEFENDED.innerNumbers }),
  network('POST', '/security-groups', {
    body: { security_group: { name: 'compare' } },
    defended: DEFENDED.innerNumbers,
    keep: { group: 'security_group.id' },
  }),
  network('POST', '/security-group-rules', {
    body: {
      security_group_rule: {
        ...{ security_group_id: '{group}', direction: 'ingress', ethertype: 'IPv4' },
        ...{ protocol: 'tcp', port_range_min: 22, port_range_max: 22 },
      },
    },
    defended: DEFENDED.madeRule,
  }),
  network('POST', '/security-group-rules', {
    body: {
      security_group_rule: {
        ...{ security_group_id: '{group}', direction: 'ingress', ethertype: 'IPv4' },
        ...{ protocol: 'tcp', port_range_min: 22, port_range_max: 22 },
      },
    },
  }),
  network('GET', '/security-groups/{group}', { defended: DEFENDED.innerNumbers }),
  network('DELETE', '/security-groups/{group}'),
  network('GET', '/routers', { defended: DEFENDED.routerSeed }),
  network('GET', '/floatingips'),
  network('GET', '/quotas/{project}'),
  network('GET', `/floatingips/${NOWHERE}`),
  network('DELETE', '/ports/{port}'),
  network('DELETE', '/subnets/{subnet}'),
  network('DELETE', '/networks/{ours}'),
];

export const volumeWalk: readonly Step[] = [
  volume('GET', '/types'),
  volume('GET', '/limits'),
  volume('GET', '/os-quota-sets/{project}?usage=true', { defended: DEFENDED.volumeTypes }),
  volume('POST', '/volumes', { body: { volume: { size: 1, name: 'compare' } }, keep: { volume: 'volume.id' } }),
  until('/volumes/{volume}', 'volume.status', 'available', 'error'),
  volume('POST', '/volumes', { body: { volume: { size: 0 } } }),
  volume('POST', '/volumes', { body: { volume: { size: 1, snapshot_id: NOWHERE } } }),
  volume('GET', '/volumes'),
  volume('GET', '/volumes/detail'),
  volume('GET', '/volumes/{volume}'),
  volume('GET', '/volumes/{volume}', { version: '3.60' }),
  volume('GET', `/volumes/${NOWHERE}`),
  volume('PUT', '/volumes/{volume}', { body: { volume: { name: 'compared' } } }),
  volume('GET', '/volumes/{volume}/metadata'),
  volume('POST', '/volumes/{volume}/action', { body: { 'os-extend': { new_size: 1 } } }),
  volume('POST', '/volumes/{volume}/action', { body: { 'os-extend': { new_size: 2 } } }),
  until('/volumes/{volume}', 'volume.status', 'available', 'error'),
  volume('POST', '/snapshots', {
    body: { snapshot: { volume_id: '{volume}', name: 'compare' } },
    keep: { snapshot: 'snapshot.id' },
  }),
  until('/snapshots/{snapshot}', 'snapshot.status', 'available', 'error'),
  volume('GET', '/snapshots/{snapshot}'),
  volume('GET', '/snapshots/detail'),
  volume('DELETE', '/volumes/{volume}'),
  volume('DELETE', '/snapshots/{snapshot}', { defended: DEFENDED.requestIds }),
  until('/snapshots/{snapshot}', 'snapshot.status', 'gone', 'error'),
  volume('GET', '/attachments', { version: '3.27' }),
  volume('GET', '/os-availability-zone'),
  volume('GET', '/extensions', { defended: DEFENDED.volumeExtensions }),
  volume('GET', '/os-services'),
  volume('GET', '/volumes', { version: '3.999' }),
  volume('DELETE', '/volumes/{volume}', { defended: DEFENDED.requestIds }),
  until('/volumes/{volume}', 'volume.status', 'gone', 'error'),
  volume('DELETE', '/volumes/{volume}'),
];
