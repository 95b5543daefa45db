// Volumes: who has them, who can reach them, and where they are.
import { NOWHERE } from '../../control/volumes/attachments.ts';
import { type Breach, homeRecords, type Invariant, type Owed, silentCells, waitingMoves } from '../invariant.ts';
import type { Snapshot } from '../snapshot.ts';

const owedOf = (s: Snapshot, kind: string): Map<string, Snapshot['debts'][number]> =>
  new Map(
    s.debts
      .filter((debt) => debt.kind === kind && debt.volumeId !== null)
      .map((debt) => [`${debt.serverId} ${debt.volumeId}`, debt]),
  );

export const silentStorage = (s: Snapshot): string[] =>
  s.storage.flatMap((host) => (host.unreachable === null ? [] : [`storage host ${host.name}: ${host.unreachable}`]));

export const ONE_ATTACHMENT: Invariant = {
  name: 'volumes',
  sentence:
    'Each volume of a server has exactly one active attachment, at its guest’s host (at none when it has left it), and no others but on the way back.',
  check(s) {
    const records = homeRecords(s);
    const waiting = waitingMoves(s);
    const owed = owedOf(s, 'revoke-volume');
    const breaches: Breach[] = [];
    const repair = "set the rows of the server in volume_attachments right, as its home's block_device_mappings say";
    for (const [serverId, { server, volumes }] of records) {
      if (s.busy.has(serverId)) continue;
      for (const volumeId of volumes) {
        const here = s.attachments.filter((each) => each.serverId === serverId && each.volumeId === volumeId);
        const active = here.filter((each) => each.active).map((each) => each.host);
        if (active.length === 1 && active[0] === (server.host ?? NOWHERE)) continue;
        breaches.push({
          what: `volume ${volumeId} of server ${serverId} is active on ${active.join(', ') || 'no host'}; the server is on ${server.host}`,
          cause: 'a hand-over of volumes was lost, or its attachments were changed by hand',
          repair,
        });
      }
    }
    for (const { volumeId, serverId, host, active, storageHost } of s.attachments) {
      if (s.busy.has(serverId) || owed.has(`${serverId} ${volumeId}`)) continue;
      const record = records.get(serverId);
      if (!record && s.homes.has(serverId)) continue; // its cell cannot be read
      const mapped = record?.volumes.includes(volumeId) ?? false;
      if (mapped && (active || host === waiting.get(serverId)?.sourceHost)) continue;
      const why = mapped ? 'is left of a move' : record ? 'is not in its home' : 'is of a server that does not exist';
      breaches.push({
        what: `the attachment of volume ${volumeId} to server ${serverId} on ${host} ${why}`,
        cause: 'a clean-up was lost, or records were changed by hand',
        repair,
        ...(record ? {} : { fix: { kind: 'release volume', volumeId, serverId, storageHost } as const }),
      });
    }
    return { breaches, owed: [...owed.values()].map(debtAsOwed), unknown: silentCells(s) };
  },
};

const debtAsOwed = (debt: Snapshot['debts'][number]): Owed => ({
  what: `${debt.kind} of volume ${debt.volumeId} on ${debt.host}`,
  reason: debt.reason,
  since: debt.createdAt,
});

