// Tags of the network service's records: texts that users put on what they see, each once, in order.
//
// Theory of operation. A record's tags are one JSON column; who changes one of them reads all and writes all, in a
// transaction alone among those of the service. Whether the record is the actor's to tag is the caller's to know.
import { exclusively } from '../../store/dialect.ts';
import { NETWORKS } from './quotas.ts';
import { absent, type NetworkResource, type NetworkResult, no, refusable, refuseWith } from './results.ts';
import { changed, type Db, listOf } from './standard.ts';

const TABLES = {
  network: 'networks',
  subnet: 'subnets',
  port: 'ports',
  router: 'routers',
  floatingip: 'floating_ips',
  security_group: 'security_groups',
  security_group_rule: 'security_group_rules',
} as const satisfies Record<NetworkResource, string>;

const MAX_TAGS = 50;

/** Sets the record's tags to what `change` makes of them; answers them. `missing`: a tag that must be there. */
export const changeTags = (
  db: Db,
  resource: NetworkResource,
  id: string,
  now: number,
  change: (tags: readonly string[]) => readonly string[],
  missing?: string,
): Promise<NetworkResult<string[]>> =>
  refusable(() =>
    db.transaction().execute(async (trx) => {
      await exclusively(trx, NETWORKS);
      const table = TABLES[resource];
      const row = await trx.selectFrom(table).select('tags_json').where('id', '=', id).executeTakeFirst();
      if (!row) refuseWith(absent(resource, id));
      const before = listOf(row?.tags_json ?? '[]');
      if (missing !== undefined && !before.includes(missing))
        refuseWith(no(404, 'TagNotFound', `Tag ${missing} could not be found.`));
      const tags = [...new Set(change(before))].toSorted();
      if (tags.length > MAX_TAGS) {
        const message = `Invalid input for tags. Reason: List of more than ${MAX_TAGS} tags.`;
        refuseWith(no(400, 'HTTPBadRequest', message));
      }
      await trx
        .updateTable(table)
        .set({ tags_json: JSON.stringify(tags), ...changed(now) })
        .where('id', '=', id)
        .execute();
      return tags;
    }),
  );
