// Scene 5: the control plane is killed in the middle of the copy and started again; the move finishes by itself.
import { systemClock } from '../../../lib/clock.ts';
import { begin, follow, perform, showSteps, watchUntil } from '../follow.ts';
import { claimContinuation, claimGone, journalOf } from '../looks.ts';
import { processesOf } from '../place.ts';
import { BIG, cellOf, HOSTS } from '../plan.ts';
import { mebibytes, seconds } from '../printer.ts';
import { recordMove } from '../record.ts';
import { stepsOf } from '../report.ts';
import { awaitGuest, awaitStatus, mustExist } from '../servers.ts';
import { claim, must, type Scene, SceneFailed, type World } from '../world.ts';

export const crashScene: Scene = {
  number: 5,
  title: 'the control plane is killed in the middle of a copy; started again, it finishes the move by itself',
  play,
};

async function play(w: World): Promise<void> {
  const server = await w.servers.take(w, 'fifth');
  const oldHost = (await mustExist(w, server))['OS-EXT-SRV-ATTR:host'] ?? '?';
  const begun = await begin(w, server, 'resize', { flavorRef: BIG.id });
  const seen = await watchUntil(
    w,
    server,
    begun,
    (move) => move.status !== 'active' || (move.step === 'copy disk' && (move.progress?.doneBytes ?? 0) > 0),
  );
  if (seen.step !== 'copy disk' || !seen.progress)
    throw new SceneFailed('the copy was over before it could be interrupted');
  const { doneBytes, totalBytes } = seen.progress;
  await w.control.kill();
  const killedAt = systemClock.now();
  w.print.say(`SIGKILL to the control plane: ${mebibytes(doneBytes)} of ${mebibytes(totalBytes)} are copied`);
  must(w, 'it was killed in the middle of the copy', doneBytes > 0 && doneBytes < totalBytes);
  if (w.hypervisor === 'qemu') {
    const agents = (await processesOf(w.directory)).filter(({ argv }) => argv.includes('agent')).length;
    claim(w, `its ${agents} agents live on`, agents === HOSTS.length);
  } else {
    w.print.say('simulated hosts live inside the control plane: they died with it, and come back from their records');
  }

  await w.control.start();
  w.print.say(`started again, ${seconds(systemClock.now() - killedAt)} after the kill; nobody tells it anything`);
  const followed = await follow(w, server, begun);
  showSteps(w, followed.move);
  const report = recordMove(w, server, followed, 'resize');
  must(
    w,
    'the move that was interrupted is finished',
    followed.move.id === begun.id && followed.move.status === 'done',
  );
  const moved = await mustExist(w, server);
  const newHost = moved['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it is VERIFY_RESIZE in cell2 (${newHost})`, moved.status === 'VERIFY_RESIZE' && cellOf(newHost) === 'cell2');
  const before = await journalOf(w, server, oldHost);
  await awaitGuest(w, server, newHost);
  const confirmed = await perform(w, server, 'confirmResize');
  report.confirmSteps = stepsOf(confirmed.move.steps);
  report.outcome = 'confirmed';
  await awaitStatus(w, server, 'ACTIVE');
  await claimContinuation(w, server, newHost, before, report);
  await claimGone(w, server, 'cell1');
  w.print.say('it stays for the auditor');
}
