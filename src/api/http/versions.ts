// Microversions on the wire: which one a request asks for and what the answer says about it.
import {
  COMPUTE_VERSIONS,
  MIN_MINOR,
  microversionText,
  negotiate,
  negotiateVolume,
  type VersionRange,
  VOLUME_VERSIONS,
} from '../../model/microversion.ts';
import { ApiError, type Service } from './errors.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** The versions of a service; null: it has none. */
export function versionsOf(service: Service): VersionRange | null {
  switch (service) {
    case 'compute':
      return COMPUTE_VERSIONS;
    case 'volume':
      return VOLUME_VERSIONS;
    case 'crosscell':
    case 'identity':
    case 'image':
    case 'network':
      return null;
  }
}

/** The lowest minor version of a service. */
export const lowestMinor = (service: Service): number => versionsOf(service)?.min ?? MIN_MINOR;

/** N of the microversion 2.N or 3.N that the headers ask for. @throws ApiError 400 or 406 */
export function requestedMinor(range: VersionRange, headers: Headers): number {
  const standard = one(headers['openstack-api-version']);
  const negotiated =
    range.service === 'volume'
      ? negotiateVolume(standard)
      : negotiate(standard, one(headers['x-openstack-nova-api-version']));
  if (negotiated.kind === 'ok') return negotiated.minor;
  throw new ApiError(negotiated.refusal.code, shortened(negotiated.refusal.message));
}

/** Headers of every answer of such a service: Nova names the version in both headers, and in Vary; Cinder in one. */
export const versionHeaders = (range: VersionRange, minor: number): Record<string, string> => ({
  'openstack-api-version': `${range.service} ${microversionText(minor, range)}`,
  ...(range.service === 'compute'
    ? {
        'x-openstack-nova-api-version': microversionText(minor, range),
        vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
      }
    : { vary: 'OpenStack-API-Version' }),
});

const one = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header;

const shortened = (text: string): string => (text.length > 500 ? `${text.slice(0, 500)}...` : text);
