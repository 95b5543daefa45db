// V19: flavor extra specs against image properties: what contradicts itself is refused before anything is scheduled.
//
// Theory of operation. Extra specs are the operator's word (`hw:cpu_policy`), image properties the image owner's
// (`hw_cpu_policy`). Each check answers one pair, in the order of nova/virt/hardware.py:numa_get_constraints, with the
// text of Nova's exception; all are 400 for the user (servers.py:INVALID_FLAVOR_IMAGE_EXCEPTIONS). Both sides are text.
// Not here, because nothing in this product can honour them: PCI aliases, memory encryption, vTPM, vPMEM, real-time
// masks, mixed CPU policy's masks.
import type { Refusal } from './refusal.ts';
import { badRequest, firstRefusal } from './refusal.ts';
import type { Flavor } from './types.ts';

export type ImageProperties = Readonly<Record<string, string>>;

/** The two values of one setting; undefined where it is not set. Empty text counts as not set. */
function pair(flavor: Flavor, image: ImageProperties, key: string): readonly [string | undefined, string | undefined] {
  const value = (source: Readonly<Record<string, string>>, name: string): string | undefined =>
    (Object.hasOwn(source, name) ? source[name] : undefined) || undefined;
  return [value(flavor.extraSpecs, `hw:${key}`), value(image, `hw_${key}`)];
}

/** Nova's (oslo.utils') idea of a true word. */
function isTrue(text: string): boolean {
  return ['1', 't', 'true', 'on', 'y', 'yes'].includes(text.trim().toLowerCase());
}

const python = (value: boolean): string => (value ? 'True' : 'False');

/** A whole number as Python's int() reads it, or null. */
function integer(text: string): number | null {
  return /^\s*[+-]?\d{1,15}\s*$/.test(text) ? Number(text) : null;
}

const CPU_POLICIES = ['dedicated', 'shared', 'mixed'];
const THREAD_POLICIES = ['prefer', 'isolate', 'require'];
const EMULATOR_POLICIES = ['share', 'isolate'];

const tuple = (values: readonly string[]): string => `(${values.map((value) => `'${value}'`).join(', ')})`;

function checkCpuPolicy(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'cpu_policy');
  const wrong = (source: string, value: string): Refusal =>
    badRequest(
      `CPU policy requested from '${source}' is invalid, given: '${value}', available: '${tuple(CPU_POLICIES)}'.`,
    );
  if (ours !== undefined && !CPU_POLICIES.includes(ours)) return wrong('flavor extra specs', ours);
  if (theirs !== undefined && !CPU_POLICIES.includes(theirs)) return wrong('image properties', theirs);
  const forbidden =
    (ours === 'mixed' && theirs === 'dedicated') ||
    (ours === 'shared' && (theirs === 'mixed' || theirs === 'dedicated'));
  return forbidden
    ? badRequest(
        "Image property 'hw_cpu_policy' is not permitted to override " + 'CPU pinning policy set against the flavor',
      )
    : null;
}

function checkThreadPolicy(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'cpu_thread_policy');
  const wrong = (source: string, value: string): Refusal =>
    badRequest(
      `CPU thread policy requested from '${source}' is invalid, given: '${value}', available: '${tuple(THREAD_POLICIES)}'.`,
    );
  if (ours !== undefined && !THREAD_POLICIES.includes(ours)) return wrong('flavor extra specs', ours);
  if (theirs !== undefined && !THREAD_POLICIES.includes(theirs)) return wrong('image properties', theirs);
  if (ours !== undefined && ours !== 'prefer' && theirs !== undefined && theirs !== ours) {
    return badRequest(
      "Image property 'hw_cpu_thread_policy' is not permitted to " +
        'override CPU thread pinning policy set against the flavor',
    );
  }
  const [flavorPolicy, imagePolicy] = pair(flavor, image, 'cpu_policy');
  const policy = flavorPolicy ?? imagePolicy;
  const pinned = policy === 'dedicated' || policy === 'mixed';
  return !pinned && (ours ?? theirs) !== undefined
    ? badRequest('Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy')
    : null;
}

