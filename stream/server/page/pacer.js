/**
 * Whether the next frame may be sent.  Pure: no DOM.
 */

/** Bytes that may wait in the socket before frames are held back: about two pictures. */
export const MOST_WAITING = 192 * 1024;

export class Pacer {
  constructor() {
    /** What the person wants, and what the server can take; the smaller one counts. */
    this.wanted = 4;
    this.target = Infinity;
    this.limit = Infinity;
    this.held = 0;
    this.#next = -Infinity;
  }

  /** @type {number} */
  #next;

  /** Frames a second that are sent at most. */
  get fps() {
    return Math.max(0.1, Math.min(this.wanted, this.target, this.limit));
  }

  /**
   * Say whether a frame may go now; counts those that the connection held back.
   * @param {number} nowMs
   * @param {number} waitingBytes what the socket has not sent yet
   */
  due(nowMs, waitingBytes) {
    const every = 1000 / this.fps;
    if (nowMs < this.#next) return false;
    // Frames come on a grid of their own: a slot that is hit late does not move the next ones.
    this.#next = nowMs - this.#next > every ? nowMs + every * 0.9 : this.#next + every;
    if (waitingBytes > MOST_WAITING) {
      this.held += 1;
      return false;
    }
    return true;
  }

  /** Start anew, after a pause. */
  reset() {
    this.#next = -Infinity;
  }
}
