// One server under fire: moved again and again between two cells, while at a chosen step one part is killed by SIGKILL.
//
// A case: the step is made to begin late (an injected delay), so that it is known to be the present one; the part is
// killed before the step's effect, or a moment after it began. What died comes back as it would in production: agents and
// volumes' daemons by their supervisors, the control plane by being started again, a guest not at all. Then the move must
// come to an end, forward or back, the server must not be in ERROR, and its guest must write its journal on the host that
// the API names, and an audit of the whole system find nothing. Every other case ends by revert. At the end the journal is read from the disk and checked link by link.
// The watcher beside it has looked all the time.
import { setTimeout as delay } from 'node:timers/promises';
import { ApiFailure } from '../../src/cli/client.ts';
import { type Case, isBorn, type Victim } from './plan.ts';
import type { System } from './system.ts';

const COMPUTE = '/compute/v2.1';
const MOVE_LIMIT_MS = 150_000;
const GUEST_LIMIT_MS = 120_000;
const STEP_LIMIT_MS = 60_000;
/** Longer than anything that is waited for: the delay is ended by deleting the fault. */
const HELD_MS = 300_000;

export interface Result extends Case {
  /** The case was played: its victim was there to be killed. */
  readonly killed: boolean;
  /** `not begun`: the control plane died before the request was recorded, and its user was told by the broken connection. */
  readonly end: 'forward' | 'back' | 'not begun';
  /** What became of a move that went forward. */
  readonly then: 'confirmed' | 'reverted' | null;
  readonly seconds: number;
}

interface ServerView {
  readonly id: string;
  readonly status: string;
  readonly 'OS-EXT-SRV-ATTR:host': string | null;
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly 'OS-EXT-STS:power_state': number;
}

interface MoveView {
  readonly id: string;
  readonly move: string;
  readonly status: string;
  readonly step: string | null;
  readonly source: { readonly host: string } | null;
  readonly target: { readonly host: string } | null;
}

interface Audited {
  readonly audit: { readonly id: string; readonly summary: { readonly verdict: string } | null } | null;
  readonly findings: readonly unknown[];
}

const RUNNING = 1;

export class Campaign {
  readonly #system: System;
  readonly #serverId: string;
  readonly #flavors: readonly [string, string];
  #flavor = 0;

  constructor(system: System, serverId: string, flavors: readonly [string, string]) {
    this.#system = system;
    this.#serverId = serverId;
    this.#flavors = flavors;
  }

