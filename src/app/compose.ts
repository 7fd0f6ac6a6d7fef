/** The one place that wires objects together. */
import { fanOut, type Note } from '../base/events.js';
import { SmtpProxy } from '../proxy/proxy.js';
import type { Setup } from './config.js';
import { createLog } from './log.js';

export interface Composed {
  readonly proxy: SmtpProxy;
  /** Where events go: the log, and whoever else subscribed. */
  readonly note: Note;
}

/** `subscribers`: hear every event beside the log. */
export const compose = (setup: Setup, subscribers: readonly Note[] = [], log = true): Composed => {
  const { format, level } = setup.log;
  const all = log ? [createLog(format, level), ...subscribers] : subscribers;
  const note = fanOut(all, (error) =>
    process.stderr.write(`sekisho: a subscriber failed: ${String(error)}\n`),
  );
  return { proxy: new SmtpProxy({ ...setup.proxy, note }), note };
};
