// Ports and their bindings.
import { NOWHERE } from '../../control/volumes/attachments.ts';
import { type Breach, homeRecords, type Invariant, silentCells, waitingMoves } from '../invariant.ts';

export const ONE_BINDING: Invariant = {
  name: 'ports',
  sentence:
    'Each port of a server has exactly one active binding, at its guest’s host, and no others but on the way back, or an operator’s.',
  check(s) {
    const records = homeRecords(s);
    const waiting = waitingMoves(s);
    const breaches = s.ports.flatMap((port): Breach[] => {
      if (port.serverId === '' || !s.homes.has(port.serverId)) return [];
      const found: Breach[] = [];
      const active = port.bindings.filter((binding) => binding.active);
      // A port that a server is about to get is bound, and not active yet.
      const busy = s.busy.has(port.serverId);
      if (active.length > 1 || (active.length === 0 && !busy)) {
        found.push({
          what: `port ${port.id} of server ${port.serverId} has ${active.length} active bindings`,
          cause: 'its bindings were changed by hand',
          repair: "make the binding at the host of the server's record active, and only that",
        });
      }
      const server = records.get(port.serverId)?.server;
      if (!server || busy) return found;
      const source = waiting.get(port.serverId)?.sourceHost;
      for (const { host, active: isActive, byOperator } of port.bindings) {
        if (isActive ? host === (server.host ?? NOWHERE) : byOperator || host === source) continue;
        found.push({
          what: `port ${port.id} of server ${port.serverId} is bound (${isActive ? 'active' : 'inactive'}) to ${host}; the server is on ${server.host}`,
          cause: 'a hand-over of ports or its clean-up was lost',
          repair: isActive ? `make the binding at ${server.host} the active one` : 'delete this binding',
          ...(isActive
            ? {}
            : { fix: { kind: 'unbind port', portId: port.id, serverId: port.serverId, host } as const }),
        });
      }
      return found;
    });
    return { breaches, unknown: silentCells(s) };
  },
};

export const PORT_HAS_OWNER: Invariant = {
  name: 'ports have owners',
  sentence: 'Every port that is attached is attached to a server that exists; one that is not has no binding.',
  check(s) {
    const breaches = s.ports.flatMap((port): Breach[] => {
      if (port.serverId === '') {
        if (port.bindings.length === 0) return [];
        return port.bindings.map(({ host }) => ({
          what: `port ${port.id} is attached to nothing and bound to ${host}`,
          cause: 'a detach left its binding',
          repair: "delete the port's rows from port_bindings",
          fix: { kind: 'unbind port', portId: port.id, serverId: '', host },
        }));
      }
      if (s.homes.has(port.serverId) || s.busy.has(port.serverId)) return [];
      return [
        {
          what: `port ${port.id} is attached to server ${port.serverId}, which does not exist`,
          cause: 'a delete was cut short and not finished',
          repair: 'delete the port: its address is free then',
          fix: { kind: 'delete ports', serverId: port.serverId },
        },
      ];
    });
    return { breaches, unknown: [] };
  },
};
