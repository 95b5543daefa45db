// Telling running guests that a volume of theirs has grown: an attempt, no more. Whoever cannot be told now sees it when
// it is next started.
//
// The saga is the volume's, so that anything may be going on with the servers. As in control/guest-devices.ts a new
// generation is taken before it is looked whether a saga is at the server: one that began before is left alone, and one
// that begins behind the look has a newer generation and fences this off.
import { hostAnswers } from '../../control/hosts.ts';
import { ownership } from '../../control/ownership.ts';
import { attachmentsOfVolume, NOWHERE } from '../../control/volumes/attachments.ts';
import { assertNever } from '../../lib/errors.ts';
import { nextFence } from '../../store/sagas.ts';
import type { StepContext, StepOutcome } from '../move.ts';
import { done, doneBecause } from '../outcomes.ts';

/** Guests that use the volume see its new size, or will; never fails because one cannot be told. */
export async function tellGrown<S>(c: StepContext<S>, volumeId: string, sizeBytes: number): Promise<StepOutcome<S>> {
  const later: string[] = [];
  for (const { serverId, host, active } of await attachmentsOfVolume(c.p.stores.global, volumeId)) {
    if (!active || host === NOWHERE) continue;
    const obstacle = await tell(c, host, serverId, { volumeId, sizeBytes });
    if (obstacle === null) continue;
    c.log.warn(
      { volumeId, guestOf: serverId, host, obstacle },
      'a guest sees at its next start that its volume has grown',
    );
    later.push(serverId);
  }
  return later.length === 0 ? done : doneBecause(`seen at their next start by ${later.length} of the guests`);
}

/** @returns why the guest has not been told; null: it has */
async function tell<S>(
  c: StepContext<S>,
  hostName: string,
  serverId: string,
  grown: { readonly volumeId: string; readonly sizeBytes: number },
): Promise<string | null> {
  if (!(await hostAnswers(c.p, hostName))) return `host ${hostName} is down`;
  const generation = await nextFence(c.p.stores.global);
  if ((await ownership(c.p, hostName, serverId)) !== 'owned') return 'something else is done to the server';
  const reply = await (await c.host(hostName)).growVolume(serverId, { generation, ...grown });
  switch (reply.kind) {
    case 'ok':
      return null;
    case 'absent':
      return 'its guest does not have the volume';
    case 'fenced':
      return 'something else is done to the server';
    case 'refused':
    case 'unreachable':
      return reply.reason;
    default:
      return assertNever(reply);
  }
}
