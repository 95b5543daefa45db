// Scene 2: a resize is taken back; the server is in its old cell again, with its old size and its disk of before.
import { perform, showSteps } from '../follow.ts';
import { claimContinuation, claimGone, journalOf } from '../looks.ts';
import { BIG, cellOf, SMALL } from '../plan.ts';
import { recordMove } from '../record.ts';
import { awaitGuest, awaitStatus, mustExist, remove } from '../servers.ts';
import { claim, must, type Scene, type World } from '../world.ts';

export const revertScene: Scene = {
  number: 2,
  title: 'a second server is resized into the other cell, and the resize is reverted',
  play,
};

async function play(w: World): Promise<void> {
  const server = await w.servers.take(w, 'second');
  const oldHost = (await mustExist(w, server))['OS-EXT-SRV-ATTR:host'] ?? '?';
  const resized = await perform(w, server, 'resize', { flavorRef: BIG.id });
  showSteps(w, resized.move);
  const there = recordMove(w, server, resized, 'resize');
  const moved = await mustExist(w, server);
  const newHost = moved['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it is VERIFY_RESIZE in cell2 (${newHost})`, moved.status === 'VERIFY_RESIZE' && cellOf(newHost) === 'cell2');
  const before = await journalOf(w, server, oldHost);
  await awaitGuest(w, server, newHost);
  await claimContinuation(w, server, newHost, before, there);

  const kept = await w.disks.digest(oldHost, server.id);
  if (kept !== null) {
    const text = 'its disk of before is still in cell1, off and unchanged: its digest is that of the move';
    claim(w, text, kept === resized.move.sha256);
  }
  w.print.say('the resize is reverted');
  w.servers.begin(w, 'third');
  const reverted = await perform(w, server, 'revertResize');
  showSteps(w, reverted.move);
  const back = recordMove(w, server, reverted, 'revert');
  there.outcome = 'reverted';
  claim(w, 'the API showed REVERT_RESIZE meanwhile', reverted.statuses.includes('REVERT_RESIZE'));
  const done = await awaitStatus(w, server, 'ACTIVE');
  const home = done['OS-EXT-SRV-ATTR:host'];
  claim(
    w,
    `it is ACTIVE on ${home} with flavor ${SMALL.name}, as before`,
    home === oldHost && done.flavor.original_name === SMALL.name,
  );
  await awaitGuest(w, server, oldHost);
  back.digest = { before: kept ?? resized.move.sha256, after: null };
  claim(w, 'nothing was copied to bring it back', back.bytesCopied === 0);
  const after = before && (await claimContinuation(w, server, oldHost, before, back));
  if (after) {
    // What the guest wrote in cell2 went with the disk there: no line of two CPUs may be found here.
    const foreign = after.journal.entries.filter((entry) => entry.cpus !== SMALL.vcpus).length;
    claim(w, 'it has its disk of before: no line was written with the other size', foreign === 0);
  }
  await claimGone(w, server, 'cell2');
  await remove(w, server);
}
