// ImagePropertiesFilter: what an image needs of the host it runs on.
//
// Theory of operation. Three properties name what the guest expects (architecture, hypervisor type, vm mode) and one the
// hypervisor's version; a host offers combinations of the three. They are compiled once per request. Source:
// nova/scheduler/filters/image_props_filter.py; older names of properties as in nova/objects/image_meta.py.
import type { HostState } from './hosts.ts';
import { versionText } from './hosts.ts';

type Properties = Readonly<Record<string, string>>;

const propertyOf = (image: Properties, ...names: readonly string[]): string | null => {
  for (const name of names) {
    const value = Object.hasOwn(image, name) ? image[name]?.trim() : undefined;
    if (value !== undefined && value !== '') return value.toLowerCase();
  }
  return null;
};

/** Nova's canonical architecture names (fields.Architecture.canonicalize). */
function canonicalArchitecture(name: string): string {
  const lower = name.toLowerCase();
  if (lower === 'amd64') return 'x86_64';
  return ['i386', 'i486', 'i586', 'x86_32', 'x86_32p'].includes(lower) ? 'i686' : lower;
}

/** −1, 0 or 1 as dotted version `a` is lower than, equal to or higher than `b`. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

const COMPARISONS: Readonly<Record<string, (order: number) => boolean>> = {
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '==': (order) => order === 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
  '!=': (order) => order !== 0,
};

/** A predicate like `>=6.0,<9` on versions; one that cannot be read is satisfied by nothing. */
export function compileVersionPredicate(predicate: string): (version: string) => boolean {
  const parts = predicate.split(',').map((part) => /^\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+){0,3})\s*$/.exec(part));
  return (version) =>
    parts.every((part) => {
      const compare = COMPARISONS[part?.[1] ?? ''];
      return compare?.(compareVersions(version, part?.[2] ?? '')) ?? false;
    });
}

/** The virtualization types that a host offers: KVM besides QEMU where the accelerator is there. */
function offers(host: HostState, type: string): boolean {
  return type === host.hypervisorType.toLowerCase() || (type === 'kvm' && host.accelerator === 'kvm');
}

/** Compiles an image's properties into a predicate on hosts; null when the image asks for nothing. */
export function compileImageRequirements(image: Properties): ((host: HostState) => boolean) | null {
  const architecture = propertyOf(image, 'hw_architecture', 'architecture');
  const type = propertyOf(image, 'img_hv_type', 'hypervisor_type');
  const mode = propertyOf(image, 'hw_vm_mode', 'vm_mode');
  const version = propertyOf(image, 'img_hv_requested_version', 'hypervisor_version_requires');
  // As in Nova, a version alone asks for nothing.
  if (architecture === null && type === null && mode === null) return null;
  const wantedArchitecture = architecture === null ? null : canonicalArchitecture(architecture);
  const wantedMode = mode === 'hv' || mode === 'baremetal' ? 'hvm' : mode;
  const versionFits = version === null ? null : compileVersionPredicate(version);
  return (host) =>
    (wantedArchitecture === null ||
      wantedArchitecture === host.architecture ||
      wantedArchitecture === canonicalArchitecture(host.architecture)) &&
    (type === null || offers(host, type)) &&
    (wantedMode === null || wantedMode === 'hvm') &&
    (versionFits === null || versionFits(versionText(host.hypervisorVersion)));
}
