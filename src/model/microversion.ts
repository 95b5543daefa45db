// Microversions of the Compute API: which version a request speaks.
//
// Theory of operation. The major version is always 2, so a negotiated version is its minor number alone. The standard
// header may name several services, and the last entry for `compute` counts; the legacy header is looked at only when
// the standard one says nothing of `compute`. Source: microversion_parse.get_version and
// nova/api/openstack/wsgi.py:set_api_version_request.

import type { Refusal } from './refusal.ts';
import { badRequest, refuse } from './refusal.ts';

export const MIN_MINOR = 1;
export const MAX_MINOR = 96;

export type Negotiated =
  | { readonly kind: 'ok' /** 59 for 2.59. */; readonly minor: number }
  /** 400 for a malformed version, 406 for one that is not offered. */
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** `2.59` for 59. */
export const microversionText = (minor: number): string => `2.${minor}`;

/** True from 2.`from` up to and including 2.`to` (no upper end without it). */
export function between(minor: number, from: number, to: number = MAX_MINOR): boolean {
  return minor >= from && minor <= to;
}

function fromStandard(header: string): string | null {
  for (const entry of header.split(',').reverse()) {
    const [service, ...rest] = entry.trim().split(/\s+/);
    if (service?.toLowerCase() === 'compute' && rest.length > 0) return rest.join(' ');
  }
  return null;
}

const VERSION = /^([1-9]\d*)\.([1-9]\d*|0)$/;

/** The version that a header's text asks for; see `negotiate`. */
export function parseMicroversion(text: string): Negotiated {
  if (text === 'latest') return { kind: 'ok', minor: MAX_MINOR };
  const match = VERSION.exec(text);
  if (match === null) {
    return {
      kind: 'refused',
      refusal: badRequest(`API Version String ${text} is of invalid format. Must be of format MajorNum.MinorNum.`),
    };
  }
  const minor = Number(match[2]);
  if (match[1] === '2' && minor >= MIN_MINOR && minor <= MAX_MINOR) return { kind: 'ok', minor };
  return {
    kind: 'refused',
    refusal: refuse(
      406,
      `Version ${text} is not supported by the API. Minimum is ${microversionText(MIN_MINOR)}` +
        ` and maximum is ${microversionText(MAX_MINOR)}.`,
    ),
  };
}

/**
 * The microversion of a request.
 * @param standard value of `OpenStack-API-Version`, e.g. `compute 2.59, volume 3.60`
 * @param legacy value of `X-OpenStack-Nova-API-Version`, e.g. `2.59`
 * @returns 2.1 when neither header speaks of compute
 */
export function negotiate(standard: string | undefined, legacy: string | undefined): Negotiated {
  const named = standard === undefined ? null : fromStandard(standard);
  if (named !== null) return parseMicroversion(named);
  if (legacy === undefined) return { kind: 'ok', minor: MIN_MINOR };
  return parseMicroversion((legacy.split(',').at(-1) ?? '').trim());
}
