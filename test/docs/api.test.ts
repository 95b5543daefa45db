// docs/api.md against the program: every endpoint, the microversions, the statuses and the shapes of errors.
import assert from 'node:assert/strict';
import test from 'node:test';
import { renderError, type Service } from '../../src/api/http/errors.ts';
import { MAX_MINOR, MIN_MINOR, microversionText } from '../../src/model/microversion.ts';
import { API_STATUSES } from '../../src/model/states.ts';
import { plain, read, tableUnder } from './markdown.ts';
import { PAGE, servedRoutes, withTables } from './routes-table.ts';

const page = read(PAGE);

test('the tables of endpoints are those of the routes (node test/docs/routes-table.ts writes them)', async () => {
  const lines = page.split('\n');
  const served = withTables(page, await servedRoutes()).split('\n');
  const differs = {
    missing: served.filter((line) => !lines.includes(line)),
    tooMuch: lines.filter((line) => !served.includes(line)),
  };
  assert.deepEqual(differs, { missing: [], tooMuch: [] });
  assert.ok(lines.join() === served.join(), 'the rows are in another order');
});

test('every service has its table', async () => {
  for (const service of new Set((await servedRoutes()).map((route) => route.service))) {
    assert.ok(page.includes(`<!-- routes: ${service} -->`), service);
  }
});

test('the microversions are those that are served', () => {
  assert.ok(page.includes(`${microversionText(MIN_MINOR)} to ${microversionText(MAX_MINOR)}`));
});

test('the statuses of servers are those that are shown', () => {
  const { rows } = tableUnder(page, 'Statuses of servers');
  assert.deepEqual(rows.map(([status = '']) => plain(status)).toSorted(), [...API_STATUSES, 'UNKNOWN'].toSorted());
});

test('the shapes of errors are those that are sent', () => {
  const { rows } = tableUnder(page, 'Errors');
  for (const [service = '', shape = ''] of rows) {
    const sent = renderError(service as Service, 404, 'sentence', 'TypeOfError');
    assert.equal(plain(shape), JSON.stringify(sent), service);
  }
  assert.equal(rows.length, 6);
});
