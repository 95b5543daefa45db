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
          repair: `set the status of the volume to ${wanted} (cinder reset-state)`,
          fix: { kind: 'settle status', volumeId: id },
        },
      ];
    });
    return { breaches, unknown: [] };
  },
};
