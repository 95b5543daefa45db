// Every link between the pages leads somewhere, headings included, and every page can be reached from the first one.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'node:test';
import { anchors, links, pages, ROOT, read } from './markdown.ts';

const isOutside = (link: string): boolean => /^[a-z]+:/.test(link);

test('every relative link resolves', async () => {
  const broken: string[] = [];
  for (const page of await pages()) {
    for (const link of links(read(page))) {
      if (isOutside(link)) continue;
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(ROOT, target))) broken.push(`${page}: ${link}`);
      else if (anchor !== undefined && !anchors(read(target)).includes(anchor)) broken.push(`${page}: ${link}`);
    }
  }
  assert.deepEqual(broken, []);
});

test('every page is linked, directly or not, from README.md', async () => {
  const reached = new Set<string>(['README.md']);
  for (const page of reached) {
    for (const link of links(read(page))) {
      const [path = ''] = link.split('#');
      if (!isOutside(link) && path.endsWith('.md')) reached.add(normalize(join(dirname(page), path)));
    }
  }
  assert.deepEqual(
    (await pages()).filter((page) => !reached.has(page)),
    [],
  );
});

test('no heading comes twice on a page, so that links to headings are clear', async () => {
  for (const page of await pages()) {
    const all = anchors(read(page));
    // The sections of a decision and of a release have the same names everywhere, and nothing links to them.
    assert.deepEqual([...new Set(all)], all, page);
  }
});
