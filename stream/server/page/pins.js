/**
 * What is pinned on the timeline: marks, the newest answer's evidence, alerts.  Pure: no DOM.
 */

/** @typedef {import("./timeline.js").Pin} Pin */

/** @param {import("./visit.js").Visit} visit @returns {Pin[]} */
export function pinsOf(visit) {
  const here = visit.session;
  /** @type {Pin[]} */
  const pins = [];
  for (const one of visit.memory?.marks ?? []) {
    pins.push({ us: one.time_us, endUs: one.time_us, kind: "mark", words: one.label, number: 0, image: null });
  }
  const last = visit.talk.entries.findLast((one) => one.kind === "answer" && one.evidence.length > 0);
  if (last?.kind === "answer" && last.session === here) {
    for (const [n, one] of last.evidence.entries()) {
      const words = `Evidence ${n + 1} of “${last.question}”`;
      pins.push({ us: one.start_us, endUs: one.end_us, kind: "evidence", words, number: n + 1, image: one.image });
    }
  }
  for (const one of visit.alerts.log) {
    if (one.session !== here) continue;
    pins.push({ us: one.timeUs, endUs: one.clearedUs ?? one.timeUs, kind: "alert", words: one.condition, number: 0, image: one.image });
  }
  return pins;
}

/** Give the newest picture that the server sent of a session, and its time. @param {import("./visit.js").Visit} visit */
export function newestPicture(visit) {
  /** @type {{us: number, path: string} | null} */
  let newest = null;
  for (const pin of pinsOf(visit)) {
    if (pin.image && (newest === null || pin.us >= newest.us)) newest = { us: pin.us, path: pin.image };
  }
  return newest;
}
