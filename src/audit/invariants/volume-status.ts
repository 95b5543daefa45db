// What a volume says of itself.
import { statusByAttachments } from '../../model/attachments.ts';
import type { Breach, Invariant } from '../invariant.ts';

/** What only a saga makes of a volume, and undoes again. (`deleting` may also be owed to its storage host.) */
const UNDER_WAY = ['creating', 'extending', 'reverting', 'uploading', 'downloading'];

export const STATUS_AS_ATTACHED: Invariant = {
  name: 'status of volumes',
  sentence:
    'A volume at rest is available when nobody has it, reserved when a server is about to, and in use when one has it; it is in another state only while a saga works on it, or when that has failed.',
  check(s) {
    const breaches = s.volumes.flatMap(({ id, status, attachments, busy }): Breach[] => {
      if (busy || s.endsOwed.has(id) || s.volumesOwed.has(id)) return [];
      if (UNDER_WAY.includes(status)) {
        return [
          {
            what: `volume ${id} is ${status} although nothing is under way`,
            cause: 'a saga ended without letting go of the volume, or its record was changed by hand',
            repair: 'look at the volume, then set its status (cinder reset-state), or delete it by force',
          },
        ];
      }
      const wanted = statusByAttachments(status, attachments);
      if (wanted === status) return [];
      const servers = [...new Set(attachments.map((each) => each.serverId))].sort().join(', ');
      return [
        {
          what: `volume ${id} is ${status} although ${servers === '' ? 'no server has it' : `it is attached to ${servers}`}`,
          cause: 'its status was reset by hand, or the record was changed by hand',
          repair: `if no server's home has it mapped (block_device_mappings): set the status of the volume to ${wanted} (cinder reset-state); else put its row in volume_attachments back`,
          fix: { kind: 'settle status', volumeId: id },
        },
      ];
    });
    return { breaches, unknown: [] };
  },
};

export const SNAPSHOTS_AT_REST: Invariant = {
  name: 'snapshots at rest',
  sentence:
    'A snapshot of a volume is being created only while a saga works on the volume, or on a server that has it.',
  check(s) {
    const breaches = s.volumes.flatMap(({ id, creating, busy }): Breach[] =>
      busy
        ? []
        : creating.map((snapshotId) => ({
            what: `snapshot ${snapshotId} of volume ${id} is creating although nothing is under way`,
            cause: 'a saga ended without letting go of it, or its record was changed by hand',
            repair: 'set its status to error (cinder snapshot-reset-state), and delete it',
          })),
    );
    return { breaches, unknown: [] };
  },
};

export const ONE_SERVER: Invariant = {
  name: 'one server per volume',
  sentence: 'A volume that is not made for several servers is attached to one at most.',
  check(s) {
    const breaches = s.volumes.flatMap(({ id, attachments, multiattach, busy }): Breach[] => {
      const servers = [...new Set(attachments.map(({ serverId }) => serverId))].sort();
      if (multiattach || busy || servers.length < 2) return [];
      return [
        {
          what: `volume ${id} is attached to ${servers.join(' and ')}, and may be to one alone`,
          cause: 'its attachments were changed by hand',
          repair:
            "stop these servers; then delete the rows in volume_attachments of those whose homes' block_device_mappings do not have it",
        },
      ];
    });
    return { breaches, unknown: [] };
  },
};
