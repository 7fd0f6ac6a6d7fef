/**
 * Walks an LMDB file before it is mapped: what the library would follow into nothing kills the process. Layouts are those
 * of lmdb-js' own LMDB (`mdb.c`: MDB_page_header, MDB_meta, MDB_db, MDB_node) on little-endian 64-bit machines.
 */
import { readSync } from 'node:fs';

const HEADER = 24;
const MAGIC = 0xbeefc0de;
const META = { magic: 24, dbs: 48, lastPage: 144, txnId: 152, end: 160 } as const;
const DB = { depth: 6, root: 40, size: 48 } as const;
const NODE = { flags: 4, keySize: 6, key: 8 } as const;
/** The longest key that the library takes. */
const KEY_OCTETS = 1_978;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const BIG = 0x01;
const SUB = 0x02;
/** The root of an empty tree. */
const NONE = 0xffff_ffff_ffff_ffffn;

export interface Meta {
  readonly txnId: bigint;
  readonly pageSize: number;
  readonly lastPage: number;
  /** Free space, then the main tree: each as LMDB keeps it. */
  readonly trees: readonly Buffer[];
}

/** One of the two meta pages, or why it is none. */
const metaOf = (page: Buffer): Meta | string => {
  if (page.length < META.end || page.readUInt32LE(META.magic) !== MAGIC) return 'it is not an LMDB file';
  const pageSize = page.readUInt32LE(META.dbs);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0)
    return 'its page size makes no sense';
  const lastPage = page.readBigUInt64LE(META.lastPage);
  if (lastPage < 1n || lastPage > 0xffff_ffffn) return 'its number of pages makes no sense';
  const tree = (i: number): Buffer => page.subarray(META.dbs + i * DB.size, META.dbs + (i + 1) * DB.size);
  return {
    txnId: page.readBigUInt64LE(META.txnId),
    pageSize,
    lastPage: Number(lastPage),
    trees: [Buffer.from(tree(0)), Buffer.from(tree(1))],
  };
};

const readAt = (descriptor: number, length: number, at: number): Buffer => {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(descriptor, buffer, 0, length, at));
};

/** The newer of the two meta pages, which is the one in force; a text says what is wrong with them. */
export const currentMeta = (descriptor: number): Meta | string => {
  const first = metaOf(readAt(descriptor, META.end, 0));
  if (typeof first === 'string') return first;
  const second = metaOf(readAt(descriptor, META.end, first.pageSize));
  if (typeof second === 'string') return second;
  return second.txnId > first.txnId ? second : first;
};

class Damage extends Error {}

/** The pages of one state of the file, followed from its roots. */
class Walk {
  readonly #seen: Uint8Array;
  used = 2;

  constructor(
    private readonly descriptor: number,
    private readonly size: number,
    private readonly meta: Meta,
  ) {
    this.#seen = new Uint8Array(meta.lastPage + 1);
  }

  tree(db: Buffer): void {
    const root = db.readBigUInt64LE(DB.root);
    if (root !== NONE) this.#page(Number(root), db.readUInt16LE(DB.depth));
  }

  /** Each page is somewhere in the file, and belongs to one tree only. */
  #claim(page: number, count = 1): void {
    const { lastPage, pageSize } = this.meta;
    const end = page + count - 1;
    if (!(page >= 2 && count >= 1 && end <= lastPage)) throw new Damage(`page ${page} does not exist`);
    if ((end + 1) * pageSize > this.size)
      throw new Damage(`it is cut short: page ${end} lies past its ${this.size} octets`);
    for (let i = page; i <= end; i++) {
      if (this.#seen[i] === 1) throw new Damage(`page ${i} is used twice`);
      this.#seen[i] = 1;
    }
    this.used += count;
  }

  /** Its number, and the change that wrote it: one to come would make the library take it for one in its own memory. */
  #isOld(header: Buffer, number: number): boolean {
    return header.readBigUInt64LE(0) === BigInt(number) && header.readBigUInt64LE(8) <= this.meta.txnId;
  }

  /** `depth`: how many pages there are from here to a leaf, this one included. */
  #page(number: number, depth: number): void {
    this.#claim(number);
    const { pageSize } = this.meta;
    const page = readAt(this.descriptor, pageSize, number * pageSize);
    const kind = page.readUInt16LE(18) & (BRANCH | LEAF | OVERFLOW);
    const [lower, upper] = [page.readUInt16LE(20), page.readUInt16LE(22)];
    const room = pageSize - HEADER;
    const sound = lower <= upper && upper <= room;
    if (!sound || !this.#isOld(page, number) || kind !== (depth > 1 ? BRANCH : LEAF))
      throw new Damage(`page ${number} is damaged`);
    for (let i = 0; i < lower >> 1; i++) {
      const at = HEADER + page.readUInt16LE(HEADER + 2 * i);
      if (at < HEADER + upper || at + NODE.key > pageSize) throw new Damage(`page ${number} is damaged`);
      if (depth > 1) this.#branch(page, at, depth);
      else this.#leaf(page, at, number);
    }
  }

  #branch(page: Buffer, at: number, depth: number): void {
    this.#page(page.readUInt32LE(at) + page.readUInt16LE(at + NODE.flags) * 2 ** 32, depth - 1);
  }

  /** A value that has pages of its own. */
  #overflow(number: number, count: number, octets: number): void {
    this.#claim(number, count);
    const { pageSize } = this.meta;
    const header = readAt(this.descriptor, HEADER, number * pageSize);
    const sound =
      this.#isOld(header, number) &&
      (header.readUInt16LE(18) & (BRANCH | LEAF | OVERFLOW)) === OVERFLOW &&
      header.readUInt32LE(20) === count;
    if (!sound || count * pageSize < octets + HEADER) throw new Damage(`page ${number} is damaged`);
  }

  #leaf(page: Buffer, at: number, number: number): void {
    const size = page.readUInt32LE(at);
    const flags = page.readUInt16LE(at + NODE.flags);
    const keySize = page.readUInt16LE(at + NODE.keySize);
    const data = at + NODE.key + keySize;
    const here = (flags & BIG) !== 0 ? HEADER : size;
    if (keySize === 0 || keySize > KEY_OCTETS || data + here > page.length)
      throw new Damage(`page ${number} is damaged`);
    if ((flags & BIG) !== 0) {
      const [first, count] = [page.readBigUInt64LE(data), page.readBigUInt64LE(data + 16)];
      this.#overflow(Number(first), Number(count), size);
    } else if ((flags & SUB) !== 0) {
      if (size !== DB.size) throw new Damage(`page ${number} is damaged`);
      this.tree(page.subarray(data, data + size));
    }
  }
}

/** How many of the pages are in use, or what is wrong with one of them. */
export const walk = (descriptor: number, size: number, meta: Meta): number | string => {
  const pages = new Walk(descriptor, size, meta);
  try {
    for (const tree of meta.trees) pages.tree(tree);
    return pages.used;
  } catch (error) {
    if (error instanceof Damage) return error.message;
    throw error;
  }
};
