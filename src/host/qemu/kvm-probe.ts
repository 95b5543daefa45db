// Finds out whether KVM runs a guest here, by running one.
//
// Theory of operation. /dev/kvm may exist, open and accept a guest that then spins for ever (software-paged KVM inside
// some virtual machines). So after two cheap looks (device usable; processor flags vmx or svm) a 64 KiB ROM is run: it
// enters long mode with paging on, counts to a million and writes to QEMU's isa-debug-exit device, which ends QEMU with
// status 85. Anything else within three seconds, including silence, means TCG. The guest has no disk and no network.
import { constants } from 'node:fs';
import { access, chmod, chown, readFile, writeFile } from 'node:fs/promises';
import { messageOf } from '../../lib/errors.ts';
import type { Identity } from './privileges.ts';
import { run } from './tools.ts';

// The code at F000:0000, assembled from (AT&T syntax, .code16 up to the far jump):
//   cli; cld; xorw %ax,%ax; movw %ax,%es; movw %ax,%ss
//   movw $0x7000,%di; movl %edi,%edi; xorl %eax,%eax; movw $0xc00,%cx; rep stosl   # clear tables 0x7000..0x9fff
//   movw %cs,%ax; movw %ax,%ds
//   movl $0x8003,%es:0x7000; movl $0x9003,%es:0x8000; movl $0x0083,%es:0x9000      # PML4, PDPT, PD: one 2 MiB page
//   data32 lgdt %cs:gdtr; movl %cr4,%eax; orl $0x20,%eax; movl %eax,%cr4           # PAE
//   movl $0x7000,%eax; movl %eax,%cr3
//   movl $0xc0000080,%ecx; rdmsr; orl $0x100,%eax; wrmsr                           # EFER.LME
//   movl %cr0,%eax; orl $0x80000001,%eax; movl %eax,%cr0; ljmpl $8,$0xf0077        # paging, protection, 64-bit code
//   .code64: movl $1000000,%ecx; 1: decl %ecx; jnz 1b; movl $0xf4,%edx; movb $0x2a,%al; outb %al,%dx; 2: hlt; jmp 2b
//   .balign 8; gdt: .quad 0, 0x00209a0000000000; gdtr: .word 15; .long 0xf0090
const CODE = Buffer.from(
  'fafc31c08ec08ed0bf0070' +
    '6689ff6631c0b9000c66f3ab8cc88ed8' +
    '2666c706007003800000' +
    '2666c706008003900000' +
    '2666c706009083000000' +
    '2e660f0116a0000f20e06683c8200f22e0' +
    '66b8007000000f22d8' +
    '66b9800000c00f32660d000100000f30' +
    '0f20c0660d010000800f22c066ea77000f000800' +
    'b940420f00ffc975fcbaf4000000b02aeef4ebfd' +
    '0f1f440000' +
    '000000000000000000000000009a2000' +
    '0f0090000f00',
  'hex',
);
/** At the reset vector: a far jump to F000:0000. */
const RESET_JUMP = Buffer.from('ea000000f0', 'hex');
const ROM_BYTES = 64 * 1024;
const RESET_VECTOR = 0xfff0;
/** isa-debug-exit ends QEMU with (value << 1) | 1; the ROM writes 0x2a. */
const ROM_EXIT_STATUS = 85;
const PROBE_LIMIT_MS = 3000;
const WARM_UP_LIMIT_MS = 30_000;

export type Verdict = { readonly accelerator: 'kvm' } | { readonly accelerator: 'tcg'; readonly reason: string };

/** The ROM's bytes. */
export function probeRom(): Buffer {
  const rom = Buffer.alloc(ROM_BYTES);
  CODE.copy(rom, 0);
  RESET_JUMP.copy(rom, RESET_VECTOR);
  return rom;
}

export interface ProbeOptions {
  readonly qemuBinary: string;
  readonly identity: Identity | null;
  /** Where the ROM is written. */
  readonly romPath: string;
}

/** The accelerator to use here; never rejects, because whatever fails means TCG. */
export async function probeKvm(options: ProbeOptions): Promise<Verdict> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
    const flags = /^flags\s*:.*$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[0] ?? '';
    if (!/\b(vmx|svm)\b/.test(flags)) return tcg('the processor shows neither vmx nor svm');
    const failure = await runRom(options, 'kvm');
    return failure === null ? { accelerator: 'kvm' } : tcg(failure);
  } catch (error) {
    return tcg(messageOf(error));
  }
}

/** Runs the ROM; null when it came to its end, else why not. Also proves the ROM itself, under TCG. */
export async function runRom(options: ProbeOptions, accelerator: 'kvm' | 'tcg'): Promise<string | null> {
  await writeFile(options.romPath, probeRom());
  await chmod(options.romPath, 0o440);
  const { identity } = options;
  if (identity) await chown(options.romPath, 0, identity.gid);
  try {
    // Reading the program from a cold disk can take longer than the probe may: that must not look like a hanging KVM.
    await run(options.qemuBinary, ['--version'], { identity, timeoutMs: WARM_UP_LIMIT_MS });
    await run(
      options.qemuBinary,
      [
        ...['-M', 'pc', '-accel', accelerator, '-m', '16', '-nodefaults', '-no-user-config', '-display', 'none'],
        ...['-no-reboot', '-bios', options.romPath, '-device', 'isa-debug-exit,iobase=0xf4,iosize=1'],
      ],
      { identity, timeoutMs: PROBE_LIMIT_MS },
    );
    return 'the probe ended without its sign';
  } catch (error) {
    const reason = messageOf(error);
    return reason.endsWith(`status ${ROM_EXIT_STATUS}`) ? null : reason;
  }
}

const tcg = (reason: string): Verdict => ({ accelerator: 'tcg', reason });
