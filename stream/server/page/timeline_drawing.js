/**
 * Draws the timeline as SVG: kept, gist and forgotten differ in pattern as well as in colour.
 */

import { svg } from "./dom.js";
import { place, ticks } from "./scale.js";
import { clock, span } from "./units.js";

/** @typedef {import("./scale.js").View} View */
/** @typedef {import("./timeline.js").Pin} Pin */
/** @typedef {{start_us: number, end_us: number, kind: string}} Stretch */

const TRACK = { y: 40, height: 28 };
const AXIS_Y = 98;
const EVIDENCE_Y = 79;
const LONGEST_LABEL = 18;

/**
 * Draw the axis and what is remembered; what was seen since the last stretch is remembered too, and drawn paler.
 * @param {View} shown @param {Stretch[]} stretches @param {number} now
 * @returns {Element[]}
 */
export function drawTrack(shown, stretches, now) {
  const fresh = { start_us: stretches.at(-1)?.end_us ?? now, end_us: now, kind: "fresh" };
  return [
    ...ticks(shown).flatMap((us) => tick(shown, us)),
    svg("rect", { class: "t-bed", x: 0, y: TRACK.y, width: shown.width, height: TRACK.height, rx: 4 }),
    ...[...stretches, fresh].flatMap((one) => stretch(shown, one)),
  ];
}

/** @param {View} shown @param {number} us */
function tick(shown, us) {
  const x = Math.round(place(shown, us)) + 0.5;
  const words = svg("text", { class: "t-time", x: Math.min(Math.max(x + 4, 2), shown.width - 30), y: AXIS_Y + 3 }, clock(us));
  return [svg("line", { class: "t-tick", x1: x, x2: x, y1: TRACK.y - 6, y2: AXIS_Y + 4 }), words];
}

/** @param {View} shown @param {Stretch} one */
function stretch(shown, one) {
  const x = Math.max(0, place(shown, one.start_us));
  const width = Math.min(shown.width, place(shown, one.end_us)) - x;
  if (width <= 0) return [];
  const box = { x, y: TRACK.y, width: Math.max(1, width), height: TRACK.height };
  const drawn = [svg("rect", { class: `t-${one.kind}`, ...box })];
  if (one.kind === "gist" || one.kind === "forgotten") drawn.push(svg("rect", { ...box, fill: `url(#p-${one.kind})` }));
  return drawn;
}

/** Draw a mark, an alert or a piece of evidence. @param {View} shown @param {Pin} pin @param {(pin: Pin) => void} onPin @returns {Element[]} */
export function drawPin(shown, pin, onPin) {
  const x = place(shown, pin.us);
  const wide = place(shown, pin.endUs) - x;
  if (x + wide < -4 || x > shown.width + 4) return [];
  const title = svg("title", {}, `${pin.words}, ${span(pin.us, pin.endUs)}`);
  const group = svg("g", { class: `t-pin t-${pin.kind}`, transform: `translate(${x.toFixed(1)} 0)` }, title);
  if (pin.kind === "mark") {
    group.append(svg("path", { d: `M0 ${TRACK.y + TRACK.height}V12h15l-4 5 4 5H0` }));
    const words = pin.words.length > LONGEST_LABEL ? `${pin.words.slice(0, LONGEST_LABEL - 1)}…` : pin.words;
    if (x < shown.width - 60) group.append(svg("text", { x: 19, y: 21 }, words));
  } else if (pin.kind === "alert") {
    const [top, low] = [TRACK.y - 3, TRACK.y + TRACK.height];
    group.append(svg("path", { d: `M0 ${top}l-6 -9h12z` }), svg("line", { x1: 0, x2: 0, y1: top, y2: low }));
  } else {
    const middle = Math.min(Math.max(wide / 2, 8 - x), shown.width - 8 - x);
    if (wide > 2) group.append(svg("rect", { x: 0, y: EVIDENCE_Y - 9, width: wide, height: 3, rx: 1.5 }));
    group.append(svg("circle", { cx: middle, cy: EVIDENCE_Y, r: 7 }));
    group.append(svg("text", { x: middle, y: EVIDENCE_Y + 3.5 }, String(pin.number)));
  }
  group.addEventListener("pointerdown", (/** @type {Event} */ event) => {
    event.stopPropagation();
    onPin(pin);
  });
  return [group];
}

/**
 * Draw the chosen stretch, the cursor and now.
 * @param {View} shown @param {[number, number] | null} range @param {number | null} cursor @param {number} now
 * @returns {Element[]}
 */
export function drawSelection(shown, range, cursor, now) {
  const drawn = [];
  const [top, low] = [TRACK.y - 8, TRACK.y + TRACK.height + 8];
  if (range) {
    const [from, to] = range.map((us) => Math.min(shown.width, Math.max(0, place(shown, us))));
    drawn.push(svg("rect", { class: "t-range", x: from, y: top + 3, width: Math.max(2, to - from), height: low - top - 6, rx: 4 }));
  }
  if (cursor !== null) {
    const x = place(shown, cursor);
    drawn.push(svg("line", { class: "t-cursor", x1: x, x2: x, y1: top, y2: low }));
  }
  const end = place(shown, now) - 1;
  drawn.push(svg("line", { class: "t-now", x1: end, x2: end, y1: top, y2: low }));
  return drawn;
}
