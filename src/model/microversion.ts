// Microversions of the compute and the block storage API: which version a request speaks.
//
// Theory of operation. The major version is always 2 for compute and 3 for block storage, so a negotiated version is its
// minor number alone. The standard header may name several services, and the last entry for compute counts, of block
// storage the first; compute's legacy header is looked at only when the standard one says nothing of it. Source:
// microversion_parse.get_version, nova/api/openstack/wsgi.py and cinder/api/openstack/wsgi.py:set_api_version_request.
import type { Refusal } from './refusal.ts';
import { badRequest, refuse } from './refusal.ts';

export const MIN_MINOR = 1;
export const MAX_MINOR = 96;

/** The versions of one service: `major`.`min` to `major`.`max`; `min` is what a request without a header speaks. */
export interface VersionRange {
  readonly service: 'compute' | 'volume';
  readonly major: number;
  readonly min: number;
  readonly max: number;
}
export const COMPUTE_VERSIONS: VersionRange = { service: 'compute', major: 2, min: MIN_MINOR, max: MAX_MINOR };
export const VOLUME_VERSIONS: VersionRange = { service: 'volume', major: 3, min: 0, max: 70 };

export type Negotiated =
  | { readonly kind: 'ok' /** 59 for 2.59. */; readonly minor: number }
  /** 400 for a malformed version, 406 for one that is not offered. */
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** `2.59` for 59 of compute. */
export const microversionText = (minor: number, { major }: VersionRange = COMPUTE_VERSIONS): string =>
  `${major}.${minor}`;

/** True from 2.`from` up to and including 2.`to` (no upper end without it). */
export function between(minor: number, from: number, to: number = MAX_MINOR): boolean {
  return minor >= from && minor <= to;
}

/** The version of the first entry whose service is the wanted one. */
function versionIn(entries: readonly string[], isWanted: (service: string) => boolean): string | null {
  for (const entry of entries) {
    const [service = '', ...rest] = entry.trim().split(/\s+/);
    if (isWanted(service) && rest.length > 0) return rest.join(' ');
  }
  return null;
}

const VERSION = /^([1-9]\d*)\.([1-9]\d*|0)$/;

/** The version that a header's text asks for; see `negotiate`. */
function parseMicroversion(text: string, range: VersionRange = COMPUTE_VERSIONS): Negotiated {
  if (text === 'latest') return { kind: 'ok', minor: range.max };
  const match = VERSION.exec(text);
  if (match === null) {
    return {
      kind: 'refused',
      refusal: badRequest(`API Version String ${text} is of invalid format. Must be of format MajorNum.MinorNum.`),
    };
  }
  const minor = Number(match[2]);
  if (Number(match[1]) === range.major && minor >= range.min && minor <= range.max) return { kind: 'ok', minor };
  return {
    kind: 'refused',
    refusal: refuse(
      406,
      `Version ${text} is not supported by the API. Minimum is ${microversionText(range.min, range)}` +
        ` and maximum is ${microversionText(range.max, range)}.`,
    ),
  };
}

/**
 * The microversion of a request to compute.
 * @param standard value of `OpenStack-API-Version`, e.g. `compute 2.59, volume 3.60`
 * @param legacy value of `X-OpenStack-Nova-API-Version`, e.g. `2.59`
 * @returns 2.1 when neither header speaks of compute
 */
export function negotiate(standard: string | undefined, legacy: string | undefined): Negotiated {
  const entries = standard === undefined ? [] : standard.split(',').reverse();
  const named = versionIn(entries, (service) => service.toLowerCase() === 'compute');
  if (named !== null) return parseMicroversion(named);
  if (legacy === undefined) return { kind: 'ok', minor: MIN_MINOR };
  return parseMicroversion((legacy.split(',').at(-1) ?? '').trim());
}

/**
 * The microversion of a request to block storage; 3.0 when the header says nothing of it. Like Cinder it goes by any name
 * with `volume` in it: gophercloud calls it as the catalog does, `volumev3`.
 */
export function negotiateVolume(standard: string | undefined): Negotiated {
  const named = versionIn(standard?.split(',') ?? [], (service) => service.includes('volume'));
  return named === null ? { kind: 'ok', minor: VOLUME_VERSIONS.min } : parseMicroversion(named, VOLUME_VERSIONS);
}
