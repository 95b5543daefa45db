// Sagas: what is under way, and that what has ended holds nothing.
import { type Breach, homeRecords, type Invariant, silentCells } from '../invariant.ts';

/** A saga that nobody has gone on with for this long is forgotten, ms. Leases last seconds. */
const FORGOTTEN_MS = 120_000;

export const TASK_HAS_SAGA: Invariant = {
  name: 'tasks have sagas',
  sentence: 'A server that something is being done to has an active saga that does it, and no server has two.',
  check(s) {
    const byServer = new Map(s.sagas.map((saga) => [saga.serverId, saga]));
    const breaches = [...homeRecords(s).values()].flatMap(({ server }): Breach[] => {
      const saga = byServer.get(server.id);
      const repair = `look at crosscell/v1/moves?server_id=${server.id}; if nothing is under way, clear task_state and saga_id of its record`;
      if (!saga && !s.busy.has(server.id) && (server.sagaId !== null || server.taskState !== null)) {
        const held = [server.taskState && `task ${server.taskState}`, server.sagaId && `saga ${server.sagaId}`];
        return [
          {
            what: `server ${server.id} is held by ${held.filter(Boolean).join(', ')}, which is not under way`,
            cause: 'a saga ended without letting go of its server, or the record was changed by hand',
            repair,
            fix: { kind: 'let go', serverId: server.id },
          },
        ];
      }
      if (saga && server.sagaId !== null && server.sagaId !== saga.id) {
        return [
          {
            what: `server ${server.id} is held by saga ${server.sagaId} while saga ${saga.id} works on it`,
            cause: 'a saga ended without letting go of its server',
            repair,
          },
        ];
      }
      if (server.taskState !== null && server.sagaId === null) {
        return [
          { what: `server ${server.id} has task ${server.taskState} of no saga`, cause: 'changed by hand', repair },
        ];
      }
      return [];
    });
    return { breaches, unknown: silentCells(s) };
  },
};

/** The last thing that these do behind giving up what they work on is to end. */
const REMOVERS = ['delete', 'delete volume'];

export const SAGA_HAS_SERVER: Invariant = {
  name: 'sagas have servers',
  sentence:
    'Every saga under way works on a server or a volume that exists; none is stuck, and somebody goes on with each.',
  check(s) {
    const volumes = new Set(s.volumes.map((volume) => volume.id));
    const breaches = s.sagas.flatMap((saga): Breach[] => {
      const name = `${saga.definition} ${saga.id} of ${saga.subject} ${saga.serverId}`;
      const exists = saga.subject === 'volume' ? volumes.has(saga.serverId) : s.homes.has(saga.serverId);
      if (saga.status === 'stuck') {
        return [
          {
            what: `${name} is stuck`,
            cause: saga.reason ?? 'no reason was written down',
            repair: `remove the cause, then 'crosscell moves retry ${saga.id}': it goes on where it stopped`,
          },
        ];
      }
      if (!exists && !REMOVERS.includes(saga.definition)) {
        return [
          {
            what: `${name} works on a ${saga.subject} that does not exist`,
            cause: `the ${saga.subject === 'volume' ? 'record of the volume' : 'home of the server'} was deleted by hand`,
            repair: 'see its journal for what it holds; bring back what was deleted, or give that up by hand',
          },
        ];
      }
      if (s.endedAt - saga.dueAt > FORGOTTEN_MS) {
        return [
          {
            what: `nobody goes on with ${name}`,
            cause: 'no conductor is running, or its cell cannot be reached, or too few lanes for the work',
            repair: 'start the control plane; its log says what keeps it from going on',
          },
        ];
      }
      return [];
    });
    return { breaches, unknown: [] };
  },
};

export const ENDED_HOLDS_NOTHING: Invariant = {
  name: 'ended moves hold nothing',
  sentence: 'A move is under way only while its saga is: otherwise it waits, or is confirmed, reverted or failed.',
  check(s) {
    const breaches = s.migrations.flatMap((migration): Breach[] => {
      if (s.busy.has(migration.serverId)) return [];
      if (migration.status === 'finished') {
        if (s.homes.has(migration.serverId)) return [];
        return [
          {
            what: `move ${migration.id} waits for server ${migration.serverId}, which does not exist`,
            cause: 'a delete did not close it',
            repair: "set the migration's status to confirmed",
            fix: { kind: 'close migration', migrationId: migration.id, serverId: migration.serverId },
          },
        ];
      }
      return [
        {
          what: `move ${migration.id} of server ${migration.serverId} is ${migration.status} although nothing is under way`,
          cause: 'a saga ended without closing its migration',
          repair: "set the migration's status to what came of it: see its saga's journal",
          fix: { kind: 'close migration', migrationId: migration.id, serverId: migration.serverId },
        },
      ];
    });
    return { breaches, unknown: [] };
  },
};
