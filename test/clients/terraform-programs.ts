// Terraform's provider for OpenStack and OpenTofu, its free sibling, built from the Go module proxy: no registry of
// providers is asked, and nothing of them is in this repository. The versions are fixed; Go holds every module against
// its checksum database, and their dependencies against their own go.sum. They are kept in var/cache/terraform: building
// them takes minutes.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run, whyNoGo } from './run.ts';
import { say } from './say.ts';

interface Source {
  /** What the program is called. */
  readonly name: string;
  readonly module: string;
  readonly version: string;
  /** Of the module. */
  readonly package: string;
}

/** The first major version: the proxy that this was tried with does not give a later one. */
export const PROVIDER: Source = {
  name: 'terraform-provider-openstack',
  module: 'github.com/terraform-provider-openstack/terraform-provider-openstack',
  version: 'v1.54.1',
  package: '.',
};
export const TOFU: Source = {
  name: 'tofu',
  module: 'github.com/opentofu/opentofu',
  version: 'v1.10.10',
  package: './cmd/tofu',
};
/** The first Go that both compile with. */
const LOWEST_GO = [1, 24] as const;
const CACHE = join(import.meta.dirname, '..', '..', 'var', 'cache', 'terraform');
const FETCH_LIMIT_MS = 300_000;
const BUILD_LIMIT_MS = 3_600_000;

export interface Programs {
  readonly tofu: string;
  /** The directory that the provider is alone in. */
  readonly provider: string;
}

/** Builds what is not there yet. Or says what is missing. */
export async function terraformPrograms(): Promise<Programs | string> {
  for (const source of [PROVIDER, TOFU]) {
    const missing = existsSync(fileOf(source)) ? null : await build(source);
    if (missing !== null) return missing;
  }
  return { tofu: fileOf(TOFU), provider: directoryOf(PROVIDER) };
}

const directoryOf = ({ name, version }: Source): string => join(CACHE, `${name}-${version}`);
const fileOf = (source: Source): string => join(directoryOf(source), source.name);

/** Built where the module cache has it: go.mod counts there with its `replace`, which `go install` refuses. */
async function build(source: Source): Promise<string | null> {
  const missing = await whyNoGo(LOWEST_GO, FETCH_LIMIT_MS);
  if (missing !== null) return missing;
  const { name, module, version } = source;
  say(`${name} ${version} is being built: some minutes`);
  const got = await run(['go', 'mod', 'download', '-json', `${module}@${version}`], { limitMs: FETCH_LIMIT_MS });
  if (!got.ok) return `the Go module proxy does not give ${module} ${version}: ${got.output.slice(-300)}`;
  const { Dir } = JSON.parse(got.output) as { readonly Dir: string };
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, 'new-'));
  try {
    const options = ['-trimpath', '-mod=readonly', '-buildvcs=false', '-ldflags=-s -w', '-o', join(directory, name)];
    const built = await run(['go', '-C', Dir, 'build', ...options, source.package], { limitMs: BUILD_LIMIT_MS });
    if (!built.ok) return `${module} ${version} cannot be built: ${built.output.slice(-300)}`;
    // Whole or not at all: a build that was killed leaves nothing that looks finished.
    await rename(directory, directoryOf(source));
    return null;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
