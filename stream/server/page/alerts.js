/**
 * Standing questions and what they said.  Pure: no DOM.
 */

/**
 * @typedef {{watch_id: string, condition: string, on: boolean}} Watch
 * @typedef {{id: string, session: string, watchId: string, condition: string, timeUs: number, clearedUs: number | null,
 *   latencyMs: number, text: string, image: string | null}} Alert
 */

const MOST_ALERTS = 200;

export class Alerts {
  /** @param {Alert[]} [log] newest last @param {Watch[]} [watches] */
  constructor(log = [], watches = []) {
    this.log = log;
    this.watches = watches;
  }

  /**
   * Take in an event of the server; says what changed.
   * @param {any} event @param {string} session
   * @returns {"watches" | "fired" | "cleared" | null}
   */
  apply(event, session) {
    switch (event.type) {
      case "watch.created":
        this.#put(event);
        return "watches";
      case "watch.deleted":
        this.watches = this.watches.filter((one) => one.watch_id !== event.watch_id);
        return "watches";
      case "watch.listed": {
        const on = new Set(this.watches.filter((one) => one.on).map((one) => one.watch_id));
        this.watches = event.watches.map((/** @type {any} */ one) => ({
          watch_id: one.watch_id,
          condition: one.condition,
          on: on.has(one.watch_id),
        }));
        return "watches";
      }
      case "watch.fired":
        this.#put(event).on = true;
        this.log.push({
          id: `${session}/${event.seq ?? `${event.watch_id}/${event.time_us}`}`,
          session,
          watchId: event.watch_id,
          condition: event.condition,
          timeUs: event.time_us,
          clearedUs: null,
          latencyMs: event.latency_ms,
          text: event.text,
          image: event.image ?? null,
        });
        if (this.log.length > MOST_ALERTS) this.log.splice(0, this.log.length - MOST_ALERTS);
        return "fired";
      case "watch.cleared": {
        const watch = this.watches.find((one) => one.watch_id === event.watch_id);
        if (watch) watch.on = false;
        const alert = this.log.findLast((one) => one.watchId === event.watch_id && one.clearedUs === null);
        if (alert) alert.clearedUs = event.time_us;
        return "cleared";
      }
      default:
        return null;
    }
  }

  /** Forget the standing questions of a session that is gone; the log stays. @returns {string[]} their conditions */
  lose() {
    const lost = this.watches.map((one) => one.condition);
    this.watches = [];
    return lost;
  }

  /** @param {any} event @returns {Watch} */
  #put(event) {
    const known = this.watches.find((one) => one.watch_id === event.watch_id);
    if (known) return known;
    const watch = { watch_id: event.watch_id, condition: event.condition, on: false };
    this.watches.push(watch);
    return watch;
  }
}