function checkEmulatorThreads(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [policy] = pair(flavor, image, 'emulator_threads_policy');
  if (policy === undefined) return null;
  if (!EMULATOR_POLICIES.includes(policy)) {
    return badRequest(
      'CPU emulator threads option requested is invalid, ' +
        `given: '${policy}', available: '${tuple(EMULATOR_POLICIES)}'.`,
    );
  }
  const [flavorPolicy, imagePolicy] = pair(flavor, image, 'cpu_policy');
  const cpuPolicy = flavorPolicy ?? imagePolicy;
  return policy === 'isolate' && cpuPolicy !== 'dedicated' && cpuPolicy !== 'mixed'
    ? badRequest('An isolated CPU emulator threads option requires a dedicated CPU policy option.')
    : null;
}

function checkNumaNodes(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'numa_nodes');
  if (ours !== undefined && theirs !== undefined) {
    return badRequest(
      "Image property 'hw_numa_nodes' is not permitted to override NUMA configuration set against the flavor",
    );
  }
  const text = ours ?? theirs;
  if (text === undefined) return null;
  const nodes = integer(text);
  if (nodes === null || nodes < 1) {
    return badRequest(`The property 'numa_nodes' cannot be '${text}'. It must be a number greater than 0`);
  }
  return flavor.vcpus % nodes > 0 || flavor.memoryMb % nodes > 0
    ? badRequest(
        'Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. ' +
          'Explicit assignment of CPUs and memory to nodes is required',
      )
    : null;
}

/** True for what Nova takes for a page size: a word, KiB as digits, or a number with a unit. */
function isPageSize(text: string): boolean {
  return (
    ['any', 'large', 'small'].includes(text) ||
    /^\d{1,15}$/.test(text) ||
    /^[-+]?\d*\.?\d+(?:[KMGT]i?)?(?:b|bit|B)?$/.test(text)
  );
}

function checkPageSize(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'mem_page_size');
  const forbidden = (size: string, against: string): Refusal =>
    badRequest(`Page size ${size} forbidden against '${against}'`);
  if (ours === undefined) return theirs === undefined ? null : forbidden(theirs, '<empty>');
  if (!isPageSize(ours)) return badRequest(`Invalid memory page size '${ours}'`);
  if (theirs === undefined) return null;
  if (ours !== 'any' && ours !== 'large') return forbidden(theirs, ours);
  return isPageSize(theirs) ? null : badRequest(`Invalid memory page size '${theirs}'`);
}

function checkLockedMemory(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'locked_memory');
  if (ours === undefined && theirs === undefined) return null;
  if (ours !== undefined && theirs !== undefined && isTrue(ours) !== isTrue(theirs)) {
    return badRequest(
      `locked_memory value in image (${python(isTrue(theirs))}) and flavor (${python(isTrue(ours))}) ` +
        'conflict. A consistent value is expected if both specified.',
    );
  }
  const [page, imagePage] = pair(flavor, image, 'mem_page_size');
  return isTrue(ours ?? theirs ?? '') && page === undefined && imagePage === undefined
    ? badRequest('locked_memory value in image or flavor is forbidden when mem_page_size is not set.')
    : null;
}

/** Yes-or-no settings that both sides may make, but not differently (_get_unique_flavor_image_meta and its kin). */
function checkFlags(flavor: Flavor, image: ImageProperties, imageName: string): Refusal | null {
  for (const key of ['pmu', 'vif_multiqueue_enabled', 'virtio_packed_ring']) {
    if (key === 'vif_multiqueue_enabled' && flavor.vcpus < 2) continue;
    const [ours, theirs] = pair(flavor, image, key);
    if (ours === undefined || theirs === undefined || isTrue(ours) === isTrue(theirs)) continue;
    const values = [python(isTrue(ours)), python(isTrue(theirs))];
    return badRequest(
      key === 'virtio_packed_ring'
        ? `Flavor has hw:${key} extra spec explicitly set to ${values[0]}, conflicting with image ` +
            `which has hw_${key} explicitly set to ${values[1]}.`
        : `Flavor ${flavor.name} has hw:${key} extra spec explicitly set to ${values[0]}, conflicting with image ` +
            `${imageName} which has hw_${key} explicitly set to ${values[1]}.`,
    );
  }
  return null;
}

