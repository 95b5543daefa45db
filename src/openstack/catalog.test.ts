import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Catalog, endpointIn } from './catalog.ts';

const endpoint = (url: string, change: object = {}) => ({ interface: 'internal', region_id: 'R', url, ...change });
const catalogOf = (type: string, ...endpoints: Catalog[number]['endpoints']): Catalog => [{ type, endpoints }];
const HERE = { region: 'R', interface: 'internal' } as const;

test('the version is there once, whether the catalog names it or not', () => {
  for (const url of ['http://n:9696', 'http://n:9696/', 'http://n:9696/v2.0', 'http://n:9696/v2.0/']) {
    assert.equal(endpointIn(catalogOf('network', endpoint(url)), 'network', HERE), 'http://n:9696/v2.0');
  }
  assert.equal(endpointIn(catalogOf('image', endpoint('http://c/image')), 'image', HERE), 'http://c/image/v2');
  const volumes = catalogOf('volumev3', endpoint('http://c/v3/p1'));
  assert.equal(endpointIn(volumes, 'block-storage', HERE), 'http://c/v3/p1');
});

test('interface and region must be those that are asked for; the older field for regions counts too', () => {
  const catalog = catalogOf(
    'image',
    endpoint('http://public', { interface: 'public' }),
    endpoint('http://elsewhere', { region_id: 'S' }),
    { interface: 'internal', region: 'R', url: 'http://here' },
  );
  assert.equal(endpointIn(catalog, 'image', HERE), 'http://here/v2');
  assert.equal(endpointIn(catalog, 'image', { ...HERE, region: 'T' }), null);
  assert.equal(endpointIn(catalog, 'network', HERE), null);
});
