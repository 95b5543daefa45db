// Microversions of the compute API on the wire: which one a request asks for and what the answer says about it.
import { microversionText, negotiate } from '../../model/microversion.ts';
import { ApiError } from './errors.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** N of the microversion 2.N that the headers ask for. @throws ApiError 400 or 406 */
export function requestedMinor(headers: Headers): number {
  const negotiated = negotiate(one(headers['openstack-api-version']), one(headers['x-openstack-nova-api-version']));
  if (negotiated.kind === 'ok') return negotiated.minor;
  throw new ApiError(negotiated.refusal.code, shortened(negotiated.refusal.message));
}

/** Headers of every compute answer: Nova names the version in both, and in Vary. */
export const versionHeaders = (minor: number): Record<string, string> => ({
  'openstack-api-version': `compute ${microversionText(minor)}`,
  'x-openstack-nova-api-version': microversionText(minor),
  vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
});

const one = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header;

const shortened = (text: string): string => (text.length > 500 ? `${text.slice(0, 500)}...` : text);
