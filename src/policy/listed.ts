/** The condition on DNS lists (RFC 5782) that name the client's address. */
import type { Facts, ListedFact } from './facts.js';
import type { Condition } from './match.js';

/** Names of lists; undefined: the sum of the lists' weights has reached the threshold, whichever they are. */
export type ListNames = ReadonlySet<string> | undefined;

/** A name of a list in the configuration: its zone, or what it is called there. */
export const LISTED_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

const holds = ({ lists, blocked }: ListedFact, names: ListNames): boolean =>
  names === undefined ? blocked : lists.some((list) => names.has(list));

export const listedCondition = (text: string, names: ListNames): Condition => ({
  key: 'listed',
  text,
  holds: ({ listed }) => {
    if (listed?.known !== true) return 'unknown';
    return holds(listed.value, names) ? 'yes' : 'no';
  },
  why: ({ listed, client }: Facts) => {
    if (listed === undefined) return 'listed is not known: nobody looked it up';
    if (!listed.known) return `listed is not known: ${listed.why}`;
    const { lists, blocked } = listed.value;
    const where = lists.length === 0 ? 'is on no list' : `is on ${lists.join(', ')}`;
    const short = names === undefined && lists.length > 0 && !blocked ? ', too little to be blocked' : '';
    return `${client.text} ${where}${short}, ${text} is asked for`;
  },
});

/** True if whatever fulfils `later` fulfils `earlier`. */
export const listedCovers = (earlier: ListNames, later: ListNames): boolean =>
  earlier === undefined
    ? later === undefined
    : later !== undefined && [...later].every((name) => earlier.has(name));
