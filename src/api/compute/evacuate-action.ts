// Evacuation, by administrators: what may be said with it at which microversion, and the answer, which is empty but for the
// password of before 2.14, of which no guest is told (see docs/api.md).
import { randomBytes } from 'node:crypto';
import { type Static, Type } from 'typebox';
import { diskImageOf } from '../../model/disk-image.ts';
import { evacuateServer } from '../../moves/evacuate.ts';
import { badRequest, refuse } from '../http/errors.ts';
import type { Answer } from '../http/route.ts';
import { booleanOf, object } from './common.ts';
import { type ActionCall, type Actions, AdminPass, action } from './server-action.ts';

const Flag = Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]);
const wish = {
  host: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9-._]*$' })),
  adminPass: Type.Optional(AdminPass),
};
const UpTo13 = object({ ...wish, onSharedStorage: Flag });
const From14 = object(wish);
const From29 = object({ ...wish, force: Type.Optional(Flag) });
type Wish = Static<typeof From29> & { readonly onSharedStorage?: boolean | string };

const isTrue = (flag: boolean | string | undefined): boolean => booleanOf(String(flag ?? false)) === true;

/** 200, although it has only begun, as in Nova. A host that is forced is looked at like any other. */
async function evacuate({ p, actor, server, minor }: ActionCall, value: Wish): Promise<Answer> {
  const { host = null } = value;
  if (isTrue(value.force) && host === null) throw badRequest("Can't force to a non-provided destination");
  if (isTrue(value.onSharedStorage)) {
    if (value.adminPass !== undefined) throw badRequest("admin password can't be changed on existing disk");
    if (diskImageOf(server.image) !== null)
      throw badRequest('The disks of servers are not on shared storage: an evacuated server gets a new one.');
  }
  refuse(await evacuateServer(p, actor, server.id, { host, staysOff: minor >= 95 }));
  if (minor >= 14) return { status: 200 };
  const password = isTrue(value.onSharedStorage) ? null : (value.adminPass ?? randomBytes(9).toString('base64url'));
  return { status: 200, body: { adminPass: password } };
}

export const EVACUATE_ACTIONS: Actions = {
  evacuate: action(
    'os_compute_api:os-evacuate',
    // `force` was there from 2.29 to 2.67.
    (minor) => (minor < 14 ? UpTo13 : minor >= 29 && minor < 68 ? From29 : From14) as typeof From29,
    (call, value) => evacuate(call, value),
    object({ adminPass: Type.Union([Type.String(), Type.Null()]) }),
  ),
};