  async play(each: Case, keep: boolean): Promise<Result> {
    const began = performance.now();
    await this.settle();
    const from = (await this.#server())['OS-EXT-SRV-ATTR:host'];
    const to = this.#flavors[1 - this.#flavor] ?? '';
    const before = (await this.#latest('resize'))?.id;
    await this.#hold(each.step);
    // Answered only behind the first step, which may be the one that waits.
    const accepted = this.#act({ resize: { flavorRef: to } }).then(
      () => true,
      (error: unknown) => {
        if (error instanceof ApiFailure) throw error;
        return false; // the control plane was killed while it answered
      },
    );
    const [killed] = await Promise.all([this.#strike(each, from), accepted]);
    if (!this.#system.isUp) await this.#system.start();
    const begun = (await accepted) || (await this.#latest('resize'))?.id !== before;
    const end = begun ? ((await this.#ended('resize')).status === 'done' ? 'forward' : 'back') : 'not begun';
    const view = await this.#quiet();
    const expected = end === 'forward' ? ['VERIFY_RESIZE'] : ['ACTIVE', 'SHUTOFF'];
    if (!expected.includes(view.status)) throw new Error(`the move ended ${end}, and the server is ${view.status}`);
    if (end === 'forward') {
      await this.#finish(keep);
      if (keep) this.#flavor = 1 - this.#flavor;
    }
    await this.settle();
    await this.audit();
    const then = end === 'forward' ? (keep ? 'confirmed' : 'reverted') : null;
    return { ...each, killed, end, then, seconds: Math.round((performance.now() - began) / 100) / 10 };
  }

  /** Confirms or reverts; asked again while it turns back, for the agent that was killed may not have come back yet. */
  async #finish(keep: boolean): Promise<void> {
    const giveUp = performance.now() + MOVE_LIMIT_MS;
    for (;;) {
      await this.#act(keep ? { confirmResize: null } : { revertResize: null });
      const { status } = await this.#ended(keep ? 'confirm' : 'revert');
      if (status === 'done') return;
      if (performance.now() > giveUp) throw new Error(`${keep ? 'confirm' : 'revert'} turns back each time`);
      await this.#quiet();
    }
  }

  /** The server is ACTIVE and its guest writes, on the host that the API names and on no other. */
  async settle(): Promise<void> {
    const giveUp = performance.now() + GUEST_LIMIT_MS;
    for (;;) {
      const view = await this.#quiet();
      if (view.status === 'ERROR') throw new Error('the server is in ERROR');
      const guests = this.#guests();
      // A guest that was killed is found off at the next comparison; starting it again is its owner's doing.
      if (view.status === 'SHUTOFF' && guests.length === 0) await this.#startGuest();
      const here = guests.length === 1 && guests[0]?.host === view['OS-EXT-SRV-ATTR:host'];
      if (view.status === 'ACTIVE' && view['OS-EXT-STS:power_state'] === RUNNING && here) {
        if (await this.#writes()) return;
      }
      if (performance.now() > giveUp) {
        throw new Error(`the guest does not come to write: ${view.status}, ${JSON.stringify(guests)}`);
      }
      await delay(200);
    }
  }

  /** Rejects with what an audit of the whole system finds. */
  async audit(): Promise<void> {
    const { running } = await this.#system.call<{ running: { id: string } }>('POST', '/crosscell/v1/audit', {});
    const giveUp = performance.now() + STEP_LIMIT_MS;
    for (;;) {
      const { audit, findings } = await this.#system.call<Audited>('GET', '/crosscell/v1/audit');
      if (audit?.id === running.id) {
        if (audit.summary?.verdict !== 'held') throw new Error(`the audit found ${JSON.stringify(findings)}`);
        return;
      }
      if (performance.now() > giveUp) throw new Error('the audit does not end');
      await delay(20);
    }
  }

  #guests() {
    return this.#system.look().guests.filter(({ serverId }) => serverId === this.#serverId);
  }

  /** The step, at its next run, waits until it is let go. */
  async #hold(step: string): Promise<void> {
    const fault = { kind: 'delay', saga: 'resize', step, phase: 'do', delay_ms: HELD_MS, server: this.#serverId };
    await this.#system.call('POST', '/crosscell/v1/faults', fault);
  }

  /** Waits until the step is the present one, kills, and lets the step go. False when there was nothing to kill. */
  async #strike(each: Case, from: string | null): Promise<boolean> {
    const giveUp = performance.now() + STEP_LIMIT_MS;
    for (;;) {
      const { faults } = await this.#system.call<{ faults: { fired: number }[] }>('GET', '/crosscell/v1/faults');
      if (faults.some(({ fired }) => fired > 0)) break;
      if (performance.now() > giveUp) throw new Error(`step '${each.step}' is not reached`);
      await delay(20);
    }
    const move = await this.#latest('resize');
    const at = { source: from ?? '', target: move?.target?.host ?? other(from) };
    if (each.moment === 'before') {
      const killed = await this.#kill(each.victim, at);
      if (this.#system.isUp) await this.#system.call('DELETE', '/crosscell/v1/faults');
      return killed;
    }
    await this.#system.call('DELETE', '/crosscell/v1/faults');
    while (isBorn(each.victim, each.step, each.moment) && !this.#guests().some(({ host }) => host === at.target)) {
      if (performance.now() > giveUp) throw new Error('the guest does not come');
      await delay(5);
    }
    await delay(each.afterMs);
    return this.#kill(each.victim, at);
  }

  async #kill(victim: Victim, at: { readonly source: string; readonly target: string }): Promise<boolean> {
    const { directory } = this.#system;
    const sight = this.#system.look();
    const slay = (pids: readonly number[]): boolean => pids.filter(isSlain).length > 0;
    const agents = (command: 'agent' | 'storage', name: string) =>
      sight.all
        .filter(({ words }) => words.includes(`main.ts ${command} `) && words.includes(`${directory}/`))
        .filter(({ words }) => words.includes(`--name ${name} `))
        .map(({ pid }) => pid);
    const guests = (host: string) => this.#guests().flatMap((guest) => (guest.host === host ? [guest.pid] : []));
    switch (victim) {
      case 'conductor':
        await this.#system.killConductor();
        return true;
      case 'source agent':
        return slay(agents('agent', at.source));
      case 'target agent':
        return slay(agents('agent', at.target));
      case 'source QEMU':
        return slay(guests(at.source));
      case 'target QEMU':
        return slay(guests(at.target));
      case "volume's daemon":
        return slay(sight.volumes.map(({ pid }) => pid));
      case 'storage agent':
        return slay(agents('storage', 'storage1'));
      default: {
        const never: never = victim;
        return never;
      }
    }
  }

  async #act(body: object): Promise<void> {
    await this.#system.call('POST', `${COMPUTE}/servers/${this.#serverId}/action`, body);
  }

  async #startGuest(): Promise<void> {
    await this.#act({ 'os-start': null });
    await this.#ended('start');
  }

  async #server(): Promise<ServerView> {
    const path = `${COMPUTE}/servers/${this.#serverId}`;
    return (await this.#system.call<{ server: ServerView }>('GET', path)).server;
  }

  /** The server, when nothing is going on with it. */
  async #quiet(): Promise<ServerView> {
    const giveUp = performance.now() + MOVE_LIMIT_MS;
    for (;;) {
      const view = await this.#server();
      const active = (await this.#moves()).some(({ status }) => status === 'active');
      if (view['OS-EXT-STS:task_state'] === null && !active) return this.#server();
      if (performance.now() > giveUp) throw new Error(`the server stays in ${view['OS-EXT-STS:task_state']}`);
      await delay(100);
    }
  }

  async #moves(): Promise<readonly MoveView[]> {
    const path = `/crosscell/v1/moves?server_id=${this.#serverId}`;
    return (await this.#system.call<{ moves: MoveView[] }>('GET', path)).moves;
  }

  async #latest(name: string): Promise<MoveView | undefined> {
    return (await this.#moves()).find(({ move }) => move === name);
  }

  async #ended(name: string): Promise<MoveView> {
    const giveUp = performance.now() + MOVE_LIMIT_MS;
    for (;;) {
      const move = await this.#latest(name);
      if (move && (move.status === 'done' || move.status === 'unwound')) return move;
      if (move?.status === 'stuck' || performance.now() > giveUp) {
        throw new Error(`${name} does not end: ${move?.status} at '${move?.step}'`);
      }
      await delay(100);
    }
  }

  /** The last lines of the console; none while the host's agent is away. */
  async #console(path: string): Promise<string> {
    try {
      const body = { 'os-getConsoleOutput': { length: 5 } };
      return (await this.#system.call<{ output: string }>('POST', path, body)).output;
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 503) return '';
      throw error;
    }
  }

  /** Whether the present run of the guest has written lines of its journal. */
  async #writes(): Promise<boolean> {
    const path = `${COMPUTE}/servers/${this.#serverId}/action`;
    const since = Date.now();
    const giveUp = performance.now() + 3000;
    while (performance.now() < giveUp) {
      const output = await this.#console(path);
      const times = [...output.matchAll(/^JOURNAL \d+ (\d+) /gm)].map((match) => Number(match[1]));
      if (times.some((time) => time >= since)) return true;
      await delay(200);
    }
    return false;
  }
}

const other = (host: string | null): string => (host === 'cell1-host1' ? 'cell2-host1' : 'cell1-host1');

/** Whether the process was there to be killed: it may have ended since it was seen. */
function isSlain(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
