// Times as OpenStack's services write them. All functions take milliseconds since the Unix epoch, UTC.
//
// Theory of operation. Services disagree: servers, images and networks give whole seconds with a Z; Compute's records
// with plain columns (instance actions, migrations, services, launched_at) give microseconds without a Z; Identity gives
// microseconds with a Z. Our times have milliseconds, so the last three digits are always zero.
import { invariant } from '../lib/errors.ts';

/** The end of the year 9999: the last time that the formats can write. */
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

function iso(ms: number): string {
  invariant(Number.isInteger(ms) && ms >= 0 && ms <= LAST_MS, `not a time in ms since the epoch: ${ms}`);
  return new Date(ms).toISOString();
}

/** `2026-11-22T13:00:00Z`: created and updated of servers, images, networks. Fractions are cut off. */
export const isoSeconds = (ms: number): string => `${iso(ms).slice(0, 19)}Z`;

/** `2026-11-22T13:00:00.000000`: instance actions and events, migrations, services, OS-SRV-USG times. */
export const isoMicroseconds = (ms: number): string => `${iso(ms).slice(0, 23)}000`;

/** `2026-11-22T13:00:00.000000Z`: issued_at and expires_at of tokens. */
export const isoMicrosecondsZ = (ms: number): string => `${iso(ms).slice(0, 23)}000Z`;

const TIME = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/i;

/**
 * A time as clients send it (changes-since, changes-before): ISO 8601, a date alone, with or without seconds, fraction
 * and zone; without a zone it is UTC. Milliseconds since the epoch, or null if it is no time.
 */
export function parseTime(text: string): number | null {
  const match = TIME.exec(text);
  if (match === null) return null;
  const part = (index: number): number => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)];
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59) return null;
  const fraction = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCDate() !== day) return null; // 30 February
  date.setUTCHours(hour, minute, second, fraction);
  const zone = match[8]?.toUpperCase();
  if (zone === undefined || zone === 'Z') return date.getTime();
  const digits = zone.slice(1).replace(':', '');
  const offset = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2));
  return date.getTime() - (zone.startsWith('-') ? -offset : offset) * 60_000;
}
