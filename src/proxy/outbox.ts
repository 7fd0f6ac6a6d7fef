/**
 * What is said in one round of the event loop goes out at its end, one connection after the other. Written as soon as it is
 * known, each write wakes a peer that has nothing else to do and falls asleep again before the next: with several sessions
 * at once that is dearer than the write itself. A session alone loses nothing by it: the round ends as soon as it is served.
 */
export interface Writer {
  /** Writes what waits. */
  writeOut(): void;
}

let writers: Writer[] = [];

const endRound = (): void => {
  const due = writers;
  writers = [];
  for (const writer of due) writer.writeOut();
};

/** Has `writer` write when all events of this round are looked at, once for each time that this is called. */
export const writeLater = (writer: Writer): void => {
  if (writers.push(writer) === 1) setImmediate(endRound);
};
