// Server groups and who is in them.
import type { Invariant } from '../invariant.ts';

export const MEMBER_IS_SERVER: Invariant = {
  name: 'members of groups',
  sentence: 'Every member of a server group is a server that exists.',
  check(s) {
    const breaches = s.groupMembers
      .filter(({ serverId }) => !s.homes.has(serverId) && !s.busy.has(serverId))
      .map(({ serverId, groupId }) => ({
        what: `server group ${groupId} has server ${serverId} as a member, which does not exist`,
        cause: 'a delete was cut short, or the home of the server was deleted by hand',
        repair: 'delete the row of the server from server_group_members',
        fix: { kind: 'leave group', serverId } as const,
      }));
    return { breaches, unknown: [] };
  },
};
