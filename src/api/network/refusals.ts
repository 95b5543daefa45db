// What the network service refused, as an answer in Neutron's shape.
import type { NetworkResult } from '../../control/network/results.ts';
import { ApiError } from '../http/errors.ts';

/** The result's value. @throws ApiError with the refusal */
export function orThrow<T>(result: NetworkResult<T>): T {
  if (result.kind === 'ok') return result.value;
  const { code, message, type } = result.refusal;
  throw new ApiError(code, message, { type });
}
