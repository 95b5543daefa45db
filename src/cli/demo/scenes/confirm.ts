// Scene 1: a server is resized from one cell into the other, and confirmed.
import { perform, showSteps } from '../follow.ts';
import { claimContinuation, claimGone, journalOf } from '../looks.ts';
import { BIG, cellOf, SMALL } from '../plan.ts';
import { recordMove } from '../record.ts';
import { stepsOf } from '../report.ts';
import { awaitGuest, awaitStatus, mustExist, remove } from '../servers.ts';
import { claim, must, type Scene, type World } from '../world.ts';

/** A guest's kernel keeps about this much of its memory for itself. */
const KERNEL_KB = 80 * 1024;

export const confirmScene: Scene = {
  number: 1,
  title: 'a server is resized into the other cell, and confirmed',
  play,
};

async function play(w: World): Promise<void> {
  const server = await w.servers.take(w, 'first');
  w.servers.begin(w, 'second');
  const view = await mustExist(w, server);
  const oldHost = view['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it was created in cell1 (${oldHost}) with flavor ${SMALL.name}`, cellOf(oldHost) === 'cell1');
  const begun = await journalOf(w, server, oldHost);
  if (begun) w.print.say(`its journal: ${begun.entries} lines, ${begun.cpus} CPU, ${begun.memKb} KiB of memory`);

  w.print.say(`it is resized to ${BIG.name}, which only cell2 offers`);
  const resized = await perform(w, server, 'resize', { flavorRef: BIG.id });
  showSteps(w, resized.move);
  const report = recordMove(w, server, resized, 'resize');
  const moved = await mustExist(w, server);
  const newHost = moved['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it is VERIFY_RESIZE in cell2 (${newHost})`, moved.status === 'VERIFY_RESIZE' && cellOf(newHost) === 'cell2');
  // The source's disk lies still until the confirmation: its last line is the last that was written there.
  const before = await journalOf(w, server, oldHost);
  await awaitGuest(w, server, newHost);

  w.print.say('the resize is confirmed');
  const confirmed = await perform(w, server, 'confirmResize');
  report.confirmSteps = stepsOf(confirmed.move.steps);
  report.outcome = 'confirmed';
  const done = await awaitStatus(w, server, 'ACTIVE');
  claim(w, `it is ACTIVE with flavor ${BIG.name}`, done.flavor.original_name === BIG.name);
  const after = await claimContinuation(w, server, newHost, before, report);
  if (before && after) {
    const memory = after.memKb > before.memKb && after.memKb > BIG.memoryMb * 1024 - KERNEL_KB;
    claim(
      w,
      `its guest has the new size: ${after.cpus} CPUs and ${after.memKb} KiB`,
      after.cpus === BIG.vcpus && memory,
    );
  }
  await claimGone(w, server, 'cell1');
  await remove(w, server);
}
