/**
 * Where stream times lie on the timeline.  Pure: no DOM.
 */

const SECOND = 1_000_000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
const LEAST_US = 10 * SECOND;

/** @typedef {{from: number, to: number, width: number}} View a stretch of stream time (µs) and the pixels it fills */

/**
 * Choose what is shown: all of [start, now], or its last `lastS` seconds.
 * @param {number} start @param {number} now @param {number} lastS 0 for all @param {number} width
 * @returns {View}
 */
export function view(start, now, lastS, width) {
  const to = Math.max(now, start);
  const from = lastS ? to - lastS * SECOND : Math.min(start, to);
  return { from: to - from < LEAST_US ? to - LEAST_US : from, to, width };
}

/** @param {View} shown @param {number} us */
export function place(shown, us) {
  return ((us - shown.from) / (shown.to - shown.from)) * shown.width;
}

/** @param {View} shown @param {number} x */
export function moment(shown, x) {
  const share = Math.min(1, Math.max(0, x / Math.max(1, shown.width)));
  return Math.round(shown.from + share * (shown.to - shown.from));
}

/**
 * Choose round times for the axis, no closer than about 72 px.
 * @param {View} shown
 * @returns {number[]} µs
 */
export function ticks(shown) {
  const most = Math.max(1, Math.floor(shown.width / 72));
  const seconds = (shown.to - shown.from) / SECOND;
  const step = STEPS.find((s) => seconds / s <= most) ?? Math.ceil(seconds / most / 86_400) * 86_400;
  const all = [];
  for (let at = Math.max(0, Math.ceil(shown.from / SECOND / step) * step); at * SECOND <= shown.to; at += step) {
    all.push(at * SECOND);
  }
  return all;
}

/** How far an arrow key moves: a sixtieth of what is shown, in whole seconds. @param {View} shown */
export function stride(shown) {
  return Math.max(1, Math.round((shown.to - shown.from) / SECOND / 60)) * SECOND;
}

/**
 * Name what is remembered at a moment.
 * @param {{start_us: number, end_us: number, kind: string}[]} stretches @param {number} us
 */
export function kindAt(stretches, us) {
  return stretches.find((one) => one.start_us <= us && us < one.end_us)?.kind ?? "nothing";
}
