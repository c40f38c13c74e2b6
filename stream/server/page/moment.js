/**
 * The moment that was jumped to: its picture, its time, and a way to ask about it.
 */

import { byId, say, show } from "./dom.js";
import { span } from "./units.js";

export class Moment {
  #range = /** @type {[number, number]} */ ([0, 0]);

  /** @param {import("./thumbs.js").Thumbs} thumbs @param {(range: [number, number]) => void} onAsk */
  constructor(thumbs, onAsk) {
    this.thumbs = thumbs;
    this.box = byId("moment");
    this.image = byId("moment-image");
    byId("moment-ask").addEventListener("click", () => onAsk(this.#range));
    byId("moment-close").addEventListener("click", () => this.close());
  }

  /** @param {number} start @param {number} end @param {{path: string | null, words: string} | null} picture
   * @param {number} share where on the timeline, 0..1 */
  async show(start, end, picture, share) {
    this.#range = [start, Math.max(end, start + 1_000_000)];
    say(byId("moment-text"), picture ? `${span(start, end)} · ${picture.words}` : span(start, end));
    show(this.box, true);
    // Above its moment, moved to the side where it would stick out.
    this.box.style.left = `${(share * 100).toFixed(2)}%`;
    this.box.style.transform = `translateX(${(-share * 100).toFixed(2)}%)`;
    show(this.image, false);
    show(this.image, await this.thumbs.fill(this.image, picture?.path ?? null));
  }

  close() {
    show(this.box, false);
  }
}
