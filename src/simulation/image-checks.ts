// What must be true of the images of servers and volumes in a world that has come to rest, beside the invariants of the
// audit.
import { createHash } from 'node:crypto';
import type { Databases } from './databases.ts';
import type { World } from './world.ts';

/** Each image has its data, or the snapshots that it names are of one moment; none waits for data that nobody sends. */
export async function brokenImages(world: World, databases: Databases): Promise<string[]> {
  const wrong: string[] = [];
  const own = databases.rows(
    "select id, status, size_bytes, sha256, properties_json from images where status <> 'deleted' and id <> ?",
    world.imageId,
  );
  for (const { id, status, size_bytes: size, sha256, properties_json: properties } of own) {
    if (status !== 'active') wrong.push(`image ${id} is ${status}, and nobody is at it`);
    else if (Number(size) > 0) {
      if (sha256 !== (await digestOf(world, String(id)))) wrong.push(`the file of image ${id} is not what was sent`);
    } else wrong.push(...apart(world, databases, String(id), String(properties)));
  }
  return [...wrong, ...leftBackups(databases)];
}

async function digestOf({ images }: World, imageId: string): Promise<string | null> {
  if ((await images.look(imageId)) === null) return null;
  const hash = createHash('sha256');
  for await (const bytes of images.read(imageId)) hash.update(bytes);
  return hash.digest('hex');
}

/**
 * Of a server there are no more backups than the last one that went well was to leave; one that was turned back when it
 * had its data already stays, and no others go for it.
 */
const leftBackups = (databases: Databases): string[] =>
  databases
    .rows(
      `select i.properties_json ->> '$.instance_uuid' as server_id, count(*) as kept, last.state_json ->> '$.rotation' as wanted
         from images i join sagas last on last.rowid = (
           select max(s.rowid) from sagas s where s.key = i.properties_json ->> '$.instance_uuid'
             and s.definition = 'create backup' and s.status = 'done')
       where i.status <> 'deleted' and i.properties_json ->> '$.image_type' = 'backup'
       group by server_id
       having kept > wanted + (select count(*) from sagas u where u.key = last.key
         and u.definition = 'create backup' and u.status = 'unwound' and u.rowid > last.rowid)`,
    )
    .map((row) => `server ${row['server_id']} has ${row['kept']} backups, of which ${row['wanted']} were to be kept`);

/** The guest wrote to one of its volumes while the snapshots were taken. Of volumes that servers share nothing is said. */
function apart({ fabric }: World, databases: Databases, imageId: string, properties: string): string[] {
  const { block_device_mapping: mapping = '[]' } = JSON.parse(properties) as Readonly<Record<string, string>>;
  const ids = (JSON.parse(mapping) as readonly { readonly snapshot_id: string }[]).map((each) => each.snapshot_id);
  const shared = databases.sharedVolumes();
  const known = databases
    .rows('select id, volume_id from volume_snapshots')
    .filter(({ id }) => ids.includes(String(id)));
  const volumes = known.map((row) => String(row['volume_id'])).filter((id) => !shared.has(id));
  const written = fabric.volumes.changedBetween(ids, volumes);
  return written === null
    ? []
    : [`volume ${written} was written to while the snapshots of image ${imageId} were taken`];
}
