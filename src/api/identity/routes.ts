// Identity v3.
import type { Identity } from '../../control/identity.ts';
import type { Route } from '../http/route.ts';
import { assignmentRoutes } from './assignments.ts';
import { catalogRoutes } from './catalog.ts';
import { emptyListRoutes } from './empty-lists.ts';
import { grantRoutes } from './grants.ts';
import { groupRoutes, memberRoutes } from './groups.ts';
import { tagRoutes } from './project-tags.ts';
import { domainRoutes, projectRoutes } from './projects.ts';
import { roleRoutes } from './roles.ts';
import { tokenRoutes } from './tokens.ts';
import { credentialRoutes, userRoutes } from './users.ts';

export const identityRoutes = (identity: Identity): readonly Route[] => [
  ...tokenRoutes(identity),
  ...projectRoutes(identity),
  ...tagRoutes(identity),
  ...userRoutes(identity),
  ...credentialRoutes(identity),
  ...groupRoutes(identity),
  ...memberRoutes(identity),
  ...roleRoutes(identity),
  ...grantRoutes(identity),
  ...assignmentRoutes(identity),
  ...domainRoutes(identity),
  ...catalogRoutes,
  ...emptyListRoutes,
];
