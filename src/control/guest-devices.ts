// What a guest has plugged in, put right: exactly the volumes and ports that the records say.
//
// A saga that attaches or detaches something, or undoes that, does not wait for a host that goes down meanwhile: it owes
// this (debts.ts, match-devices), and ends. Who deletes a server's port or changes its addresses owes it, too
// (network/owed-cards.ts). When the host answers again, its guest is compared with the records. A new
// generation is taken first, and then it is looked whether a saga is at the server: one that began before is seen, and one
// that begins behind the look has a newer generation and fences this off. A saga's guests are left alone meanwhile.
import { isDeepStrictEqual } from 'node:util';
import type { Guest, GuestPort, Host, Job, Reply } from '../host/contract.ts';
import { assertNever } from '../lib/errors.ts';
import { nextFence } from '../store/sagas.ts';
import { openMigration } from './migrations.ts';
import { guestPortOf, portsOfServer } from './network.ts';
import { ownership } from './ownership.ts';
import type { Platform } from './platform.ts';
import { findServer } from './servers.ts';
import { attachmentsOfServer } from './volumes/attachments.ts';
import { isForgotten, storageOf } from './volumes/lost-storage.ts';
import { mappingsOfServer } from './volumes/mappings.ts';

/** What trying to pay a debt comes to; `silent`: whoever was asked did not answer; an object: it refused, or failed. */
export type Answer = 'settled' | 'not yet' | 'silent' | { readonly refused: string };

/** One step towards a guest that is as recorded. */
type Order = (host: Host) => Promise<Answer>;
/** What goes is told first: nothing that comes in, or cannot, holds it up. */
interface Orders {
  readonly out: readonly Order[];
  readonly in: readonly Order[];
}

/** The server's guest on the host has what the records say; settled also when the server has no business there. */
export async function matchDevices(p: Platform, hostName: string, serverId: string): Promise<Answer> {
  const generation = await nextFence(p.stores.global);
  const owner = await ownership(p, hostName, serverId);
  if (owner === 'stray') return 'settled';
  if (owner === 'perhaps') return 'not yet';
  const host = await p.host(hostName);
  const guest = await host.guest(serverId);
  if (guest.kind !== 'ok') return guest.kind === 'absent' ? 'settled' : answerOf(guest);
  const volumes = await volumeOrders(p, hostName, serverId, generation, guest.value);
  if (volumes === null) return 'not yet';
  const ports = await portOrders(p, serverId, generation, guest.value);
  for (const order of [...volumes.out, ...ports.out, ...ports.in, ...volumes.in]) {
    const answer = await order(host);
    if (answer !== 'settled') return answer;
  }
  return 'settled';
}

/**
 * Out what the server does not have, in what the guest lacks; null: the records cannot be read. The way back of a move
 * gets its volumes by that way.
 */
async function volumeOrders(
  p: Platform,
  hostName: string,
  serverId: string,
  generation: number,
  guest: Guest,
): Promise<Orders | null> {
  const found = await findServer(p, serverId);
  if (found.kind !== 'found') return null;
  if (found.server.host !== hostName && (await openMigration(p.stores.global, serverId))) return { out: [], in: [] };
  const mappings = await mappingsOfServer(await p.stores.cell(found.cellId), serverId);
  const attachments = (await attachmentsOfServer(p.stores.global, serverId)).filter((each) => each.host === hostName);
  const wanted = mappings.flatMap((mapping) => {
    const attachment = attachments.find((each) => each.volumeId === mapping.volumeId);
    return attachment ? [{ mapping, attachment }] : [];
  });
  // What it has by another attachment it cannot reach: that goes, and comes back by the one of the records.
  const gone = guest.volumes.filter((each) => !wanted.some(({ attachment }) => attachment.id === each.attachmentId));
  const lacking = wanted.filter(
    ({ attachment: { id, volumeId } }) =>
      !guest.volumes.some((each) => each.volumeId === volumeId && each.attachmentId === id),
  );
  return {
    out: gone.map(
      ({ volumeId }): Order =>
        async (host) =>
          jobAnswer(await host.detachVolume(serverId, { generation, volumeId })),
    ),
    in: lacking.map(
      ({ mapping, attachment }): Order =>
        async (host) => {
          const { volumeId, device, bootIndex } = mapping;
          const storage = await storageOf(p, attachment.storageHost);
          const granted = await storage.grant(volumeId, attachment.id, { serverId, generation, mode: attachment.mode });
          // It cannot have what is lost.
          if (granted.kind !== 'ok' && (await isForgotten(p.stores.global, attachment.storageHost))) return 'settled';
          if (granted.kind === 'refused')
            return { refused: `storage host ${attachment.storageHost}: ${granted.reason}` };
          if (granted.kind !== 'ok') return 'not yet';
          const volume = { volumeId, attachmentId: attachment.id, device, bootIndex, connection: granted.value };
          return jobAnswer(await host.attachVolume(serverId, { generation, volume }));
        },
    ),
  };
}

async function portOrders(p: Platform, serverId: string, generation: number, guest: Guest): Promise<Orders> {
  const ports = (await portsOfServer(p.stores.global, serverId)).map(guestPortOf);
  const cards = guest.spec.ports;
  const isAs = (port: GuestPort) => (card: GuestPort) => isDeepStrictEqual(seenBy(guest, port), seenBy(guest, card));
  const gone = cards.filter((card) => !ports.some(isAs(card)));
  const lacking = ports.filter((port) => !cards.some(isAs(port)));
  return {
    out: gone.map(
      ({ id: portId }): Order =>
        async (host) =>
          jobAnswer(await host.detachPort(serverId, { generation, portId })),
    ),
    in: lacking.map(
      (port): Order =>
        async (host) =>
          jobAnswer(await host.attachPort(serverId, { generation, port })),
    ),
  };
}

/**
 * What makes a card another: a changed address does. A changed gateway is no reason to pull the card of a guest that runs,
 * and the host goes on to stand at the old one for it.
 */
const seenBy = ({ power }: Guest, port: GuestPort): GuestPort => (power === 'on' ? { ...port, gateway: '' } : port);

/** What a job's reply says of what was owed. */
export function jobAnswer(reply: Reply<Job>): Answer {
  if (reply.kind !== 'ok' || reply.value.state === 'done') return answerOf(reply);
  return reply.value.state === 'failed' ? { refused: reply.value.reason ?? 'it failed' } : 'not yet';
}

export function answerOf(reply: Reply<unknown>): Answer {
  switch (reply.kind) {
    case 'ok':
    case 'absent':
      return 'settled';
    case 'refused':
      return { refused: reply.reason };
    // A newer generation came in between: look again.
    case 'fenced':
      return 'not yet';
    case 'unreachable':
      return 'silent';
    default:
      return assertNever(reply);
  }
}
