// Volumes and attachments of a Cinder, API v3, with the service user's rights.
//
// Theory of operation. Microversion 3.54: attachments with a mode. Each attachment is used once: reserved, connected from
// one host, deleted. Deleting what is gone is fine. Reserving is not repeated: who reserves keeps a note of it before, and
// finds what a lost answer has left by `attachmentsOf`. Connecting is not either: Cinder takes a second time for a defect;
// who connects looks first.
import { type Static, Type } from 'typebox';
import type { Said, Session } from './session.ts';

const Text = Type.String({ maxLength: 65_536 });
const MaybeText = Type.Optional(Type.Union([Text, Type.Null()]));
const Texts = Type.Record(Type.String({ maxLength: 255 }), Type.Union([Text, Type.Null()]));

const Volume = Type.Object({
  id: Text,
  name: Type.Union([Text, Type.Null()]),
  status: Text,
  size: Type.Integer({ minimum: 0, maximum: 8 * 1024 * 1024 }),
  bootable: Text,
  encrypted: Type.Boolean(),
  multiattach: Type.Boolean(),
  user_id: Type.Union([Text, Type.Null()]),
  'os-vol-tenant-attr:tenant_id': Text,
  metadata: Texts,
  volume_image_metadata: Type.Optional(Texts),
});
export type CinderVolume = Static<typeof Volume>;
const OneVolume = Type.Object({ volume: Volume });

const Attachment = Type.Object({
  id: Text,
  status: Text,
  instance: MaybeText,
  volume_id: Text,
  /** Without a driver_volume_type until it is connected. */
  connection_info: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});
export type CinderAttachment = Static<typeof Attachment>;
const OneAttachment = Type.Object({ attachment: Attachment });
const Attachments = Type.Object({ attachments: Type.Array(Attachment, { maxItems: 10_000 }) });

export interface Reservation {
  readonly volumeId: string;
  readonly serverId: string;
  readonly mode: 'rw' | 'ro';
}

export interface Cinder {
  /** It answers. */
  ping(): Promise<void>;
  /** Null: there is none of that id. */
  volume(volumeId: string): Promise<CinderVolume | null>;
  /** Its deletion has begun; refused while it is in use or has snapshots. */
  deleteVolume(volumeId: string): Promise<Said<null>>;
  /** A new attachment without a connection; refused when the volume is not free. */
  reserve(wish: Reservation): Promise<Said<CinderAttachment>>;
  /** Null: there is none of that id. */
  attachment(id: string): Promise<CinderAttachment | null>;
  /** All of the server, of all volumes. */
  attachmentsOf(serverId: string): Promise<readonly CinderAttachment[]>;
  /** The attachment, which has no connection, is connected from the host. */
  connect(id: string, host: string, mode: 'rw' | 'ro'): Promise<Said<CinderAttachment>>;
  /** The volume is in use by it. */
  complete(id: string): Promise<Said<null>>;
  /** The attachment is gone, and with it what was connected. */
  detach(id: string): Promise<void>;
}

/** Cinder said no to what it should not: an operator has to look. */
export class CinderRefused extends Error {
  override readonly name = 'CinderRefused';
}

/** All throw ServiceDown, and CinderRefused for a refusal that they do not answer. Ids are UUIDs. */
export function cinderOf(session: Session): Cinder {
  const service = 'block-storage' as const;
  const headers = { 'openstack-api-version': 'volume 3.54' };
  const at = (kind: 'volumes' | 'attachments', id: string): string => `/${kind}/${encodeURIComponent(id)}`;
  const attachmentIn = (said: Said<Static<typeof OneAttachment>>): Said<CinderAttachment> =>
    said.kind === 'ok' ? { ...said, body: said.body.attachment } : said;

  return {
    async ping() {
      await answered(session.ask(null, { service, method: 'GET', path: '/volumes?limit=1', headers }));
    },
    async volume(id) {
      const found = await lookedUp(
        session.ask(OneVolume, { service, method: 'GET', path: at('volumes', id), headers }),
      );
      return found?.volume ?? null;
    },
    deleteVolume: (id) => session.ask(null, { service, method: 'DELETE', path: at('volumes', id), headers }),
    async reserve({ volumeId, serverId, mode }) {
      const body = { attachment: { volume_uuid: volumeId, instance_uuid: serverId, mode } };
      return attachmentIn(
        await session.ask(OneAttachment, { service, method: 'POST', path: '/attachments', headers, body }),
      );
    },
    async attachment(id) {
      const ask = { service, method: 'GET', path: at('attachments', id), headers } as const;
      return (await lookedUp(session.ask(OneAttachment, ask)))?.attachment ?? null;
    },
    async attachmentsOf(serverId) {
      const path = `/attachments?all_tenants=1&instance_id=${encodeURIComponent(serverId)}`;
      return (await answered(session.ask(Attachments, { service, method: 'GET', path, headers }))).attachments;
    },
    async connect(id, host, mode) {
      const connector = { host, mode, multipath: false, platform: 'x86_64', os_type: 'linux' };
      const ask = { service, method: 'PUT', path: at('attachments', id), headers, repeatable: false } as const;
      return attachmentIn(await session.ask(OneAttachment, { ...ask, body: { attachment: { connector } } }));
    },
    complete: (id) =>
      session.ask(null, {
        ...{ service, method: 'POST', path: `${at('attachments', id)}/action`, headers, repeatable: true },
        body: { 'os-complete': {} },
      }),
    async detach(id) {
      const path = at('attachments', id);
      const said = await session.ask(null, { service, method: 'DELETE', path, headers });
      if (said.kind === 'refused' && said.status !== 404) throw refused(said);
    },
  };
}

const refused = ({ status, message }: { readonly status: number; readonly message: string }): CinderRefused =>
  new CinderRefused(`Cinder refuses: ${status} ${message}`);

async function answered<T>(said: Promise<Said<T>>): Promise<T> {
  const answer = await said;
  if (answer.kind === 'ok') return answer.body;
  throw refused(answer);
}

/** Null for 404. */
async function lookedUp<T>(said: Promise<Said<T>>): Promise<T | null> {
  const answer = await said;
  if (answer.kind === 'ok') return answer.body;
  if (answer.status === 404) return null;
  throw refused(answer);
}
