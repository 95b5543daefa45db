// Images as the API shows them.
import type { Static } from 'typebox';
import type { Image } from '../../control/images.ts';
import { invariant } from '../../lib/errors.ts';
import { isoSeconds } from '../../model/time.ts';
import type { Image as ImageBody } from './schemas.ts';

export function renderImage(image: Image): Static<typeof ImageBody> {
  const { status } = image;
  invariant(status !== 'deleted', 'deleted images are not shown');
  const self = `/v2/images/${image.id}`;
  return {
    ...image.properties,
    id: image.id,
    name: image.name,
    status,
    visibility: image.visibility,
    owner: image.owner,
    disk_format: image.diskFormat,
    container_format: image.containerFormat,
    size: image.sizeBytes,
    virtual_size: image.virtualBytes,
    checksum: image.md5,
    os_hash_algo: image.sha512 === null ? null : 'sha512',
    os_hash_value: image.sha512,
    min_disk: image.minDiskGb,
    min_ram: image.minRamMb,
    protected: image.protected,
    os_hidden: image.hidden,
    tags: [...image.tags],
    created_at: isoSeconds(image.createdAt),
    updated_at: isoSeconds(image.updatedAt),
    self,
    file: `${self}/file`,
    schema: '/v2/schemas/image',
  };
}
