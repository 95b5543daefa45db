// Refusals of the network service: with the name of Neutron's exception, which its clients look at.
import type { Refusal } from './types.ts';

export interface NetworkRefusal extends Refusal {
  /** Such as `InvalidInput`. */
  readonly type: string;
}

export const networkRefusal = (code: Refusal['code'], type: string, message: string): NetworkRefusal => ({
  ...{ code, type, message },
});

/** Neutron's InvalidInput, with its beginning. */
export const invalidNetworkInput = (message: string): NetworkRefusal =>
  networkRefusal(400, 'InvalidInput', `Invalid input for operation: ${message}.`);
