// Values of filters in queries, and booleans in bodies, read as Cinder reads them: what it cannot read is refused, for
// whoever filters goes by what is left.
import { type Static, Type } from 'typebox';
import { parseTime } from '../../model/time.ts';
import { booleanOf } from '../compute/common.ts';
import { badRequest } from '../http/errors.ts';

/** Microversions (their N) from which on: values of `bootable` must be booleans; volumes are filtered by their times. */
export const BOOTABLE_IS_BOOLEAN = 2;
export const FILTERS_BY_TIME = 31;

/** A boolean in a body: cinder/api/validation/parameter_types.py. */
export const Flag = Type.Union([
  Type.Boolean(),
  Type.Enum([
    ...(['True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes', 'y', 't'] as const),
    ...(['False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no', 'n', 'f'] as const),
  ]),
]);
export const isTrue = (flag: Static<typeof Flag>): boolean => booleanOf(String(flag)) === true;

/** A boolean parameter; absent: false. @throws ApiError 400 (cinder/utils.py, get_bool_param) */
export function flagOf(name: string, value: string | undefined): boolean {
  const flag = value === undefined ? false : booleanOf(value);
  if (flag === null) {
    throw badRequest(`Value '${value}' for '${name}' is not a boolean.`);
  }
  return flag;
}

/**
 * A boolean of a volume: true is what is not false, until Cinder became strict.
 * @throws ApiError 400 (cinder/volume/api.py, _check_boolean_filter_value)
 */
export function volumeFlagOf(name: string, value: string, minor: number): boolean {
  if (minor < BOOTABLE_IS_BOOLEAN) return !/^false$/i.test(value);
  const flag = booleanOf(value);
  if (flag === null) throw badRequest(`Invalid input received: '${name} = ${value}'`);
  return flag;
}

const COMPARISONS: Readonly<Record<string, (time: number, other: number) => boolean>> = {
  gt: (time, other) => time > other,
  gte: (time, other) => time >= other,
  eq: (time, other) => time === other,
  neq: (time, other) => time !== other,
  lt: (time, other) => time < other,
  lte: (time, other) => time <= other,
};

/**
 * `gt:2026-01-01T00:00:00,lte:2026-02-01`: all comparisons hold; of one kind the last counts.
 * @throws ApiError 400 (cinder/api/v3/volumes.py, _handle_time_comparison_filters)
 */
export function timeFilter(value: string): (time: number) => boolean {
  const comparisons = new Map<string, number>();
  for (const part of value.split(',')) {
    const colon = part.indexOf(':');
    const operator = colon < 0 ? part : part.slice(0, colon);
    if (!Object.hasOwn(COMPARISONS, operator)) throw badRequest(`Invalid ${operator} operator`);
    const text = part.slice(colon + 1);
    const time = parseTime(text);
    if (time === null) throw badRequest(`Invalid ${text} value`);
    comparisons.set(operator, time);
  }
  return (time) => [...comparisons].every(([operator, other]) => COMPARISONS[operator]?.(time, other) === true);
}
