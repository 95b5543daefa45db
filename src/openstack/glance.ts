// Images of a Glance, API v2: what it says of one, and its bytes. Read with the service user's rights.
import type { Readable } from 'node:stream';
import { type Static, Type } from 'typebox';
import type { Said, Session } from './session.ts';
import { ServiceDown } from './transport.ts';

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

export interface Glance {
  /** Null: there is none of that id. @throws ServiceDown */
  find(imageId: string): Promise<GlanceImage | null>;
  /** The bytes, which the caller reads or destroys; null: there are none. @throws ServiceDown */
  data(imageId: string): Promise<Readable | null>;
}

/** The ids are UUIDs: the callers have looked. */
export const glanceOf = (session: Session): Glance => ({
  async find(imageId) {
    const ask = { service: 'image', method: 'GET', path: `/images/${imageId}` } as const;
    const said = await session.ask(GlanceImage, ask);
    return said.kind === 'ok' ? said.body : none(ask.path, said);
  },
  async data(imageId) {
    const headers = { accept: 'application/octet-stream' };
    const ask = { service: 'image', method: 'GET', path: `/images/${imageId}/file`, headers } as const;
    const said = await session.download(ask);
    if (said.kind === 'refused') return none(ask.path, said);
    if (said.status === 200) return said.body;
    said.body.destroy();
    return null;
  },
});

/** Null: there is none. @throws ServiceDown when it was refused for another reason, which is the operator's to mend */
function none(path: string, { status, message }: Extract<Said<never>, { kind: 'refused' }>): null {
  if (status === 404) return null;
  throw new ServiceDown(`Glance refuses GET ${path}: status ${status} ${message}`);
}
