/** Numbers and times as people read them. */
import { h } from './dom.js';

const number = new Intl.NumberFormat('en');
const clock = new Intl.DateTimeFormat('en', {
  ...{ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' },
});
const hourMinute = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const full = new Intl.DateTimeFormat('en', {
  ...{
    weekday: 'short',
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  },
  hourCycle: 'h23',
});

export const count = (value: number): string => number.format(value);

/** `1 window`, `2 windows`. */
export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

export const clockText = (ms: number): string => clock.format(ms);
export const minuteText = (ms: number): string => hourMinute.format(ms);
export const fullText = (ms: number): string => full.format(ms);

/** A span of time in the two units that matter. */
export const span = (ms: number): string => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${minutes < 10 ? `${seconds % 60} s` : ''}`.trim();
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60 === 0 ? '' : `${minutes % 60} min`}`.trim();
  return `${Math.floor(hours / 24)} days`;
};

/** Milliseconds since 1970 of an ISO time or a number. */
export const millis = (time: string | number): number => (typeof time === 'number' ? time : Date.parse(time));

type Kind = 'ago' | 'left' | 'for';

const moving = (kind: Kind, ms: number): string => {
  const now = Date.now();
  if (kind === 'ago') return now - ms < 2_000 ? 'just now' : `${span(now - ms)} ago`;
  if (kind === 'for') return span(now - ms);
  return ms > now ? `${span(ms - now)} left` : 'ended';
};

/** A time that moves with the clock: `3 min ago`, `12 min left`, or for how long. */
export const movingTime = (kind: Kind, time: string | number): HTMLElement => {
  const ms = millis(time);
  const iso = new Date(ms).toISOString();
  const attributes = { datetime: iso, title: fullText(ms), 'data-kind': kind, 'data-ms': ms };
  return h('time', attributes, moving(kind, ms));
};

/** How long until an end that may never come. */
export const ends = (until: string | null, never = 'no end'): HTMLElement | string =>
  until === null ? never : movingTime('left', until);

/** A moment of the day. */
export const clockTime = (time: string | number): HTMLElement => {
  const ms = millis(time);
  return h('time', { datetime: new Date(ms).toISOString(), title: fullText(ms) }, clockText(ms));
};

const isKind = (kind: string | undefined): kind is Kind =>
  kind === 'ago' || kind === 'left' || kind === 'for';

/** Moves all times on the page, each second. */
export const startClock = (): void => {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll<HTMLElement>('time[data-kind]')) {
      const { kind, ms } = element.dataset;
      if (!isKind(kind)) continue;
      const text = moving(kind, Number(ms));
      if (element.textContent !== text) element.textContent = text;
    }
  }, 1_000);
};
