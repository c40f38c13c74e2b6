/**
 * How times, sizes and counts are written for people.  Pure: no DOM.
 */

const SECOND = 1_000_000;

/** Write a stream time as "3:25" or "1:03:25", whole seconds, as answers do. @param {number} us */
export function clock(us) {
  const seconds = Math.max(0, Math.floor(us / SECOND));
  const rest = seconds % 3600;
  const tail = `${String(rest % 60).padStart(2, "0")}`;
  if (seconds < 3600) return `${Math.floor(rest / 60)}:${tail}`;
  return `${Math.floor(seconds / 3600)}:${String(Math.floor(rest / 60)).padStart(2, "0")}:${tail}`;
}

/** Write a stretch of stream time; one time where both ends read alike. @param {number} start @param {number} end */
export function span(start, end) {
  const [from, to] = [clock(start), clock(end)];
  return from === to ? from : `${from}–${to}`;
}

/** Write a length of time in its two largest units. @param {number} us */
export function lasting(us) {
  const seconds = Math.max(0, Math.round(us / SECOND));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** Write a delay. @param {number} ms */
export function delay(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : lasting(ms * 1000);
}

/** Write a size, 1 MB = 10^6 bytes. @param {number} size */
export function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; size >= 999.5 && at < units.length - 1; at += 1) size /= 1000;
  return `${at && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[at]}`;
}

/** Write a count with separators. @param {number} value */
export function count(value) {
  return Math.round(value).toLocaleString("en-US");
}

/** Write a count with its noun. @param {number} value @param {string} one @param {string} [many] */
export function counted(value, one, many) {
  return `${count(value)} ${value === 1 ? one : (many ?? `${one}s`)}`;
}

/**
 * Read "3:25", "1:03:25" or plain seconds as µs; null for anything else.
 * @param {string} text
 * @returns {number | null}
 */
export function readClock(text) {
  const parts = text.trim().split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d{1,6}$/.test(part))) return null;
  if (parts.slice(1).some((part) => Number(part) > 59)) return null;
  return parts.reduce((total, part) => total * 60 + Number(part), 0) * SECOND;
}

/**
 * Cut a text at the clock times in it: each piece is words, or a time with its µs.
 * @param {string} text
 * @returns {{text: string, us?: number}[]}
 */
export function splitTimes(text) {
  /** @type {{text: string, us?: number}[]} */
  const pieces = [];
  let from = 0;
  for (const found of text.matchAll(/(?<![\d:.])\d{1,3}\s?:\s?\d{2}(?:\s?:\s?\d{2})?(?![\d:])/g)) {
    const us = readClock(found[0].replaceAll(/\s/g, ""));
    if (us === null) continue;
    if (found.index > from) pieces.push({ text: text.slice(from, found.index) });
    pieces.push({ text: found[0].replaceAll(/\s/g, ""), us });
    from = found.index + found[0].length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from) });
  return pieces;
}
