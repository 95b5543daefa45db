// A read-only disk of a few small files: ISO 9660 with Joliet names, as every guest can read it.
//
// Theory of operation. Pure, and the same bytes for the same files: no times, no names of programs. Two descriptors lead
// to two trees of directories over one set of files: the primary one with names in capitals, Joliet's with the names as
// they are (UCS-2), which Linux and Windows prefer. Order of sectors: 16 empty ones, primary descriptor, Joliet's,
// terminator, path tables, directories, files. Sources: ECMA-119, and Joliet's specification (escape sequence %/E).
// Not handled: directories of more than one sector, names that are not lower-case letters, digits, '_' and one '.'.
import { invariant } from '../lib/errors.ts';

const SECTOR = 2048;
const FIRST = 16;
const NAME = /^[a-z0-9_]{1,20}(\.[a-z0-9]{1,8})?$/;
const MAX_LABEL = 16;

/** Paths with '/' between their names, and what the files hold. */
export type Files = ReadonlyMap<string, Uint8Array>;

interface Directory {
  readonly name: string;
  readonly parent: number;
  /** Names of directories in it, by their number. */
  readonly directories: Map<string, number>;
  readonly files: Map<string, Uint8Array>;
}

/** The image. `label`: what the guest finds it by, at most 16 characters of ASCII. */
export function isoImage(label: string, files: Files): Uint8Array<ArrayBuffer> {
  invariant(/^[ -~]+$/.test(label) && label.length <= MAX_LABEL, 'a label is 1 to 16 characters of ASCII');
  const tree = treeOf(files);
  const firstDirectory = FIRST + 3 + 4;
  const firstFile = firstDirectory + 2 * tree.length;
  const places = new Map<Uint8Array, number>();
  let end = firstFile;
  for (const { files: here } of tree) {
    for (const content of here.values()) {
      places.set(content, end);
      end += sectors(content.length);
    }
  }
  const image = new Uint8Array(end * SECTOR);
  for (const [index, naming] of [PRIMARY, JOLIET].entries()) {
    const directoryAt = (number: number): number => firstDirectory + index * tree.length + number;
    const table = FIRST + 3 + 2 * index;
    const [little, big] = [false, true].map((bigEndian) => pathTable(tree, naming, directoryAt, bigEndian));
    invariant(little && big && little.length <= SECTOR, 'a path table is one sector');
    image.set(
      descriptor(naming, label, { sectors: end, table, tableSize: little.length, root: directoryAt(0) }),
      (FIRST + index) * SECTOR,
    );
    image.set(little, table * SECTOR);
    image.set(big, (table + 1) * SECTOR);
    for (const number of tree.keys()) {
      image.set(directorySector(tree, number, naming, directoryAt, places), directoryAt(number) * SECTOR);
    }
  }
  image.set([255, ...ascii('CD001'), 1], (FIRST + 2) * SECTOR);
  for (const [content, place] of places) image.set(content, place * SECTOR);
  return image;
}

const sectors = (bytes: number): number => Math.ceil(bytes / SECTOR);
const ascii = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));

/** Directories by number, parents before what is in them, as path tables want them. */
function treeOf(files: Files): Directory[] {
  const tree: Directory[] = [{ name: '', parent: 0, directories: new Map(), files: new Map() }];
  for (const path of [...files.keys()].toSorted()) {
    const names = path.split('/');
    invariant(
      names.every((name) => NAME.test(name)),
      `no such file can be on the disk: ${path}`,
    );
    let here = 0;
    for (const name of names.slice(0, -1)) {
      const known = tree[here]?.directories.get(name);
      if (known === undefined) {
        tree[here]?.directories.set(name, tree.length);
        tree.push({ name, parent: here, directories: new Map(), files: new Map() });
      }
      here = known ?? tree.length - 1;
    }
    // A copy: two files of the same bytes have two places.
    tree[here]?.files.set(names.at(-1) ?? '', Uint8Array.from(files.get(path) ?? []));
  }
  // ECMA-119 orders them by depth; with paths in order, that is what a stable sort by depth gives.
  return byDepth(tree);
}

function byDepth(tree: readonly Directory[]): Directory[] {
  const depth = (number: number): number => (number === 0 ? 0 : 1 + depth(tree[number]?.parent ?? 0));
  const order = [...tree.keys()].toSorted((a, b) => depth(a) - depth(b) || a - b);
  const renumbered = (number: number): number => order.indexOf(number);
  return order.map((number) => {
    const { name, parent, directories, files } = tree[number] ?? {
      name: '',
      parent: 0,
      directories: new Map<string, number>(),
      files: new Map<string, Uint8Array>(),
    };
    return {
      name,
      parent: renumbered(parent),
      directories: new Map([...directories].map(([key, value]) => [key, renumbered(value)])),
      files,
    };
  });
}

