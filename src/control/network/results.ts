// What the network service's use cases answer, and the refusals that many of them share. `type` is the name of Neutron's
// exception, which its clients look at; sentences are Neutron's (neutron-lib/exceptions).
import { checkDescription } from '../../model/names.ts';
import { invalidNetworkInput, type NetworkRefusal, networkRefusal } from '../../model/network-refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';

export interface No {
  readonly kind: 'refused';
  readonly refusal: NetworkRefusal;
}
export type NetworkResult<T> = { readonly kind: 'ok'; readonly value: T } | No;

export const ok = <T>(value: T): NetworkResult<T> => ({ kind: 'ok', value });
export const no = (code: Refusal['code'], type: string, message: string): No => ({
  kind: 'refused',
  refusal: networkRefusal(code, type, message),
});
export const refused = (refusal: NetworkRefusal): No => ({ kind: 'refused', refusal });

export const badRequest = (message: string) => no(400, 'HTTPBadRequest', message);
/** What is wrong with an attribute; null: nothing. */
export const wrongAttribute = (name: string, reason: string | null): No | null =>
  reason === null ? null : badRequest(`Invalid input for ${name}. Reason: ${reason}.`);
export const invalidInput = (message: string) => refused(invalidNetworkInput(message));
export const disallowed = (rule: string) => no(403, 'PolicyNotAuthorized', `rule:${rule} is disallowed by policy`);
export const overQuota = (resource: string) => no(409, 'OverQuota', `Quota exceeded for resources: ['${resource}'].`);

const ABSENT = {
  network: ['NetworkNotFound', 'Network', 'could not be found.'],
  subnet: ['SubnetNotFound', 'Subnet', 'could not be found.'],
  port: ['PortNotFound', 'Port', 'could not be found.'],
  router: ['RouterNotFound', 'Router', 'could not be found'],
  floatingip: ['FloatingIPNotFound', 'Floating IP', 'could not be found'],
  security_group: ['SecurityGroupNotFound', 'Security group', 'does not exist'],
  security_group_rule: ['SecurityGroupRuleNotFound', 'Security group rule', 'does not exist'],
} as const;
export type NetworkResource = keyof typeof ABSENT;

/** Neutron's 404; each resource has a sentence of its own. */
export function absent(resource: NetworkResource, id: string): No {
  const [type, what, end] = ABSENT[resource];
  return no(404, type, `${what} ${id.slice(0, 255)} ${end}`);
}

/** Thrown to roll a transaction back with a refusal; caught where the transaction was begun (see refusable). */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly refusal: NetworkRefusal;
  constructor(refusal: NetworkRefusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** @throws Refused */
export function refuseWith({ refusal }: No): never {
  throw new Refused(refusal);
}

/** The value, or the refusal thrown. @throws Refused */
export function accepted<T>(result: NetworkResult<T>): T {
  if (result.kind === 'refused') refuseWith(result);
  return result.value;
}

/** Runs `work`, answering with what it refused on its way. */
export async function refusable<T>(work: () => Promise<T>): Promise<NetworkResult<T>> {
  try {
    return ok(await work());
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', refusal: error.refusal };
    throw error;
  }
}

/** As other services pass it on; null: it was not refused. */
export const refusalIn = (result: NetworkResult<unknown>): Refusal | null =>
  result.kind === 'ok' ? null : { code: result.refusal.code, message: result.refusal.message };

/** Whether the actor may change the record, as far as it is a matter of whose it is. */
export const owns = (actor: Actor, record: { readonly projectId: string }): boolean =>
  isAdmin(actor) || record.projectId === actor.projectId;

/** A name and a description that can be kept; null: nothing against them. */
export function wrongText(wish: {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
}): No | null {
  for (const field of ['name', 'description'] as const) {
    const wrong = wish[field] === undefined ? null : checkDescription(wish[field], field);
    if (wrong) return badRequest(wrong.message);
  }
  return null;
}
