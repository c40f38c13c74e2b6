/**
 * The timeline of what is remembered: moved by pointer and keys.
 */

import { byId, say, show } from "./dom.js";
import { kindAt, moment, place, stride, view } from "./scale.js";
import { drawPin, drawSelection, drawTrack } from "./timeline_drawing.js";
import { clock, lasting, span } from "./units.js";

/**
 * @typedef {{us: number, endUs: number, kind: "mark" | "evidence" | "alert", words: string, number: number,
 *   image: string | null}} Pin
 * @typedef {{onSelect: (range: [number, number] | null) => void, onAsk: (range: [number, number]) => void,
 *   onMark: (us: number) => void, onPin: (pin: Pin) => void}} Hands
 */

const AROUND_US = 3_000_000;
const KINDS = { kept: "kept", gist: "kept as gist", forgotten: "forgotten", nothing: "nothing remembered" };

export class Timeline {
  #drag = /** @type {{from: number, moved: boolean} | null} */ (null);
  #pins = /** @type {Pin[]} */ ([]);

  /** @param {Hands} hands */
  constructor(hands) {
    this.hands = hands;
    this.root = byId("timeline");
    this.layer = byId("timeline-marks");
    /** @type {{start_us: number, end_us: number, kind: string}[]} */
    this.stretches = [];
    this.start = 0;
    this.now = 0;
    this.lastS = 0;
    /** @type {number | null} */
    this.cursor = null;
    /** @type {[number, number] | null} */
    this.range = null;
    this.root.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.root.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#down(event));
    this.root.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#move(event));
    this.root.addEventListener("pointerup", () => this.#up());
    this.root.addEventListener("pointercancel", () => (this.#drag = null));
    byId("zoom").addEventListener("change", (/** @type {any} */ event) => {
      this.lastS = Number(event.target.value);
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  /** What is shown of the stream. */
  get view() {
    return view(this.start, this.now, this.lastS, this.root.clientWidth);
  }

  /** Where the cursor is, as a share of the width. */
  get share() {
    const shown = this.view;
    return this.cursor === null ? 1 : Math.min(1, Math.max(0, place(shown, this.cursor) / Math.max(1, shown.width)));
  }

  /** Take what is remembered. @param {{timeline: any[], span_us: [number, number] | null}} memory */
  remember(memory) {
    this.stretches = memory.timeline;
    const starts = memory.timeline.map((one) => one.start_us);
    this.start = Math.min(...starts, memory.span_us?.[0] ?? Infinity);
    if (!Number.isFinite(this.start)) this.start = 0;
    this.now = Math.max(this.now, memory.span_us?.[1] ?? 0, ...memory.timeline.map((one) => one.end_us));
    this.draw();
  }

  /** @param {number | null} now newest stream time */
  advance(now) {
    if (now === null || now <= this.now) return;
    this.now = now;
    if (!this.#drag) this.draw();
  }

  /** Forget all that is shown: another session. */
  reset() {
    Object.assign(this, { stretches: [], start: 0, now: 0, cursor: null, range: null });
    this.#pins = [];
    this.draw();
  }

  /** @param {Pin[]} pins */
  pin(pins) {
    this.#pins = pins.toSorted((a, b) => a.us - b.us);
    this.draw();
  }

  /** Jump to a stretch. @param {number} start @param {number} end */
  go(start, end) {
    this.cursor = Math.round((start + end) / 2);
    if (this.cursor < this.view.from) this.#widen();
    this.select(end - start >= 1_500_000 ? [start, end] : null, false);
    this.draw();
  }

  /** @param {[number, number] | null} range @param {boolean} [tell] */
  select(range, tell = true) {
    this.range = range;
    this.draw();
    if (tell) this.hands.onSelect(range);
  }

  draw() {
    const shown = this.view;
    const empty = !this.stretches.length;
    show(byId("timeline-empty"), empty);
    if (empty || !shown.width) {
      this.layer.replaceChildren();
      return;
    }
    this.layer.replaceChildren(
      ...drawTrack(shown, this.stretches, this.now),
      ...this.#pins.flatMap((pin) => drawPin(shown, pin, this.hands.onPin)),
      ...drawSelection(shown, this.range, this.cursor, this.now),
    );
    this.#tell(shown);
  }

  /** @param {import("./scale.js").View} shown */
  #tell(shown) {
    const at = this.cursor ?? this.now;
    const root = this.root;
    root.setAttribute("aria-valuemin", String(Math.max(0, Math.floor(shown.from / 1e6))));
    root.setAttribute("aria-valuemax", String(Math.floor(this.now / 1e6)));
    root.setAttribute("aria-valuenow", String(Math.floor(at / 1e6)));
    const known = at >= (this.stretches.at(-1)?.end_us ?? Infinity) ? "kept" : kindAt(this.stretches, at);
    const kind = KINDS[/** @type {keyof typeof KINDS} */ (known)] ?? "";
    const words = this.range ? `${span(...this.range)} chosen, ${lasting(this.range[1] - this.range[0])}` : `${clock(at)}, ${kind}`;
    root.setAttribute("aria-valuetext", words);
  }

  #widen() {
    this.lastS = 0;
    byId("zoom").value = "0";
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || this.now <= 0) return;
    const us = this.#under(event);
    this.root.setPointerCapture(event.pointerId);
    this.#drag = { from: us, moved: false };
    this.cursor = us;
    this.draw();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#drag) return;
    const us = this.#under(event);
    const shown = this.view;
    if (Math.abs(place(shown, us) - place(shown, this.#drag.from)) > 4) this.#drag.moved = true;
    this.cursor = us;
    this.range = this.#drag.moved ? [Math.min(us, this.#drag.from), Math.max(us, this.#drag.from)] : null;
    this.draw();
  }

  /** @param {PointerEvent} event */
  #under(event) {
    return Math.max(this.start, moment(this.view, event.clientX - this.root.getBoundingClientRect().left));
  }

  #up() {
    if (!this.#drag) return;
    this.#drag = null;
    this.select(this.range);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.now <= 0) return;
    const shown = this.view;
    const at = this.cursor ?? this.now;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    if (event.key in steps) this.#step(at + steps[/** @type {keyof typeof steps} */ (event.key)] * stride(shown), event.shiftKey);
    else if (event.key === "Home") this.#step(this.start, event.shiftKey);
    else if (event.key === "End") this.#step(this.now, event.shiftKey);
    else if (event.key === "PageUp" || event.key === "PageDown") this.#jump(at, event.key === "PageDown");
    else if (event.key === "Enter") {
      const around = /** @type {[number, number]} */ ([Math.max(0, at - AROUND_US), Math.min(this.now, at + AROUND_US)]);
      this.hands.onAsk(this.range ?? around);
    } else if (event.key === "m" || event.key === "M") this.hands.onMark(at);
    else if (event.key === "Escape") this.select(null);
    else return;
    event.preventDefault();
  }

  /** @param {number} us @param {boolean} selecting */
  #step(us, selecting) {
    const before = this.cursor ?? this.now;
    const to = Math.min(this.now, Math.max(this.start, us));
    if (to < this.view.from) this.#widen();
    if (selecting) {
      const fixed = this.range ? (this.range[0] === before ? this.range[1] : this.range[0]) : before;
      this.range = fixed === to ? null : [Math.min(fixed, to), Math.max(fixed, to)];
    } else this.range = null;
    this.cursor = to;
    this.select(this.range);
  }

  /** @param {number} at @param {boolean} forward */
  #jump(at, forward) {
    const pin = forward ? this.#pins.find((one) => one.us > at) : this.#pins.findLast((one) => one.us < at);
    if (!pin) return;
    this.hands.onPin(pin);
    this.cursor = pin.us;
    this.draw();
    say(byId("said"), `${pin.words}, ${clock(pin.us)}`);
  }
}
