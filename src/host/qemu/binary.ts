// What the machine's QEMU is: its version, and what it can accelerate guests with. Found out once, when first asked.
import type { Logger } from 'pino';
import { messageOf } from '../../lib/errors.ts';
import { probeKvm } from './kvm-probe.ts';
import type { Identity } from './privileges.ts';
import { run } from './tools.ts';

export interface BinaryOptions {
  readonly qemuBinary: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  readonly identity: Identity | null;
  /** File for the probe of KVM. */
  readonly romPath: string;
  readonly log: Logger;
}

export class QemuBinary {
  readonly #options: BinaryOptions;
  #accelerator: Promise<'kvm' | 'tcg'> | null = null;
  #knownVersion = 0;

  constructor(options: BinaryOptions) {
    this.#options = options;
  }

  /** The one that is set, or KVM where it runs a guest. Never rejects. */
  async accelerator(): Promise<'kvm' | 'tcg'> {
    const { accelerator, log, ...probe } = this.#options;
    if (accelerator !== 'auto') return accelerator;
    this.#accelerator ??= probeKvm(probe).then((verdict) => {
      log.info(verdict, 'accelerator chosen');
      return verdict.accelerator;
    });
    return this.#accelerator;
  }

  /** As a number, 7.2.1 being 7002001; 0 when the binary does not say. */
  async version(): Promise<number> {
    if (this.#knownVersion > 0) return this.#knownVersion;
    const { qemuBinary, identity, log } = this.#options;
    try {
      const output = await run(qemuBinary, ['--version'], { identity, timeoutMs: 5000 });
      const [, major, minor, micro] = /version (\d+)\.(\d+)\.(\d+)/.exec(output) ?? [];
      this.#knownVersion = Number(major ?? 0) * 1_000_000 + Number(minor ?? 0) * 1000 + Number(micro ?? 0);
      return this.#knownVersion;
    } catch (error) {
      // A host with a broken hypervisor still answers: every start will say what is wrong with it.
      log.warn({ reason: messageOf(error) }, 'the hypervisor does not tell its version');
      return 0;
    }
  }
}
