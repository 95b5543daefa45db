// The files of hosts and storage hosts: those that must be there are, and whatever is there has an owner.
import {
  type Breach,
  homeRecords,
  type Invariant,
  type Owed,
  silentCells,
  silentHosts,
  waitingMoves,
} from '../invariant.ts';
import { ownerOf } from '../read/host-files.ts';
import type { FilesView, Snapshot } from '../snapshot.ts';
import { silentStorage } from './volumes.ts';

interface Place {
  readonly kind: 'host' | 'storage host';
  readonly name: string;
  readonly files: FilesView;
}

const placesOf = (s: Snapshot): Place[] => [
  ...s.hosts.map(({ name, files }) => ({ kind: 'host' as const, name, files })),
  ...s.storage.map(({ name, files }) => ({ kind: 'storage host' as const, name, files })),
];

const unread = (s: Snapshot): string[] => [
  ...[...silentCells(s), ...silentHosts(s), ...silentStorage(s)],
  ...placesOf(s).flatMap(({ kind, name, files }) =>
    files.unreachable === null ? [] : [`files of ${kind} ${name}: ${files.unreachable}`],
  ),
];

/** Whether the records say that the guest, or the volume, is there; `back`: for the way back of a move that waits. */
function lookUp(s: Snapshot): (place: Place, id: string) => 'owned' | 'back' | 'perhaps' | 'stray' {
  const records = homeRecords(s);
  const waiting = waitingMoves(s);
  const volumes = new Map(s.volumes.map((volume) => [volume.id, volume]));
  return ({ kind, name }, id) => {
    if (s.busy.has(id)) return 'perhaps';
    if (kind === 'storage host') {
      const volume = volumes.get(id);
      return volume?.storageHost !== name ? 'stray' : volume.busy ? 'perhaps' : 'owned';
    }
    if (records.get(id)?.server.host === name) return 'owned';
    // Its cell cannot be read.
    if (s.homes.has(id) && !records.has(id)) return 'perhaps';
    return waiting.get(id)?.sourceHost === name ? 'back' : 'stray';
  };
}

export const FILES_THERE: Invariant = {
  name: 'files there',
  sentence:
    'Every guest has its disk and what that stands on, also the old one of a move that waits, and every volume its file; the host has its record.',
  check(s) {
    const belongs = lookUp(s);
    const breaches = placesOf(s).flatMap((place): Breach[] =>
      place.files.missing.flatMap(({ id, what }) => {
        const is = belongs(place, id);
        // What is nobody's is named as that.
        return is === 'perhaps' || is === 'stray' ? [] : [missing(place, id, what, is)];
      }),
    );
    return { breaches, unknown: unread(s) };
  },
};

function missing({ kind, name }: Place, id: string, what: string, is: 'owned' | 'back'): Breach {
  const of =
    kind === 'storage host' ? `volume ${id}` : is === 'back' ? `the old guest of server ${id}` : `server ${id}`;
  const told = `the ${what} of ${of} is missing on ${kind} ${name}${is === 'back' ? ', although its move may be reverted' : ''}`;
  const cause = 'it was moved or deleted by hand, or the file system lost it';
  if (what === 'record')
    return {
      what: told,
      cause,
      repair: 'before its agent restarts, have it written anew: any change of power, or of the volume, does',
    };
  const lost =
    kind === 'storage host'
      ? 'delete the volume'
      : is === 'back'
        ? 'do not revert the move: confirm it'
        : what === 'memory'
          ? 'start the server anew (openstack server reboot --hard)'
          : 'rebuild the server, or delete it; while it still runs, make an image of it first (openstack server image create)';
  return { what: told, cause, repair: `put the file back where the host had it; if that cannot be done, ${lost}` };
}

export const FILES_HAVE_OWNER: Invariant = {
  name: 'files have owners',
  sentence: 'Whatever guests’ and volumes’ files are on a host, it has a record of whose they are.',
  check(s) {
    const belongs = lookUp(s);
    const kept = new Map(s.quarantined.map((each) => [`${each.host} ${each.serverId}`, each]));
    const debts = new Map(
      s.debts
        .filter(({ kind }) => kind === 'destroy-remains' || kind === 'delete-remains')
        .map((debt) => [`${debt.host} ${debt.serverId}`, debt]),
    );
    const breaches: Breach[] = [];
    const owed: Owed[] = [];
    for (const place of placesOf(s)) {
      const { kind, name, files } = place;
      for (const id of files.remains) {
        const is = belongs(place, id);
        if (is === 'perhaps') continue;
        const what = `${kind} ${name} keeps files of ${kind === 'host' ? 'server' : 'volume'} ${id} and no record of it`;
        const [debt, row] = [debts.get(`${name} ${id}`), kept.get(`${name} ${id}`)];
        if (debt) owed.push({ what, reason: debt.reason, since: debt.createdAt });
        else if (row && is === 'stray')
          owed.push({ what, reason: `in quarantine, to be released or destroyed: ${row.reason}`, since: row.foundAt });
        else breaches.push(withoutRecord(what, is === 'stray'));
      }
      for (const path of files.strays) {
        const id = ownerOf(path);
        if (id !== null && s.busy.has(id)) continue;
        breaches.push({
          what: `${path} in the state directory of ${kind} ${name} belongs to nothing`,
          cause: 'it was put there by hand, or is left of a power cut',
          repair: 'look at it, and remove it by hand',
        });
      }
    }
    return { breaches, owed, unknown: unread(s) };
  },
};

const withoutRecord = (what: string, isStray: boolean): Breach => ({
  ...{ what, cause: 'the host has lost a part of its records, or somebody has put the files there' },
  repair: isStray
    ? 'it is in quarantine within a minute: look at it, then release or destroy it (crosscell quarantine)'
    : 'put its record back from a backup of the state directory and restart the agent (operator’s guide: guests that nobody owns)',
});
