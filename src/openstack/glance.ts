// Images of a Glance, API v2: what it says of one, its bytes and members, and images that are written into it. With the
// service user's rights: images are made as their project's, by ids that are chosen here, so that all but sending bytes
// can be repeated.
import type { Readable } from 'node:stream';
import { type Static, Type } from 'typebox';
import type { Said, Session } from './session.ts';
import { type Payload, ServiceDown } from './transport.ts';

const Text = Type.String({ maxLength: 65_536 });
const Maybe = <T extends Parameters<typeof Type.Optional>[0]>(type: T) =>
  Type.Optional(Type.Union([type, Type.Null()]));
const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Amount = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });

/** GET /v2/images/{id}. What has no place of its own here is a property of the image. */
const GlanceImage = Type.Object({
  id: Text,
  name: Maybe(Text),
  status: Text,
  visibility: Text,
  owner: Maybe(Text),
  disk_format: Maybe(Text),
  container_format: Maybe(Text),
  size: Maybe(Bytes),
  virtual_size: Maybe(Bytes),
  checksum: Maybe(Text),
  os_hash_algo: Maybe(Text),
  os_hash_value: Maybe(Text),
  min_disk: Amount,
  min_ram: Amount,
  protected: Type.Boolean(),
  os_hidden: Type.Optional(Type.Boolean()),
  tags: Type.Array(Text, { maxItems: 10_000 }),
  created_at: Text,
  updated_at: Text,
});
export type GlanceImage = Static<typeof GlanceImage>;

const Members = Type.Object({
  members: Type.Array(Type.Object({ member_id: Text, status: Text, created_at: Text, updated_at: Text }), {
    maxItems: 10_000,
  }),
});
export type GlanceMember = Static<typeof Members>['members'][number];

const Backups = Type.Object({
  images: Type.Array(Type.Object({ id: Text, protected: Type.Boolean() }), { maxItems: 1000 }),
});

export interface NewGlanceImage {
  readonly id: string;
  readonly name: string | null;
  /** Project. */
  readonly owner: string;
  readonly visibility: string;
  readonly diskFormat: string | null;
  readonly containerFormat: string | null;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly properties: Readonly<Record<string, string>>;
}

export interface BackupsOf {
  readonly serverId: string;
  readonly owner: string;
  readonly backupType: string;
}

export interface Glance {
  /** Null: there is none of that id. @throws ServiceDown */
  find(imageId: string): Promise<GlanceImage | null>;
  /** The bytes, which the caller reads or destroys; null: there are none. @throws ServiceDown */
  data(imageId: string): Promise<Readable | null>;
  /** Projects that a shared image is shared with; of any other image none. @throws ServiceDown */
  members(imageId: string): Promise<readonly GlanceMember[]>;
  /** A queued image; that it is there already is fine. @throws ServiceDown */
  create(image: NewGlanceImage, requestId: string): Promise<Said<null>>;
  /** The data of a queued image. Nothing is known of what came of it when this throws ServiceDown. */
  upload(imageId: string, payload: Payload): Promise<Said<null>>;
  /** Nobody deletes the image from now on. @throws ServiceDown */
  protect(imageId: string): Promise<Said<null>>;
  /** That there is none of that id is fine. @throws ServiceDown */
  remove(imageId: string): Promise<Said<null>>;
  /** Active ones, the youngest first, at most a page of Glance's largest. @throws ServiceDown */
  backups(of: BackupsOf): Promise<readonly { readonly id: string; readonly protected: boolean }[]>;
}

const FINE = { kind: 'ok', status: 200, body: null, headers: new Headers() } as const;

/** The ids are UUIDs: the callers have looked. */
export function glanceOf(session: Session): Glance {
  const service = 'image' as const;

  async function find(imageId: string): Promise<GlanceImage | null> {
    const path = `/images/${imageId}`;
    const said = await session.ask(GlanceImage, { service, method: 'GET', path });
    return said.kind === 'ok' ? said.body : none(path, said);
  }

  return {
    find,
    async data(imageId) {
      const headers = { accept: 'application/octet-stream' };
      const path = `/images/${imageId}/file`;
      const said = await session.download({ service, method: 'GET', path, headers });
      if (said.kind === 'refused') return none(path, said);
      if (said.status === 200) return said.body;
      said.body.destroy();
      return null;
    },
    async members(imageId) {
      const path = `/images/${imageId}/members`;
      const said = await session.ask(Members, { service, method: 'GET', path });
      if (said.kind === 'ok') return said.body.members;
      // 403: it is not shared any more.
      return said.status === 403 ? [] : (none(path, said) ?? []);
    },
    async create(image, requestId) {
      const body = {
        ...image.properties,
        ...{ id: image.id, name: image.name, owner: image.owner, visibility: image.visibility },
        ...{ disk_format: image.diskFormat, container_format: image.containerFormat },
        ...{ min_disk: image.minDiskGb, min_ram: image.minRamMb },
      };
      const ask = { service, method: 'POST', path: '/images', requestId, repeatable: true, body } as const;
      const said = await session.ask(null, ask);
      if (said.kind === 'ok' || said.status !== 409) return said;
      // The answer to the attempt before was lost.
      return (await find(image.id))?.owner === image.owner ? FINE : said;
    },
    upload: (imageId, payload) => session.upload({ service, method: 'PUT', path: `/images/${imageId}/file` }, payload),
    protect(imageId) {
      const headers = { 'content-type': 'application/openstack-images-v2.1-json-patch' };
      const body = [{ op: 'replace', path: '/protected', value: true }];
      const path = `/images/${imageId}`;
      return session.ask(null, { service, method: 'PATCH', path, headers, body, repeatable: true });
    },
    async remove(imageId) {
      const said = await session.ask(null, { service, method: 'DELETE', path: `/images/${imageId}` });
      return said.kind === 'refused' && said.status === 404 ? FINE : said;
    },
    async backups({ serverId, owner, backupType }) {
      const query = new URLSearchParams({
        ...{ owner, status: 'active', visibility: 'all', sort: 'created_at:desc', limit: '1000' },
        ...{ image_type: 'backup', backup_type: backupType, instance_uuid: serverId },
      });
      const said = await session.ask(Backups, { service, method: 'GET', path: `/images?${query}` });
      if (said.kind === 'ok') return said.body.images;
      throw new ServiceDown(`Glance refuses to list backups: ${said.status} ${said.message}`);
    },
  };
}

/** Null: there is none. @throws ServiceDown when it was refused for another reason, which is the operator's to mend */
function none(path: string, { status, message }: Extract<Said<never>, { kind: 'refused' }>): null {
  if (status === 404) return null;
  throw new ServiceDown(`Glance refuses GET ${path}: status ${status} ${message}`);
}
