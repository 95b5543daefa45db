// Reads a snapshot of a slice from the databases, the hosts and the image directory.
//
// Nothing is locked and nothing is written, so a live system is not held up. Sagas are read first and last; whatever ran
// at any time in between makes its server `busy`. A cell or a host that does not answer is noted as unreachable with the
// reason; only the global database must answer.
import { imageFilesOf } from '../control/images/files.ts';
import type { Platform } from '../control/platform.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { readCells } from './read/cells.ts';
import { readImageFiles } from './read/files.ts';
import {
  readConsumers,
  readDebts,
  readGroupMembers,
  readHomes,
  readImages,
  readImagesInUse,
  readMigrations,
  readPassing,
  readPorts,
  readProviders,
  readQuarantine,
  readSagas,
} from './read/globals.ts';
import { readHosts, readTogether } from './read/hosts.ts';
import { EVERYTHING, type Slice } from './read/slice.ts';
import { readAttachments, readBusyVolumes, readStorage, readVolumes, readVolumesOwed } from './read/volumes.ts';
import type { Snapshot } from './snapshot.ts';

/** Reads everything of the slice once. @throws when the global database cannot be read */
export async function takeSnapshot(p: Platform, slice: Slice = EVERYTHING): Promise<Snapshot> {
  const db = p.stores.global;
  const startedAt = p.clock.now();
  const before = await readSagas(db, slice);
  const homes = await readHomes(db, slice);
  const migrations = await readMigrations(db, slice);
  const consumers = await readConsumers(db, slice);
  const providers = slice.after === '' ? await readProviders(db) : [];
  const ports = await readPorts(db, slice);
  const groupMembers = await readGroupMembers(db, slice);
  const attachments = await readAttachments(db, slice);
  const kept = await readVolumes(db, slice);
  const images = await readImages(db, slice);
  const imageFiles = await readImageFiles(imageFilesOf(p), slice);
  const cells = await readCells(p, slice);
  const records = cells.flatMap((cell) => cell.records);
  const imagesInUse = await readImagesInUse(
    db,
    new Set(records.flatMap(({ server }) => server.shelvedImageId ?? diskImageOf(server.image) ?? [])),
  );
  const hosts = await readHosts(p, slice);
  const together = await readTogether(p, hosts);
  const storage = await readStorage(p, slice);
  const volumesOwed = await readVolumesOwed(db, slice, ['delete-volume']);
  const endsOwed = await readVolumesOwed(db, slice, ['revoke-volume', 'restore-volume']);
  const debts = await readDebts(db, slice);
  const quarantined = await readQuarantine(db, slice);
  const sagas = await readSagas(db, slice);
  const passing = await readPassing(db, slice, startedAt);
  const busy = new Set([...before, ...sagas].map((saga) => saga.serverId).concat(passing));
  const volumes = await readBusyVolumes(db, kept, busy, slice, startedAt);
  return {
    ...{ startedAt, endedAt: p.clock.now(), homes, cells, hosts, sagas, busy, migrations, consumers, providers },
    ...{ groupMembers, attachments, volumes, storage, volumesOwed, endsOwed },
    ...{ ports, images, imageFiles, imagesInUse, debts, quarantined, together },
  };
}
