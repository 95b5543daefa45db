// What a move that waits to be confirmed needs for its way back, beside the old guest (guests.ts).
import { type Breach, homeRecords, type Invariant, silentCells, waitingMoves } from '../invariant.ts';
import type { MigrationView, ServerRecord, Snapshot } from '../snapshot.ts';

const BY_HAND = 'records were changed by hand, or a clean-up went too far';
const CONFIRM = 'do not revert the move: confirm it';

export const WAY_BACK_WHOLE: Invariant = {
  name: 'way back whole',
  sentence:
    'While a move waits to be confirmed, its migration says where the server is and was, and its ports and volumes can go back.',
  check(s) {
    const records = homeRecords(s);
    const breaches = [...waitingMoves(s).values()].flatMap((migration): Breach[] => {
      const record = records.get(migration.serverId);
      if (!record || s.busy.has(migration.serverId)) return [];
      return missing(s, record, migration).map((what) => ({ what, cause: BY_HAND, repair: CONFIRM }));
    });
    return { breaches, unknown: silentCells(s) };
  },
};

function missing(s: Snapshot, { server, volumes }: ServerRecord, migration: MigrationView): string[] {
  const { id, sourceHost, sourceCellId, destHost, destCellId } = migration;
  const found: string[] = [];
  if (server.oldVmState === null)
    found.push(`server ${server.id} waits to be confirmed, and is not known to have been on or off`);
  if (destHost !== server.host || destCellId !== s.homes.get(server.id)?.cellId) {
    found.push(`migration ${id} went to ${destHost}; server ${server.id} is on ${server.host}`);
  }
  const source = s.hosts.find((each) => each.name === sourceHost);
  if (source && source.cellId !== sourceCellId) {
    found.push(`migration ${id} of server ${server.id} came from another cell than that of ${sourceHost}`);
  }
  for (const port of s.ports) {
    if (port.serverId !== server.id || port.bindings.some((each) => each.host === sourceHost)) continue;
    found.push(`port ${port.id} of server ${server.id} has no binding on ${sourceHost} to go back to`);
  }
  const there = s.attachments.filter((each) => each.serverId === server.id && each.host === sourceHost);
  for (const volumeId of volumes) {
    if (there.some((each) => each.volumeId === volumeId)) continue;
    found.push(`volume ${volumeId} of server ${server.id} has no attachment on ${sourceHost} to go back to`);
  }
  return found;
}

export const HOST_IN_CELL: Invariant = {
  name: 'hosts in their cells',
  sentence: 'A server is on a host of the cell that it lives in.',
  check(s) {
    const cellOf = new Map(s.hosts.map((host) => [host.name, host.cellId]));
    const breaches = [...homeRecords(s).values()].flatMap(({ server }): Breach[] => {
      const [home, cell] = [s.homes.get(server.id)?.cellId, cellOf.get(server.host ?? '')];
      if (s.busy.has(server.id) || home === undefined || cell === undefined || home === cell) return [];
      return [
        {
          what: `server ${server.id} lives in cell ${home}; its host ${server.host} is of cell ${cell}`,
          cause: 'the host was registered in another cell, or records were changed by hand',
          repair: 'set the cell of the host (hosts.cell_id) right, and start the control plane again',
        },
      ];
    });
    return { breaches, unknown: silentCells(s) };
  },
};
