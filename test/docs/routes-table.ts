// The tables of endpoints in docs/api.md, made from the list of routes. Run as a program it writes them into the page:
//
//   node test/docs/routes-table.ts
//
// They stand between two marks per service; the text around them is written by hand. A test compares them.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Service } from '../../src/api/http/errors.ts';
import { policyText, type Route } from '../../src/api/http/route.ts';
import { versionsOf as versioned } from '../../src/api/http/versions.ts';
import { allRoutes } from '../../src/api/routes.ts';
import { createIdentity } from '../../src/control/identity.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { openStores } from '../../src/store/stores.ts';
import { ROOT, read } from './markdown.ts';

export const PAGE = 'docs/api.md';

/** Every route that the product serves. */
export async function servedRoutes(): Promise<readonly Route[]> {
  const stores = await openStores(':memory:');
  const options = { db: stores.global, key: Buffer.alloc(32), clock: systemClock, tokenLifetimeSeconds: 60 };
  const routes = allRoutes({ identity: createIdentity(options), fleetSecret: '' });
  await stores.close();
  return routes;
}

function versionsOf({ service, since, until }: Route): string {
  const major = versioned(service)?.major;
  if (since === undefined && until === undefined) return '';
  if (since === undefined) return `up to ${major}.${until}`;
  return until === undefined ? `from ${major}.${since}` : `${major}.${since} to ${major}.${until}`;
}

function rowOf(route: Route): string {
  const cells = [`\`${route.method}\``, `\`${route.url}\``, policyText(route)];
  if (versioned(route.service)) cells.push(versionsOf(route));
  return `| ${[...cells, route.summary.replaceAll('|', '\\|')].join(' | ')} |`;
}

/** The page's text with the tables that these routes make. */
export function withTables(text: string, routes: readonly Route[]): string {
  return text.replace(
    /(<!-- routes: ([a-z]+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_all, begin: string, service: Service, end: string) => {
      const header = versioned(service)
        ? ['| method | path | policy | microversion | what |', '|---|---|---|---|---|']
        : ['| method | path | policy | what |', '|---|---|---|---|'];
      const rows = routes.filter((route) => route.service === service).map(rowOf);
      return `${begin}\n${[...header, ...rows].join('\n')}\n\n${end}`;
    },
  );
}

if (import.meta.main) writeFileSync(join(ROOT, PAGE), withTables(read(PAGE), await servedRoutes()));
