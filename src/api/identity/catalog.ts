// The service catalog of a token: which service answers where. One address serves them all.
import { derivedId } from '../../control/identity.ts';
import type { Settings } from '../../control/platform.ts';

const SERVICES = [
  { type: 'identity', name: 'keystone', path: '/identity' },
  { type: 'compute', name: 'nova', path: '/compute/v2.1' },
  { type: 'image', name: 'glance', path: '/image' },
  { type: 'network', name: 'neutron', path: '/network' },
  { type: 'volumev3', name: 'cinderv3', path: '/volume/v3/{project}' },
  { type: 'block-storage', name: 'cinder', path: '/volume/v3/{project}' },
] as const;

/** `projectId`: the token's, which block storage has in its path. */
export const catalogOf = (settings: Settings, projectId: string): object[] =>
  SERVICES.map((service) => ({
    id: derivedId('role', `service:${service.type}`),
    type: service.type,
    name: service.name,
    endpoints: ['public', 'internal', 'admin'].map((kind) => ({
      id: derivedId('role', `endpoint:${service.type}:${kind}`),
      interface: kind,
      region: settings.region,
      region_id: settings.region,
      url: `${settings.publicUrl}${service.path.replace('{project}', () => projectId)}`,
    })),
  }));