interface Naming {
  readonly type: 1 | 2;
  readonly escape: string;
  readonly directory: (name: string) => number[];
  readonly file: (name: string) => number[];
  /** Text of a descriptor's field, filled up with blanks. */
  readonly field: (text: string, length: number) => number[];
}

const ucs2 = (text: string): number[] => ascii(text).flatMap((code) => [0, code]);
const PRIMARY: Naming = {
  type: 1,
  escape: '',
  directory: (name) => ascii(name.toUpperCase()),
  file: (name) => ascii(`${name.toUpperCase()}${name.includes('.') ? '' : '.'};1`),
  field: (text, length) => ascii(text.padEnd(length)),
};
const JOLIET: Naming = {
  type: 2,
  escape: '%/E',
  directory: ucs2,
  file: (name) => ucs2(`${name};1`),
  field: (text, length) => ucs2(text.padEnd(Math.floor(length / 2))),
};

/** A number in both orders of bytes. */
const both16 = (value: number): number[] => [value & 255, value >> 8, value >> 8, value & 255];
const little32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
const both32 = (value: number): number[] => [...little32(value), ...little32(value).reverse()];

/** ECMA-119 9.1. `name` of one byte, 0 or 1: the directory itself or its parent. */
function record(name: readonly number[], place: number, size: number, isDirectory: boolean): number[] {
  const padding = name.length % 2 === 0 ? [0] : [];
  const body = [
    ...[0, ...both32(place), ...both32(size)],
    // 1 January 1970, 00:00 UTC: years since 1900, month, day, hour, minute, second, offset.
    ...[70, 1, 1, 0, 0, 0, 0],
    ...[isDirectory ? 2 : 0, 0, 0, ...both16(1), name.length, ...name, ...padding],
  ];
  return [body.length + 1, ...body];
}

function directorySector(
  tree: readonly Directory[],
  number: number,
  naming: Naming,
  directoryAt: (number: number) => number,
  places: ReadonlyMap<Uint8Array, number>,
): number[] {
  const here = tree[number];
  invariant(here, 'the directory is in the tree');
  const entries = [
    ...[...here.directories].map(([name, each]) => [naming.directory(name), directoryAt(each), SECTOR, true] as const),
    ...[...here.files].map(
      ([name, content]) => [naming.file(name), places.get(content) ?? 0, content.length, false] as const,
    ),
  ].toSorted(([a], [b]) => (String.fromCharCode(...a) < String.fromCharCode(...b) ? -1 : 1));
  const all = [
    ...record([0], directoryAt(number), SECTOR, true),
    ...record([1], directoryAt(here.parent), SECTOR, true),
    ...entries.flatMap(([name, place, size, isDirectory]) => record(name, place, size, isDirectory)),
  ];
  invariant(all.length <= SECTOR, 'a directory is one sector');
  return all;
}

/** ECMA-119 9.4. */
function pathTable(
  tree: readonly Directory[],
  naming: Naming,
  directoryAt: (number: number) => number,
  bigEndian: boolean,
): number[] {
  const ordered = (bytes: number[]): number[] => (bigEndian ? bytes.reverse() : bytes);
  return tree.flatMap(({ name, parent }, number) => {
    const text = number === 0 ? [0] : naming.directory(name);
    const place = ordered(little32(directoryAt(number)));
    const padding = text.length % 2 === 1 ? [0] : [];
    return [text.length, 0, ...place, ...ordered([(parent + 1) & 255, (parent + 1) >> 8]), ...text, ...padding];
  });
}

/** ECMA-119 8.4 and 8.5. */
function descriptor(
  naming: Naming,
  label: string,
  at: { readonly sectors: number; readonly table: number; readonly tableSize: number; readonly root: number },
): number[] {
  const { field } = naming;
  const noDate = [...ascii('0'.repeat(16)), 0];
  return [
    ...[naming.type, ...ascii('CD001'), 1, 0],
    ...[...field('', 32), ...field(label, 32), ...new Array<number>(8).fill(0), ...both32(at.sectors)],
    ...ascii(naming.escape.padEnd(32, '\0')),
    ...[...both16(1), ...both16(1), ...both16(SECTOR), ...both32(at.tableSize)],
    ...[...little32(at.table), ...little32(0), ...little32(at.table + 1).reverse(), ...little32(0)],
    ...record([0], at.root, SECTOR, true),
    ...[...field('', 128), ...field('', 128), ...field('', 128), ...field('', 128)],
    ...[...field('', 36), 0, ...field('', 36), 0, ...field('', 36), 0],
    ...[...noDate, ...noDate, ...noDate, ...noDate, 1, 0],
  ];
}
