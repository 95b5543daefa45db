// node test/clients/compare/main.ts [OURS] PEER: the same requests to two deployments, and in what their answers differ.
//
// OURS and PEER are addresses of identity services, ending with /v3; without OURS this checkout is started for it
// (sides.ts). The administrator is admin, the password in OS_PASSWORD and PEER_PASSWORD (secret unless given). Writes a
// Markdown table of every request to standard output, its last line says how many agree, are defended, or differ; exit
// status 1 when one differs that nobody defends.
// Both must have two flavors, a public image and a network called shared. What it makes it deletes. A peer on a small
// machine is slow and fails now and then: it is asked after ours, is waited for long, and is asked again when it fails.
import { setTimeout } from 'node:timers/promises';
import { messageOf } from '../../../src/lib/errors.ts';
import { type Asked, type Cloud, openCloud } from './cloud.ts';
import { type Exchange, filled, type Step, valueAt, type Wait } from './exchange.ts';
import { computeWalk } from './requests/compute.ts';
import { identityWalk, imageWalk, networkWalk, volumeWalk } from './requests/others.ts';
import { setting } from './requests/setting.ts';
import { differences, type Shape, shapeOf } from './shape.ts';
import { openSides, type Sides } from './sides.ts';

/** What came of an exchange; a sentence when it could not be made. */
type Seen = { readonly exchange: Exchange; readonly shape: Shape | string };

const WALKS: ReadonlyArray<readonly Step[]> = [identityWalk, imageWalk, networkWalk, volumeWalk, computeWalk];
const WAIT_LIMIT_MS = 600_000;

interface Patience {
  readonly pollMs: number;
  /** How often a request that the service failed at is asked again, and after what time. */
  readonly again: number;
  readonly againMs: number;
  /** How often what failed behind an accepted request is begun anew. */
  readonly anew: number;
}
const OURS: Patience = { pollMs: 300, again: 0, againMs: 0, anew: 0 };
const PEER: Patience = { pollMs: 2000, again: 3, againMs: 5000, anew: 3 };

/** Every exchange's outcome, in their order. A walk goes on after a surprise: what depends on it tells so. */
async function walk(cloud: Cloud, patience: Patience): Promise<Seen[]> {
  const names = new Map([
    ['project', cloud.projectId],
    ['user', cloud.userId],
  ]);
  const seen: Seen[] = [];
  for (const step of [...setting, ...WALKS.flat()]) {
    if (step.kind === 'wait') await wait(cloud, step, names, patience);
    else seen.push({ exchange: step, shape: await exchange(cloud, step, names, patience) });
  }
  return seen.slice(setting.length);
}

async function exchange(
  cloud: Cloud,
  { asked, keep }: Exchange,
  names: Map<string, string>,
  { again, againMs }: Patience,
): Promise<Shape | string> {
  try {
    let answer = await cloud.ask(filled(asked, names));
    for (let times = 0; times < again && answer.status >= 500; times += 1) {
      await setTimeout(againMs);
      answer = await cloud.ask(filled(asked, names));
    }
    for (const [name, path] of Object.entries(keep)) {
      const value = valueAt(answer.json, path);
      if (value === undefined) names.delete(name);
      else names.set(name, String(value));
    }
    return shapeOf(answer, new Map([...names].map(([name, value]) => [value, name])));
  } catch (error) {
    return messageOf(error);
  }
}

async function wait(
  cloud: Cloud,
  { asked, path, until, anew }: Wait,
  names: Map<string, string>,
  patience: Patience,
): Promise<void> {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  let attempts = anew.length === 0 ? 0 : patience.anew;
  while (Date.now() < deadline) {
    try {
      const { status, json } = await cloud.ask(filled(asked, names));
      if (until.includes(status === 404 ? 'gone' : String(valueAt(json, path)))) return;
      if (attempts > 0 && isAtRest(json)) {
        attempts -= 1;
        for (const each of anew) await exchange(cloud, each, names, patience);
      }
    } catch (error) {
      process.stderr.write(`${asked.path}: ${messageOf(error)}\n`);
      return;
    }
    await setTimeout(patience.pollMs);
  }
  process.stderr.write(`${asked.path} did not become ${until.join(' or ')}\n`);
}

/** A server that nothing is done to. One that waits to be confirmed shows no task while that is done. */
const isAtRest = (json: unknown): boolean =>
  valueAt(json, 'server.OS-EXT-STS:task_state') === null && valueAt(json, 'server.status') !== 'VERIFY_RESIZE';

const cell = (text: string): string => text.replaceAll('|', '\\|');

function title({ service, method, path, version, body }: Asked): string {
  const words = body === undefined ? '' : ` ${JSON.stringify(body)}`;
  const short = words.length > 90 ? `${words.slice(0, 90)}…` : words;
  return `${service} ${method} ${path || '/'}${version === undefined ? '' : ` (${version})`}${short}`;
}

/** Why the peer's answer says nothing; null: it does. */
function unaskedOf(peer: Shape | string): string | null {
  if (typeof peer === 'string') return peer;
  return peer.status >= 500 ? `it fails with ${peer.status}` : null;
}

function verdictOn(ours: Shape | string, peer: Shape | string): string[] {
  if (typeof peer === 'string') return [];
  return typeof ours === 'string' ? [`cannot be asked: ${ours}`] : differences(ours, peer);
}

async function main({ oursAt, peerAt }: Sides): Promise<number> {
  const { OS_PASSWORD: password = 'secret', PEER_PASSWORD: peerPassword = 'secret' } = process.env;
  const ours = await walk(await openCloud(oursAt, 'admin', password, 'admin'), OURS);
  const peer = await walk(await openCloud(peerAt, 'admin', peerPassword, 'admin'), PEER);
  const count = { agree: 0, defended: 0, differ: 0, unasked: 0 };
  process.stdout.write('| # | request | ours | peer | difference |\n| --- | --- | --- | --- | --- |\n');
  for (const [index, { exchange, shape }] of ours.entries()) {
    const theirs = peer[index]?.shape ?? 'not asked';
    const unasked = unaskedOf(theirs);
    const found = unasked === null ? verdictOn(shape, theirs) : [];
    const kind = unasked !== null ? 'unasked' : found.length === 0 ? 'agree' : 'differ';
    const verdict = kind === 'differ' && exchange.defended !== null ? 'defended' : kind;
    count[verdict] += 1;
    const text = unasked === null ? found.join('; ') : `the peer could not be asked: ${unasked}`;
    const status = (at: Shape | string) => (typeof at === 'string' ? '-' : at.status);
    const why = verdict === 'defended' ? ` (defended: ${exchange.defended})` : '';
    const row = [index + 1, title(exchange.asked), status(shape), status(theirs), `${text}${why}`];
    process.stdout.write(`| ${row.map((each) => cell(String(each))).join(' | ')} |\n`);
  }
  const { agree, defended, differ, unasked } = count;
  process.stdout.write(`\n${agree} agree, ${defended} defended, ${differ} differ, ${unasked} could not be asked\n`);
  return differ === 0 ? 0 : 1;
}

await using sides = await openSides(process.argv.slice(2));
if (sides === null) {
  process.stderr.write('usage: node test/clients/compare/main.ts [OURS] PEER\n');
  process.exitCode = 2;
} else {
  process.exitCode = await main(sides);
}
