/**
 * How long to wait before the next try.  Pure: no DOM.
 */

const FIRST_MS = 500;
const MOST_MS = 15_000;

/**
 * Give the wait before try number `tries` (from 0): it doubles up to 15 s, and is spread by a quarter either way, so
 * that many pages do not come back in step.
 * @param {number} tries
 * @param {() => number} [random] gives 0..1
 */
export function backoff(tries, random = Math.random) {
  const whole = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries, 10));
  return Math.round(whole * (0.75 + 0.5 * random()));
}