export const ACCESS_AS_ATTACHED: Invariant = {
  name: 'access to volumes',
  sentence: 'Storage hosts let in exactly the active attachments, and nobody else.',
  check(s) {
    const owed = owedOf(s, 'revoke-volume');
    const active = new Map(
      s.attachments.filter((each) => each.active && each.host !== NOWHERE).map((each) => [each.id, each]),
    );
    const breaches: Breach[] = [];
    for (const { name, unreachable, access } of s.storage) {
      if (unreachable !== null) continue;
      for (const { attachmentId, serverId, volumeId } of access) {
        if (s.busy.has(serverId) || owed.has(`${serverId} ${volumeId}`) || active.has(attachmentId)) continue;
        breaches.push({
          what: `storage host ${name} lets server ${serverId} to volume ${volumeId}, which it does not have there`,
          cause: 'a revoke was lost, or attachments were changed by hand',
          repair: `if the server's home has the volume mapped (block_device_mappings): put its row in volume_attachments back; else stop the server on every host but its own, and have the agent of ${name} revoke the access`,
          fix: { kind: 'revoke access', volumeId, serverId, storageHost: name, attachmentId },
        });
      }
      const known = new Set(access.map((each) => each.attachmentId));
      for (const { id, serverId, volumeId, storageHost } of active.values()) {
        if (storageHost !== name || s.busy.has(serverId) || known.has(id)) continue;
        breaches.push({
          what: `storage host ${name} does not let server ${serverId} to its volume ${volumeId}`,
          cause: 'the storage host lost its records, or the grant was taken away by hand',
          repair: 'detach the volume and attach it again',
        });
      }
    }
    return { breaches, unknown: silentStorage(s) };
  },
};

/** Statuses of volumes that are made and not yet to go. */
const KEPT = [
  'available',
  'reserved',
  'attaching',
  'in-use',
  'detaching',
  'extending',
  'reverting',
  'awaiting-transfer',
  'uploading',
  'downloading',
  'maintenance',
];

export const VOLUME_HAS_PLACE: Invariant = {
  name: 'volumes kept',
  sentence: 'Every volume on record is at its storage host, and a storage host keeps no volume that is not on record.',
  check(s) {
    const records = new Map(s.volumes.map((volume) => [volume.id, volume]));
    const breaches: Breach[] = [];
    for (const { name, unreachable, keeps } of s.storage) {
      if (unreachable !== null) continue;
      const kept = new Set(keeps);
      for (const volume of s.volumes) {
        if (volume.storageHost !== name || kept.has(volume.id) || s.busy.has(volume.id)) continue;
        if (!KEPT.includes(volume.status)) continue;
        breaches.push({
          what: `storage host ${name} does not have volume ${volume.id}`,
          cause: 'the storage host lost its state directory',
          repair: 'restore the state directory of the storage host, or delete the volume',
        });
      }
      for (const volumeId of keeps) {
        if (records.get(volumeId)?.storageHost === name || s.busy.has(volumeId)) continue;
        if (s.volumesOwed.has(volumeId)) continue;
        breaches.push({
          what: `storage host ${name} keeps volume ${volumeId}, which is not on record there`,
          cause: 'a delete was lost, or the storage host came back with an old state directory',
          repair: `look at the volume first if in doubt; then have the agent of ${name} delete it`,
        });
      }
    }
    return { breaches, unknown: silentStorage(s) };
  },
};

export const SNAPSHOT_HAS_PLACE: Invariant = {
  name: 'snapshots kept',
  sentence: 'Every snapshot that is available is at its volume’s storage host, which keeps none that is not on record.',
  check(s) {
    const breaches: Breach[] = [];
    for (const { name, unreachable, snapshots } of s.storage) {
      if (unreachable !== null) continue;
      for (const volume of s.volumes) {
        const kept = snapshots.get(volume.id);
        // Where the volume itself is not kept, that is what is wrong.
        if (volume.storageHost !== name || s.busy.has(volume.id) || kept === undefined) continue;
        for (const id of volume.available.filter((each) => !kept.includes(each))) {
          breaches.push({
            what: `storage host ${name} does not have snapshot ${id} of volume ${volume.id}`,
            cause: 'the storage host came back with an old state directory',
            repair: 'restore the state directory of the storage host, or delete the snapshot',
          });
        }
        for (const id of kept.filter((each) => !volume.snapshots.has(each))) {
          breaches.push({
            what: `storage host ${name} keeps snapshot ${id} of volume ${volume.id}, which is not on record`,
            cause: 'a delete was lost, or the storage host came back with an old state directory',
            repair: `have the agent of ${name} delete it`,
          });
        }
      }
    }
    return { breaches, unknown: silentStorage(s) };
  },
};
