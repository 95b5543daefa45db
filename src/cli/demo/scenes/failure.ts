// Scene 4: the target's hypervisor fails; the server is as it was without anyone's help, and a second try succeeds.
import { perform, showSteps } from '../follow.ts';
import { BROKEN } from '../hypervisors.ts';
import { claimContinuation, claimGone, journalOf } from '../looks.ts';
import { BIG, cellOf, hostsOf, SMALL } from '../plan.ts';
import { recordMove } from '../record.ts';
import { stepsOf } from '../report.ts';
import { awaitGuest, awaitStatus, mustExist, remove } from '../servers.ts';
import { claim, must, type Scene, type World } from '../world.ts';

export const failureScene: Scene = {
  number: 4,
  title: "a fourth server's move meets a hypervisor that fails, and is put back; a second try succeeds",
  play,
};

async function play(w: World): Promise<void> {
  const server = await w.servers.take(w, 'fourth');
  const oldHost = (await mustExist(w, server))['OS-EXT-SRV-ATTR:host'] ?? '?';
  const before = await journalOf(w, server, oldHost);

  await w.hypervisors.break(hostsOf('cell2'));
  w.print.say('the hypervisors of both hosts of cell2 are broken now');
  const failed = await perform(w, server, 'resize', { flavorRef: BIG.id });
  await w.hypervisors.mend(hostsOf('cell2'));
  showSteps(w, failed.move);
  const putBack = recordMove(w, server, failed, 'resize');
  w.print.say(`the reason on record: ${failed.move.reason}`);
  must(w, 'the move turned round at "start target" and was undone to its first step', turnedRound(failed.move));
  const view = await awaitStatus(w, server, 'ACTIVE');
  const host = view['OS-EXT-SRV-ATTR:host'];
  claim(
    w,
    `it is ACTIVE again on ${host} with flavor ${SMALL.name}, without anyone's help`,
    host === oldHost && view.flavor.original_name === SMALL.name,
  );
  const [migration] = await w.cloud.migrationStatuses(server.id);
  claim(
    w,
    'its migration is recorded as error, with the reason',
    migration === 'error' && reasoned(w, failed.move.reason),
  );
  await awaitGuest(w, server, oldHost);
  await claimContinuation(w, server, oldHost, before, putBack);
  await claimGone(w, server, 'cell2');

  w.print.say('the hypervisors work again; the same resize is asked for once more');
  w.servers.begin(w, 'fifth');
  const again = await perform(w, server, 'resize', { flavorRef: BIG.id });
  const report = recordMove(w, server, again, 'resize');
  const moved = await mustExist(w, server);
  const newHost = moved['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it is VERIFY_RESIZE in cell2 (${newHost})`, moved.status === 'VERIFY_RESIZE' && cellOf(newHost) === 'cell2');
  const between = await journalOf(w, server, oldHost);
  await awaitGuest(w, server, newHost);
  const confirmed = await perform(w, server, 'confirmResize');
  report.confirmSteps = stepsOf(confirmed.move.steps);
  report.outcome = 'confirmed';
  await awaitStatus(w, server, 'ACTIVE');
  await claimContinuation(w, server, newHost, between, report);
  await claimGone(w, server, 'cell1');
  await remove(w, server);
}

const turnedRound = ({ status, steps }: { status: string; steps: readonly { step: string; outcome: string }[] }) =>
  status === 'unwound' && steps.some(({ step, outcome }) => step === 'start target' && outcome === 'failed');

/** On QEMU the hypervisor's own last words have to be in the reason. */
const reasoned = (w: World, reason: string | null): boolean =>
  reason !== null && (w.hypervisor === 'simulated' || reason.includes(BROKEN));
