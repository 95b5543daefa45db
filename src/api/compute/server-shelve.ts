// Shelving actions. Source: nova/api/openstack/compute/shelve.py.
import { Type } from 'typebox';
import { checkHostName, checkZoneName } from '../../model/names.ts';
import { offloadServer, shelveServer } from '../../moves/shelve.ts';
import { unshelveServer } from '../../moves/unshelve.ts';
import { requireRule } from '../http/auth.ts';
import { refuse } from '../http/errors.ts';
import { nullable, object, text } from './common.ts';
import { type Actions, accepted, action, Nothing, targetOf } from './server-action.ts';

const Zone = Type.String({ minLength: 1, maxLength: 255 });
/** From 2.77 a zone (null lets go of the one that the server was pinned to, from 2.91), from 2.91 a host. */
const Unshelve = nullable(object({ availability_zone: Type.Optional(nullable(Zone)), host: Type.Optional(text()) }));
/** Before 2.77 a zone is passed over, as by Nova: Terraform's provider sends one in every microversion. */
const UnshelveBefore77 = nullable(object({ availability_zone: Type.Optional(nullable(Zone)) }));
const UnshelveFrom77 = nullable(object({ availability_zone: Zone }));
const UnshelveFrom91 = nullable(
  Type.Object(
    { availability_zone: Type.Optional(nullable(Zone)), host: Type.Optional(text()) },
    { additionalProperties: false, minProperties: 1 },
  ),
);

export const serverShelveActions: Actions = {
  shelve: action('os_compute_api:os-shelve:shelve', Nothing, ({ p, actor, server }) =>
    accepted(shelveServer(p, actor, server.id)),
  ),
  shelveOffload: action('os_compute_api:os-shelve:shelve_offload', Nothing, ({ p, actor, server }) =>
    accepted(offloadServer(p, actor, server.id)),
  ),
  unshelve: action(
    'os_compute_api:os-shelve:unshelve',
    (minor) => (minor >= 91 ? UnshelveFrom91 : minor >= 77 ? UnshelveFrom77 : UnshelveBefore77) as typeof Unshelve,
    ({ p, actor, server, minor }, value) => {
      const { host, availability_zone: zone } = (minor >= 77 ? value : null) ?? {};
      if (host !== undefined) {
        requireRule(p, 'compute', actor, 'os_compute_api:os-shelve:unshelve_to_host', targetOf(server));
        refuse(checkHostName(host));
      }
      if (typeof zone === 'string') refuse(checkZoneName(zone));
      return accepted(
        unshelveServer(p, actor, server.id, {
          ...(zone === undefined ? {} : { zone }),
          ...(host === undefined ? {} : { host }),
        }),
      );
    },
  ),
};
