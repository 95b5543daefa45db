// Where servers live: homes and records.

import { isDeepStrictEqual } from 'node:util';
import { BESIDE_RECORDS } from '../../store/travel.ts';
import { homeRecords, type Invariant, silentCells, waitingMoves } from '../invariant.ts';

export const ONE_HOME: Invariant = {
  name: 'one home',
  sentence: 'Every server has one home, and its record is there.',
  check(s) {
    const records = homeRecords(s);
    const cells = new Map(s.cells.map((cell) => [cell.id, cell]));
    const breaches = [...s.homes].flatMap(([serverId, home]) => {
      const cell = cells.get(home.cellId);
      if (cell && cell.unreachable !== null) return [];
      if (records.has(serverId) || s.busy.has(serverId)) return [];
      return [
        {
          what: `server ${serverId} has no record in its home, cell ${cell?.name ?? home.cellId}`,
          cause: 'the record was lost or deleted by hand, or a create stopped between home and record',
          repair: `restore the record from a backup of the cell's database, or give the server up: set deleted_at of its row in server_mappings`,
        },
      ];
    });
    return { breaches, unknown: silentCells(s) };
  },
};

export const ONE_RECORD: Invariant = {
  name: 'one record',
  sentence:
    'A server has exactly one record, in its home; no cell keeps one, or what belongs to one, of a server that lives elsewhere or nowhere.',
  check(s) {
    const nameOf = new Map(s.cells.map((cell) => [cell.id, cell.name]));
    const debts = s.debts.filter((debt) => debt.kind === 'drop-records');
    const isOwed = (cellId: string, serverId: string): boolean =>
      debts.some((debt) => debt.host === cellId && debt.serverId === serverId);
    const breaches = s.cells.flatMap((cell) => [
      ...cell.records.flatMap(({ server }) => {
        const home = s.homes.get(server.id);
        if (home?.cellId === cell.id || s.busy.has(server.id) || isOwed(cell.id, server.id)) return [];
        const lives = home ? `lives in cell ${nameOf.get(home.cellId) ?? home.cellId}` : 'has no home';
        return [
          {
            what: `cell ${cell.name} keeps a record of server ${server.id}, which ${lives}`,
            cause: 'a move was cut short and its clean-up did not come, or a create failed before its home was written',
            repair: `delete the rows of the server from ${['servers', ...BESIDE_RECORDS].join(', ')} in the database of cell ${cell.name}`,
            fix: { kind: 'drop records', cellId: cell.id, serverId: server.id } as const,
          },
        ];
      }),
      ...cell.strays
        .filter(({ serverId }) => !s.busy.has(serverId) && !isOwed(cell.id, serverId))
        .map(({ serverId, table }) => ({
          what: `cell ${cell.name} keeps rows of server ${serverId} in ${table} but no record`,
          cause: 'a move was cut short and its clean-up did not come',
          repair: `delete the server's rows from ${table} in the database of cell ${cell.name}`,
          fix: { kind: 'drop records', cellId: cell.id, serverId } as const,
        })),
    ]);
    const owed = debts.map((debt) => ({
      what: `record of server ${debt.serverId} in cell ${nameOf.get(debt.host) ?? debt.host}`,
      reason: debt.reason,
      since: debt.createdAt,
    }));
    return { breaches, owed, unknown: silentCells(s) };
  },
};

export const MAPPING_AS_RECORDED: Invariant = {
  name: 'mapping as recorded',
  sentence:
    'What the global database says of a server, which counts for quotas and lists, is what its record says: project, user and flavor; and only a shelved one is to leave its host.',
  check(s) {
    const breaches = [...homeRecords(s).values()].flatMap(({ server }) => {
      const home = s.homes.get(server.id);
      if (!home || s.busy.has(server.id)) return [];
      const wrong: string[] = [];
      if (home.projectId !== server.projectId) wrong.push(`of project ${server.projectId}, and not ${home.projectId}`);
      if (home.userId !== server.userId) wrong.push(`of user ${server.userId}, and not ${home.userId}`);
      if (!isDeepStrictEqual(home.flavor, server.flavor))
        wrong.push(`of flavor ${server.flavor.name}, and not as its mapping says, ${home.flavor.name}`);
      if (home.offloadAt !== null && server.vmState !== 'shelved')
        wrong.push(`${server.vmState} although its mapping has it leave its host`);
      return wrong.map((text) => ({
        what: `server ${server.id} is by its record ${text}`,
        cause: 'the record or the mapping was changed by hand, or a cell was restored from a backup',
        repair: "set the server's row in server_mappings, or its record, right: who it belongs to is known outside",
      }));
    });
    return { breaches, unknown: silentCells(s) };
  },
};

export const RECORD_AT_REST: Invariant = {
  name: 'record at rest',
  sentence:
    'A record that no move works on is not frozen, is not building, remembers an old flavor exactly while a finished move waits, and is soft-deleted exactly if its mapping is.',
  check(s) {
    const waiting = waitingMoves(s);
    const breaches = [...homeRecords(s).values()].flatMap(({ server, frozen }) => {
      if (s.busy.has(server.id)) return [];
      const wrong: string[] = [];
      const resized = server.vmState === 'resized';
      if (frozen) wrong.push('is frozen although nothing carries it');
      if (server.vmState === 'building') wrong.push('is building although nothing builds it');
      if (resized && !waiting.has(server.id)) wrong.push('waits to be confirmed without a finished move');
      if (!resized && waiting.has(server.id)) wrong.push(`is ${server.vmState} although a finished move waits`);
      if (resized !== (server.oldFlavor !== null)) wrong.push('remembers an old flavor at the wrong time');
      if ((server.vmState === 'soft-delete') !== (s.homes.get(server.id)?.softDeleted ?? false)) {
        wrong.push(`is ${server.vmState} although its mapping says otherwise`);
      }
      const fix = { kind: 'let go', serverId: server.id } as const;
      return wrong.map((text) => ({
        what: `server ${server.id} ${text}`,
        cause: 'a step of a move did not write what it should, or the record was changed by hand',
        repair: `compare the record with the server's sagas (crosscell/v1/moves?server_id=${server.id}) and set it right, or delete the server`,
        ...(text.startsWith('is frozen') ? { fix } : {}),
      }));
    });
    return { breaches, unknown: silentCells(s) };
  },
};
