// Scene 3: a stopped server is resized and confirmed, and never runs meanwhile.
import { perform, showSteps } from '../follow.ts';
import { claimGone, journalOf } from '../looks.ts';
import { BIG, cellOf, HOSTS } from '../plan.ts';
import { recordMove } from '../record.ts';
import { stepsOf } from '../report.ts';
import { awaitStatus, mustExist, remove } from '../servers.ts';
import { until } from '../wait.ts';
import { claim, lose, must, type Scene, type World } from '../world.ts';

export const stoppedScene: Scene = {
  number: 3,
  title: 'a third server is stopped, resized into the other cell and confirmed, and never runs meanwhile',
  play,
};

async function play(w: World): Promise<void> {
  const server = await w.servers.take(w, 'third');
  w.servers.begin(w, 'fourth');
  await perform(w, server, 'os-stop');
  await awaitStatus(w, server, 'SHUTOFF');
  await until(async () => (w.watch.isRunning(server.id) ? null : true), {
    ...{ what: 'its guest to be gone', limitMs: 15_000, signal: w.signal },
  });
  const oldHost = (await mustExist(w, server))['OS-EXT-SRV-ATTR:host'] ?? '?';
  const before = await journalOf(w, server, oldHost);
  const startedBefore = await w.disks.startedAt(oldHost, server.id);
  const runs = w.watch.runsOf(server.id).length;
  const looks = w.watch.looks;

  const resized = await perform(w, server, 'resize', { flavorRef: BIG.id });
  showSteps(w, resized.move);
  const report = recordMove(w, server, resized, 'resize');
  const moved = await mustExist(w, server);
  const newHost = moved['OS-EXT-SRV-ATTR:host'] ?? '?';
  must(w, `it is VERIFY_RESIZE in cell2 (${newHost})`, moved.status === 'VERIFY_RESIZE' && cellOf(newHost) === 'cell2');
  const startedAtSource = await w.disks.startedAt(oldHost, server.id);

  const confirmed = await perform(w, server, 'confirmResize');
  report.confirmSteps = stepsOf(confirmed.move.steps);
  report.outcome = 'confirmed';
  const done = await awaitStatus(w, server, 'SHUTOFF');
  claim(w, `it is SHUTOFF in cell2 with flavor ${BIG.name}`, done.flavor.original_name === BIG.name);

  const started = await Promise.all(HOSTS.map(({ name }) => w.disks.startedAt(name, server.id)));
  claim(
    w,
    `it never ran during the move: not seen in ${w.watch.looks - looks} looks at all guests, and no host has started it`,
    w.watch.runsOf(server.id).length === runs &&
      !w.watch.isRunning(server.id) &&
      startedAtSource === startedBefore &&
      started.every((time) => time === null),
  );
  // The move goes on only when they are equal; the disk has grown since, and has another one.
  claim(w, 'its disk arrived byte for byte: both hosts computed the same digest', resized.move.sha256 !== null);
  if (before) {
    const after = await journalOf(w, server, newHost);
    const same = after !== null && after.head === before.head && after.entries === before.entries;
    if (after) {
      report.journal.before = { entries: before.entries, head: before.head };
      report.journal.after = { entries: after.entries, head: after.head };
      report.journal.continues = same;
    }
    if (!same) lose(w, server.name);
    claim(w, `its journal is the same to the last line (${before.entries} lines)`, same);
  }
  await claimGone(w, server, 'cell1');
  await remove(w, server);
}
