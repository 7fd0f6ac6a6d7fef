/**
 * The times that stand in log lines: syslog's (RFC 3164 4.1.2, no year and no zone), RFC 3339 and ISO 8601, and seconds
 * since 1970. Whatever a line leaves out is read so that its login is as old as it can be, never younger.
 */

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAY = 86_400_000;

/** The difference between local time and UTC at a moment, ms; positive to the east. */
export type Zone = (at: number) => number;

const systemZone: Zone = (at) => -new Date(at).getTimezoneOffset() * 60_000;

const FIXED = /^([+-])(\d{2}):?(\d{2})$/;

const fixedOffset = (text: string): number | undefined => {
  if (text === 'Z' || text === 'z' || text === 'UTC' || text === 'GMT') return 0;
  const match = FIXED.exec(text);
  if (match === null) return undefined;
  const minutes = Number(match[2]) * 60 + Number(match[3]);
  if (minutes > 14 * 60) return undefined;
  return (match[1] === '-' ? -minutes : minutes) * 60_000;
};

/** A zone by its name: `UTC`, `+09:00`, or one of the tz database such as `Asia/Tokyo`. Undefined: there is none. */
export const zoneOf = (name: string): Zone | undefined => {
  const offset = fixedOffset(name);
  if (offset !== undefined) return () => offset;
  try {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hourCycle: 'h23',
      ...({ year: 'numeric', month: 'numeric', day: 'numeric' } as const),
      ...({ hour: 'numeric', minute: 'numeric', second: 'numeric' } as const),
    });
    return (at) => {
      const of = (type: string, parts: Intl.DateTimeFormatPart[]): number =>
        Number(parts.find((part) => part.type === type)?.value);
      const parts = format.formatToParts(at);
      const [year, month, day] = [of('year', parts), of('month', parts), of('day', parts)];
      const wall = Date.UTC(
        year,
        month - 1,
        day,
        of('hour', parts),
        of('minute', parts),
        of('second', parts),
      );
      return wall - Math.floor(at / 1_000) * 1_000;
    };
  } catch {
    return undefined;
  }
};

/** What a line says of its time. */
export interface LogTime {
  /** Undefined: syslog's, which has none. */
  readonly year: number | undefined;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  /** With its fraction. */
  readonly second: number;
  /** From UTC, ms; undefined: local time of somewhere. */
  readonly offset: number | undefined;
}

const SYSLOG =
  /^([A-Z][a-z]{2})[ ]{1,2}(\d{1,2})(?: (\d{4}))? (\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?![\d:])/;
const ISO =
  /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?: ?(Z|[+-]\d{2}:?\d{2}))?(?![\d:])/;
const EPOCH = /^@?(\d{10})(?:\.(\d{1,9}))?(?=$|[\s:])/;

const fraction = (seconds: string | undefined, rest: string | undefined): number =>
  Number(`${seconds ?? 0}.${rest ?? 0}`);

const sound = (time: LogTime): LogTime | undefined => {
  const { month, day, hour, minute, second } = time;
  const fits = month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second < 61;
  return fits ? time : undefined;
};

/** The time with which a text begins, and how many characters it takes. Undefined: it begins with none. */
export const timeAt = (text: string): { readonly time: LogTime; readonly length: number } | undefined => {
  const from = (match: RegExpExecArray, time: LogTime | undefined) =>
    time === undefined ? undefined : { time, length: match[0].length };
  const iso = ISO.exec(text);
  if (iso !== null) {
    const [, year, month, day, hour, minute, second, part, zone] = iso;
    const date = { year: Number(year), month: Number(month), day: Number(day) };
    const offset = zone === undefined ? undefined : fixedOffset(zone);
    if (zone !== undefined && offset === undefined) return undefined;
    const clock = { hour: Number(hour), minute: Number(minute), second: fraction(second, part) };
    return from(iso, sound({ ...date, ...clock, offset }));
  }
  const syslog = SYSLOG.exec(text);
  if (syslog !== null) {
    const [, name = '', day, year, hour, minute, second, part] = syslog;
    const month = MONTHS.indexOf(name.toLowerCase()) + 1;
    const date = { year: year === undefined ? undefined : Number(year), month, day: Number(day) };
    const clock = { hour: Number(hour), minute: Number(minute), second: fraction(second, part) };
    return from(syslog, sound({ ...date, ...clock, offset: undefined }));
  }
  const epoch = EPOCH.exec(text);
  if (epoch === null) return undefined;
  const at = new Date(Math.round(fraction(epoch[1], epoch[2]) * 1_000));
  return from(epoch, {
    ...{ year: at.getUTCFullYear(), month: at.getUTCMonth() + 1, day: at.getUTCDate() },
    ...{ hour: at.getUTCHours(), minute: at.getUTCMinutes() },
    second: at.getUTCSeconds() + at.getUTCMilliseconds() / 1_000,
    offset: 0,
  });
};

/** The last of some moments that is not after `limit`, or the first of all. */
const latest = (moments: readonly number[], limit: number): number | undefined => {
  const sorted = [...moments].sort((a, b) => b - a);
  return sorted.find((each) => each <= limit) ?? sorted.at(-1);
};

/** The moments that a clock on the wall may mean: two in the hour that summer time repeats. */
const moments = (wall: number, offset: number | undefined, zone: Zone): number[] => {
  if (offset !== undefined) return [wall - offset];
  const guesses = [...new Set([wall - zone(wall - DAY), wall - zone(wall + DAY)])];
  const right = guesses.filter((at) => at + zone(at) === wall);
  return right.length > 0 ? right : guesses;
};

/**
 * The moment, ms since 1970. A time without a year is the last such one that is at most a day ahead of `now`; of the
 * two readings in the hour that the end of summer time repeats it is the earlier. Undefined: there is no such day.
 */
export const momentOf = (time: LogTime, zone: Zone | undefined, now: number): number | undefined => {
  const { month, day, hour, minute, second, offset } = time;
  const here = zone ?? systemZone;
  const inYear = (year: number): number[] => {
    const midnight = new Date(Date.UTC(year, month - 1, day));
    if (midnight.getUTCMonth() !== month - 1) return [];
    const wall = midnight.getTime() + hour * 3_600_000 + minute * 60_000 + Math.floor(second) * 1_000;
    const earliest = Math.min(...moments(wall, offset, here));
    return [earliest + Math.round((second % 1) * 1_000)];
  };
  if (time.year !== undefined) return inYear(time.year)[0];
  const year = new Date(now).getUTCFullYear();
  return latest([year + 1, year, year - 1].flatMap(inYear), now + DAY);
};
