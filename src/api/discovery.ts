// Version documents: what clients read before anything else, without a token. Shapes are those of the services that the
// catalog names; only versions that are really answered are listed.
import { Type } from 'typebox';
import type { Settings } from '../control/platform.ts';
import { MAX_MINOR, MIN_MINOR, microversionText, VOLUME_VERSIONS } from '../model/microversion.ts';
import type { Service } from './http/errors.ts';
import { type Route, route } from './http/route.ts';

const UPDATED = '2026-11-22T00:00:00Z';

const computeVersion = (settings: Settings): object => ({
  id: 'v2.1',
  status: 'CURRENT',
  version: microversionText(MAX_MINOR),
  min_version: microversionText(MIN_MINOR),
  updated: UPDATED,
  links: [
    { rel: 'self', href: `${settings.publicUrl}/compute/v2.1/` },
    { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/api-ref/compute/' },
  ],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2.1' }],
});

/** The same API under its older name, for clients that know no microversions. */
const olderComputeVersion = (settings: Settings): object => ({
  ...computeVersion(settings),
  ...{ id: 'v2.0', status: 'SUPPORTED', version: '', min_version: '' },
  links: [{ rel: 'self', href: `${settings.publicUrl}/compute/v2/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2' }],
});

const identityVersion = (settings: Settings): object => ({
  id: 'v3.14',
  status: 'stable',
  updated: UPDATED,
  links: [{ rel: 'self', href: `${settings.publicUrl}/identity/v3/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
});

// The words of what is here, not of all that Glance 2.x can do.
const imageVersions = (settings: Settings): object[] =>
  ['v2.2', 'v2.1', 'v2.0'].map((id, index) => ({
    id,
    status: index === 0 ? 'CURRENT' : 'SUPPORTED',
    links: [{ rel: 'self', href: `${settings.publicUrl}/image/v2/` }],
  }));

const networkVersion = (settings: Settings): object => ({
  id: 'v2.0',
  status: 'CURRENT',
  links: [{ rel: 'self', href: `${settings.publicUrl}/network/v2.0` }],
});

const volumeVersions = (settings: Settings): object => ({
  versions: [
    {
      id: 'v3.0',
      status: 'CURRENT',
      version: microversionText(VOLUME_VERSIONS.max, VOLUME_VERSIONS),
      min_version: microversionText(VOLUME_VERSIONS.min, VOLUME_VERSIONS),
      updated: UPDATED,
      links: [{ rel: 'self', href: `${settings.publicUrl}/volume/v3/` }],
      'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
    },
  ],
});

function document(
  service: Service,
  url: string,
  status: number,
  summary: string,
  body: (settings: Settings) => object,
): Route {
  return route({
    method: 'GET',
    url,
    service,
    summary,
    policy: 'public',
    answers: { [status]: Type.Object({}) },
    handle: ({ p }) => ({ status, body: body(p.settings) }),
  });
}

export const discoveryRoutes: readonly Route[] = [
  document('crosscell', '/', 200, 'Where the services are', (settings) => ({
    services: ['identity', 'compute', 'image', 'network', 'volume', 'crosscell'].map((name) => ({
      name,
      url: `${settings.publicUrl}/${name}`,
    })),
  })),
  document('identity', '/identity', 300, 'Versions of the identity service', (settings) => ({
    versions: { values: [identityVersion(settings)] },
  })),
  document('identity', '/identity/v3', 200, 'Version 3 of the identity service', (settings) => ({
    version: identityVersion(settings),
  })),
  document('compute', '/compute', 200, 'Versions of the compute service', (settings) => ({
    versions: [olderComputeVersion(settings), computeVersion(settings)],
  })),
  document(
    'compute',
    '/compute/v2',
    200,
    'Version 2.0 of the compute service: 2.1 under its older name',
    (settings) => ({
      version: olderComputeVersion(settings),
    }),
  ),
  document('compute', '/compute/v2.1', 200, 'Version 2.1 of the compute service', (settings) => ({
    version: computeVersion(settings),
  })),
  document('image', '/image', 300, 'Versions of the image service', (settings) => ({
    versions: imageVersions(settings),
  })),
  document('image', '/image/versions', 200, 'Versions of the image service', (settings) => ({
    versions: imageVersions(settings),
  })),
  document('volume', '/volume', 300, 'Versions of the block storage service', volumeVersions),
  document('volume', '/volume/v3', 200, 'Version 3 of the block storage service', volumeVersions),
  document('network', '/network', 200, 'Versions of the network service', (settings) => ({
    versions: [networkVersion(settings)],
  })),
  document('network', '/network/v2.0', 200, 'Resources of the network service', (settings) => ({
    resources: ['network', 'subnet', 'port'].map((name) => ({
      name,
      collection: `${name}s`,
      links: [{ rel: 'self', href: `${settings.publicUrl}/network/v2.0/${name}s` }],
    })),
  })),
];
