// What must be true of a world that has come to rest, beside the invariants of the audit: what nobody inside can see.
import { audit } from '../audit/audit.ts';
import { apiStatus, isLegalTransition } from '../model/states.ts';
import type { TaskState, VmState } from '../model/types.ts';
import { COPY_DIFFERS } from '../moves/resize-effects.ts';
import type { Databases } from './databases.ts';
import type { Disks } from './disk-checks.ts';
import { brokenImages } from './image-checks.ts';
import { brokenVolumes, overwrittenVolumes, sharedByMistake, unreachedVolumes } from './volume-checks.ts';
import type { World } from './world.ts';

/** One sentence per thing that is wrong; empty: all is well. */
export async function violationsAtRest(world: World, databases: Databases, disks: Disks): Promise<string[]> {
  const [audited, wrongDisks] = [await auditedBreaches(world), await disks.atRest()];
  return [
    ...violationsSoFar(world, databases, disks),
    ...illegalTransitions(databases),
    ...audited,
    ...wrongDisks,
    ...differentCopies(databases),
    ...(await brokenVolumes(world)),
    ...(await brokenImages(world, databases)),
    ...(await unreachedVolumes(world, databases)),
    ...strayErrors(databases),
  ];
}

/** What must not be true at any instant, and was. */
export const violationsSoFar = (world: World, databases: Databases, disks: Disks): string[] => [
  ...world.fabric.ranTwice,
  ...disks.violations,
  ...sharedByMistake(world, databases),
  ...overwrittenVolumes(world),
  ...crowdedGroups(databases),
  ...scatteredGroups(databases),
];

/** Members of a group that must be apart are, wherever they hold room; the way back of a waiting resize counts. */
const crowdedGroups = (databases: Databases): string[] =>
  databases
    .rows(
      `select g.id, p.name, count(distinct c.server_id) as members from server_groups g
         join server_group_members m on m.group_id = g.id
         join consumers c on c.server_id = m.server_id
         join allocations a on a.consumer_id = c.id
         join providers p on p.id = a.provider_id
       where g.policy = 'anti-affinity' group by g.id, p.name having members > coalesce(g.max_server_per_host, 1)`,
    )
    .map((row) => `group ${row['id']} has ${row['members']} members on ${row['name']}, which must be apart`);

/**
 * Members of a group that must be together are: on one host, each where it is now. Who turns back, or is turned back,
 * comes to where it was, wherever others have joined it meanwhile (as with Nova): then nothing is said of its group.
 */
const scatteredGroups = (databases: Databases): string[] =>
  databases
    .rows(
      `select g.id, count(distinct a.provider_id) as hosts from server_groups g
         join server_group_members m on m.group_id = g.id
         join consumers c on c.server_id = m.server_id
         join allocations a on a.consumer_id = c.id
       where g.policy = 'affinity'
         and (c.type = 'server' or not exists
           (select 1 from consumers s where s.server_id = c.server_id and s.type = 'server'))
         and not exists (select 1 from migrations moved join server_group_members fellow on fellow.server_id = moved.server_id
           where fellow.group_id = g.id and moved.status not in ('finished', 'confirming', 'confirmed', 'done'))
       group by g.id having hosts > 1`,
    )
    .map((row) => `group ${row['id']} has members on ${row['hosts']} hosts, which must be together`);

/** Nothing may be unknown either, nor owed: every host and every cell answers. */
async function auditedBreaches(world: World): Promise<string[]> {
  const report = await audit(world.p);
  return [
    ...report.invariants.flatMap(({ name, breaches, unknown }) => [
      ...breaches.map(({ what }) => `${name}: ${what}`),
      ...unknown.map((why) => `${name}: not looked at: ${why}`),
    ]),
    ...report.owed.map(({ what, reason }) => `owed at the end: ${what} (${reason})`),
  ];
}

/** Of every change of a record that was committed, whether its status may follow the one before. */
function illegalTransitions(databases: Databases): string[] {
  const wrong: string[] = [];
  for (const cell of databases.transitions()) {
    const seen = new Map<string, ReturnType<typeof apiStatus>>();
    for (const { serverId, vmState, taskState } of cell) {
      if (vmState === null) {
        seen.delete(serverId);
        continue;
      }
      const status = apiStatus(vmState as VmState, taskState as TaskState | null);
      const before = seen.get(serverId) ?? status;
      if (!isLegalTransition(before, status)) wrong.push(`server ${serverId} went from ${before} to ${status}`);
      seen.set(serverId, status);
    }
  }
  return wrong;
}

/** Nobody damages a disk on its way here: where a copy is not what was copied, a host has told what is not so. */
const differentCopies = (databases: Databases): string[] =>
  databases
    .rows('select key, definition from sagas where instr(journal_json, ?) > 0', COPY_DIFFERS)
    .map((row) => `a copy of the disk of server ${row['key']} was found to be another one (${row['definition']})`);

/** Only a server that could not be built may be in ERROR: no move that fails leaves one there. */
function strayErrors(databases: Databases): string[] {
  return databases
    .transitions()
    .flat()
    .filter(({ vmState }) => vmState === 'error')
    .filter(({ serverId }) => {
      const [create] = databases.rows("select status from sagas where key = ? and definition = 'create'", serverId);
      return create !== undefined && create['status'] === 'done';
    })
    .map(({ serverId }) => `server ${serverId}, which had been built, went to ERROR`);
}
