// All routes of the block storage service.
import type { Route } from '../http/route.ts';
import { attachmentRoutes } from './attachments.ts';
import { backendRoutes } from './backends.ts';
import { emptyListRoutes } from './empty-lists.ts';
import { quotaRoutes } from './quotas.ts';
import { snapshotRoutes } from './snapshots.ts';
import { transferRoutes } from './transfers.ts';
import { typeAccessRoutes } from './type-access.ts';
import { typeRoutes } from './types.ts';
import { volumeActionRoutes } from './volume-actions.ts';
import { volumeRoutes } from './volumes.ts';

export const blockStorageRoutes: readonly Route[] = [
  ...volumeRoutes,
  ...volumeActionRoutes,
  ...snapshotRoutes,
  ...transferRoutes,
  ...typeRoutes,
  ...typeAccessRoutes,
  ...attachmentRoutes,
  ...quotaRoutes,
  ...backendRoutes,
  ...emptyListRoutes,
];
