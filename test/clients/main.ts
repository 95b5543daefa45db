// OpenStack's own clients against this system: node test/clients/main.ts [--list core|login|resize|rest|scenario]…
// [--area NAME]… [--qemu] [--no-tempest] [--no-walk] [--no-sdks] [--no-terraform] [--no-ansible] [PART...]; without list and
// area the list `core`. An area is a part of Tempest: tempest.api.identity
//
// Installs Debian's clients where apt-get may be run, starts the system, runs Tempest's tests with dynamic credentials and
// then the walk of commands, the programs over OpenStack's libraries, Terraform's provider and Ansible's collection, prints a
// table by class, and last "N passed, N failed, N skipped"; status 1 when one failed.
// --qemu: hosts run real guests, one test at a time; the walk and all that follows are left out.
// PART narrows the tests down to those whose names contain one of the parts. Without clients everything is skipped.
import { parseArgs } from 'node:util';
import { ansible } from './ansible.ts';
import { whyNoClients } from './install.ts';
import { countOf, type Outcome, table } from './outcomes.ts';
import { say } from './say.ts';
import { sdks } from './sdks.ts';
import { startSystem } from './system.ts';
import { LISTS, type ListName, runTempest, testsIn, testsOf } from './tempest.ts';
import { terraform } from './terraform.ts';
import { walk } from './walk.ts';

const isList = (name: string): name is ListName => (LISTS as readonly string[]).includes(name);

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: 'string', multiple: true, default: [] },
      area: { type: 'string', multiple: true, default: [] },
      qemu: { type: 'boolean', default: false },
      'no-tempest': { type: 'boolean', default: false },
      'no-walk': { type: 'boolean', default: false },
      'no-sdks': { type: 'boolean', default: false },
      'no-terraform': { type: 'boolean', default: false },
      'no-ansible': { type: 'boolean', default: false },
    },
  });
  const without = values['no-tempest'] || values.list.length + values.area.length > 0;
  const wanted = without ? values.list : ['core'];
  const lists = wanted.filter(isList);
  if (lists.length < wanted.length) throw new Error(`--list: one of ${LISTS.join(', ')}`);
  const tests = (await Promise.all(lists.map((list) => testsOf(list, positionals)))).flat();
  const missing = await whyNoClients();
  if (missing !== null) {
    say(`skipped: ${missing}`);
    say(`0 passed, 0 failed, ${tests.length} skipped`);
    return 0;
  }
  for (const area of values.area) tests.push(...(await testsIn(area, positionals)));
  await using system = await startSystem(values.qemu ? 'qemu' : 'simulated');
  const outcomes: Outcome[] = tests.length === 0 ? [] : await runTempest(system, tests);
  if (!values['no-walk'] && !values.qemu) outcomes.push(...(await walk(system)));
  if (!values['no-sdks'] && !values.qemu) outcomes.push(...(await sdks(system)));
  if (!values['no-terraform'] && !values.qemu) outcomes.push(...(await terraform(system)));
  if (!values['no-ansible'] && !values.qemu) outcomes.push(...(await ansible(system)));
  say(table(outcomes));
  const [passed, failed, skipped] = (['passed', 'failed', 'skipped'] as const).map((each) => countOf(outcomes, each));
  say(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
