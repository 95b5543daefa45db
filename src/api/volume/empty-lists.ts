// Lists of what block storage does not have. Clients read them to clean up a project or to show all there is, and give up
// where one is missing: openstacksdk's project cleanup asks for backups first.
import { type TSchema, Type } from 'typebox';
import { text } from '../compute/common.ts';
import { type Route, type RoutePolicy, route } from '../http/route.ts';
import { ListParameters, V3 } from './common.ts';

/** Path, who may list it, and from which microversion on: cinder/api/v3/router.py, cinder/policies/*.py. */
const EMPTY: readonly (readonly [path: string, policy: RoutePolicy, since: number])[] = [
  ['backups', 'backup:get_all', 0],
  ['backups/detail', 'backup:get_all', 0],
  ['consistencygroups', 'group:get_all', 0],
  ['consistencygroups/detail', 'group:get_all', 0],
  ['cgsnapshots', 'group:get_all_group_snapshots', 0],
  ['cgsnapshots/detail', 'group:get_all_group_snapshots', 0],
  ['qos-specs', 'volume_extension:qos_specs_manage:get_all', 0],
  ['messages', 'message:get_all', 3],
  ['clusters', 'clusters:get_all', 7],
  ['clusters/detail', 'clusters:get_all', 7],
  ['group_types', 'anyone', 11],
  ['groups', 'group:get_all', 13],
  ['groups/detail', 'group:get_all', 13],
  ['group_snapshots', 'group:get_all_group_snapshots', 14],
  ['group_snapshots/detail', 'group:get_all_group_snapshots', 14],
  ['default-types', 'volume_extension:default_get_all', 62],
];

/** Filters mean nothing where there is nothing. */
const Query = Type.Object(ListParameters, { additionalProperties: text(4000) });

export const emptyListRoutes: readonly Route[] = EMPTY.map(([path, policy, since]) => {
  const [collection = ''] = path.split('/', 1);
  const key = collection.replaceAll('-', '_');
  const body: TSchema = Type.Object(
    { [key]: Type.Array(Type.Unknown(), { maxItems: 0 }) },
    { additionalProperties: false },
  );
  return route({
    ...{ method: 'GET', url: `${V3}/${path}`, service: 'volume', summary: `List ${collection}: there are none` },
    ...{ policy, since, query: Query, answers: { 200: body } },
    handle: () => ({ status: 200, body: { [key]: [] } }),
  });
});
