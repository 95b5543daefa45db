// Names, ids, keys and values that users give, and the host name made from a display name.
//
// Theory of operation. Each function looks at one string and answers null or a sentence that names the field, in the
// form of Nova's schema validator ("Invalid input for field/attribute name. Value: …"). Patterns and lengths are those of
// nova/api/validation/parameter_types.py. Lengths count code points, as Python does. Long values are cut in messages.
import type { Refusal } from './refusal.ts';
import { badRequest } from './refusal.ts';

/** Longest name, key or value, in characters. */
export const MAX_NAME = 255;

const length = (text: string): number => {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
};

/** Values appear in messages as they came, up to this many characters. */
const shown = (text: string): string => (text.length <= 300 ? text : `${text.slice(0, 300)}…`);

const invalid = (field: string, value: string, reason: string): Refusal =>
  badRequest(`Invalid input for field/attribute ${field}. Value: ${shown(value)}. ${reason}`);

function checkLength(field: string, value: string, min: number, max: number): Refusal | null {
  // Cheap first: a string of n code units has at most n characters.
  if (value.length < min) return invalid(field, value, `'${shown(value)}' is too short`);
  if (value.length > max && length(value) > max) return invalid(field, value, `'${shown(value)}' is too long`);
  return null;
}

// Not printable: control, format, surrogate, private use, unassigned, line and paragraph separators; and all beyond the
// Basic Multilingual Plane, which Nova's pattern does not know.
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\u{10000}-\u{10ffff}]/u;
const BLANK_END = /^\p{Zs}|\p{Zs}$/u;

const isPrintable = (text: string): boolean => !UNPRINTABLE.test(text);

/** Names of servers, flavors, aggregates: 1–255 printable characters, no blank at either end. */
export function checkName(value: string, field = 'name'): Refusal | null {
  const short = checkLength(field, value, 1, MAX_NAME);
  if (short !== null) return short;
  if (isPrintable(value) && !BLANK_END.test(value)) return null;
  return badRequest(
    "An invalid 'name' value was provided. The name must be: " +
      'printable characters. Can not start or end with whitespace.',
  );
}

/** Names of availability zones: as names, and without a colon (`zone:host:node` is a syntax of its own). */
export function checkZoneName(value: string, field = 'availability_zone'): Refusal | null {
  const wrong = checkName(value, field);
  if (wrong !== null || !value.includes(':')) return wrong;
  return badRequest(
    "An invalid 'name' value was provided. The name must be: " +
      'printable characters except :.Can not start or end with whitespace.',
  );
}

/** Descriptions: up to 255 printable characters, may be empty. */
export function checkDescription(value: string, field = 'description'): Refusal | null {
  const long = checkLength(field, value, 0, MAX_NAME);
  if (long !== null) return long;
  return isPrintable(value) ? null : invalid(field, value, 'It must consist of printable characters');
}

const matches = (field: string, value: string, pattern: RegExp): Refusal | null =>
  checkLength(field, value, 1, MAX_NAME) ??
  (pattern.test(value) ? null : invalid(field, value, `'${shown(value)}' does not match '${pattern.source}'`));

/** Flavor ids: letters, digits, dot, blank, underscore, dash; no blank at either end. */
export function checkFlavorId(value: string, field = 'id'): Refusal | null {
  return matches(field, value, /^(?! )[a-zA-Z0-9. _-]+(?<! )$/);
}

/** Key pair names: letters, digits, blank, dash, underscore; from 2.92 also @ and dot. `minor`: the microversion. */
export function checkKeypairName(value: string, minor: number, field = 'name'): Refusal | null {
  return checkName(value, field) ?? matches(field, value, minor >= 92 ? /^[_\-@. a-zA-Z0-9]+$/ : /^[_\- a-zA-Z0-9]+$/);
}

/** Names of compute hosts as requests give them (`migrate {host}`): letters, digits, dash, dot, underscore. */
export function checkHostName(value: string, field = 'host'): Refusal | null {
  return matches(field, value, /^[a-zA-Z0-9\-._]*$/);
}

const KEY = /^[a-zA-Z0-9\-_:. ]{1,255}$/;

/** Keys and values of metadata and extra specs: key of 1–255 of letters, digits, `-_:. `; value up to 255 characters. */
export function checkMetadata(items: Readonly<Record<string, string>>, field = 'metadata'): Refusal | null {
  for (const [key, value] of Object.entries(items)) {
    if (!KEY.test(key)) {
      return invalid(field, key, `'${shown(key)}' does not match any of the regexes: '${KEY.source}'`);
    }
    const long = checkLength(key, value, 0, MAX_NAME);
    if (long !== null) return long;
  }
  return null;
}

/** Extra specs of flavors follow the rules of metadata (schemas/flavors_extraspecs.py). */
export function checkExtraSpecs(specs: Readonly<Record<string, string>>): Refusal | null {
  return checkMetadata(specs, 'extra_specs');
}

/**
 * A host name made from a display name (nova/utils.py:sanitize_hostname): characters beyond Latin-1 dropped, cut to 63,
 * blanks, underscores and dots become dashes, what is neither letter, digit nor dash is dropped, lower case, no dash at
 * either end. `Server-<id>` when nothing is left (nova/compute/api.py).
 */
export function hostnameOf(displayName: string, serverId: string): string {
  let latin = '';
  for (const char of displayName) {
    if ((char.codePointAt(0) ?? 0) <= 0xff) latin += char;
    if (latin.length === 63) break;
  }
  const name = latin
    .replace(/[ _.]/g, '-')
    .replace(/[^\p{L}\p{N}-]+/gu, '')
    .toLowerCase()
    .replace(/^-+|-+$/g, '');
  return name === '' ? `Server-${serverId}` : name;
}