function checkSerialPorts(flavor: Flavor, image: ImageProperties): Refusal | null {
  const [ours, theirs] = pair(flavor, image, 'serial_port_count');
  if (ours === undefined) return null;
  const limit = integer(ours);
  if (limit === null) {
    return badRequest(`Number of serial ports specified in flavor is invalid: expected an integer, got '${ours}'`);
  }
  const wanted = theirs === undefined ? null : integer(theirs);
  return limit > 0 && wanted !== null && wanted > limit
    ? badRequest('Forbidden to exceed flavor value of number of serial ports passed in image meta.')
    : null;
}

const PARTS = ['sockets', 'cores', 'threads'] as const;

function checkTopology(flavor: Flavor, image: ImageProperties): Refusal | null {
  const flavorMax: number[] = [];
  const imageMax: number[] = [];
  const imageWish: number[] = [];
  for (const part of PARTS) {
    const [max, theirMax] = pair(flavor, image, `cpu_max_${part}`);
    const [wish, theirWish] = pair(flavor, image, `cpu_${part}`);
    for (const text of [max, wish]) {
      if (text !== undefined && integer(text) === null) {
        return badRequest(`Invalid flavor extra spec. Error: invalid literal for int() with base 10: '${text}'`);
      }
    }
    flavorMax.push(integer(max ?? '0') ?? 0);
    imageMax.push(integer(theirMax ?? '0') ?? 0);
    imageWish.push(integer(theirWish ?? '0') ?? 0);
  }
  const at = (values: readonly number[], index: number): number => values[index] ?? 0;
  const text = (values: readonly number[]): string =>
    PARTS.map((part, index) => `${part}=${at(values, index)}`).join(', ');
  if (PARTS.some((_, i) => at(flavorMax, i) > 0 && at(imageMax, i) > at(flavorMax, i))) {
    return badRequest(
      `Image vCPU topology limits (${text(imageMax)}) exceeds the limits of the flavor (${text(flavorMax)})`,
    );
  }
  const max = PARTS.map((_, i) => at(imageMax, i) || at(flavorMax, i) || 65536);
  return PARTS.some((_, i) => at(imageWish, i) > at(max, i))
    ? badRequest(`Image vCPU topology (${text(imageWish)}) exceeds the limits of the flavor or image (${text(max)})`)
    : null;
}

function checkConfigDrive(image: ImageProperties): Refusal | null {
  const option = image.img_config_drive;
  return option === undefined || option === 'optional' || option === 'mandatory'
    ? null
    : badRequest(`Image's config drive option '${option}' is invalid`);
}

/**
 * V19: null, or the first contradiction between a flavor's extra specs and an image's properties; also used at create.
 * @param imageName the image's name, or its id where the name is no longer known
 */
export function checkFlavorAgainstImageProperties(
  flavor: Flavor,
  image: ImageProperties,
  imageName: string,
): Refusal | null {
  return firstRefusal(
    () => checkConfigDrive(image),
    () => checkFlags(flavor, image, imageName),
    () => checkSerialPorts(flavor, image),
    () => checkTopology(flavor, image),
    () => checkCpuPolicy(flavor, image),
    () => checkThreadPolicy(flavor, image),
    () => checkEmulatorThreads(flavor, image),
    () => checkNumaNodes(flavor, image),
    () => checkPageSize(flavor, image),
    () => checkLockedMemory(flavor, image),
  );
}
