// Image data: rows and files.
import { isUuid } from '../../lib/ids.ts';
import { diskImageOf } from '../../model/disk-image.ts';
import { type Breach, type Invariant, idleServers, silentCells } from '../invariant.ts';

export const IMAGES_WHOLE: Invariant = {
  name: 'images',
  sentence: 'Every image with data has its file, every file its image, and every server the image it was made from.',
  check(s) {
    const files = new Map(s.imageFiles.files.map((file) => [file.name, file.sizeBytes]));
    const images = new Map(s.images.map((image) => [image.id, image]));
    const breaches: Breach[] = [];
    const readable = s.imageFiles.unreachable === null;
    for (const image of s.images) {
      if (!readable || !['active', 'deactivated', 'deleted'].includes(image.status)) continue;
      const size = files.get(image.id);
      // One that only says of which snapshots volumes are made has no data.
      if (size === image.sizeBytes || (size === undefined && image.sizeBytes === 0)) continue;
      breaches.push({
        what: `the file of image ${image.id} ${size === undefined ? 'is missing' : `has ${size} bytes instead of ${image.sizeBytes}`}`,
        cause: 'it was removed or changed by hand, or the file system lost it',
        repair: 'restore the file: servers made from the image cannot move to a new host without it',
      });
    }
    for (const { name } of s.imageFiles.files) {
      const [id = ''] = name.split('.');
      const image = images.get(id);
      const isPart = name !== id;
      if (
        !isUuid(id) ||
        (image && (isPart ? image.status === 'saving' || image.status === 'uploading' : image.status !== 'queued'))
      )
        continue;
      breaches.push({
        what: `image file ${name} belongs to no image`,
        cause: 'an upload was cut short',
        repair: 'nothing: the control plane removes it within a few hours; or remove it now',
      });
    }
    for (const server of idleServers(s)) {
      const imageId = server.shelvedImageId ?? diskImageOf(server.image);
      // It boots from a volume, or was never built.
      if (imageId === null || (server.host === null && server.shelvedImageId === null)) continue;
      const status = s.imagesInUse.get(imageId);
      if (status !== undefined && ['active', 'deactivated', 'deleted'].includes(status)) continue;
      breaches.push({
        what: `image ${imageId} of server ${server.id} is gone`,
        cause: 'its row was deleted by hand',
        repair: 'restore the row and the file: the server cannot move to a new host without them',
      });
    }
    const unknown = readable ? [] : [`image directory: ${s.imageFiles.unreachable}`];
    return { breaches, unknown: [...unknown, ...silentCells(s)] };
  },
};
