/**
 * The panel of standing questions: what is watched for, and the log of what came.
 */

import { byId, el, icon, say, show } from "./dom.js";
import { clock, delay } from "./units.js";

/**
 * @typedef {{session: () => string, add: (condition: string) => boolean, remove: (id: string) => void,
 *   go: (start: number, end: number, picture: {path: string | null, words: string} | null) => void}} Hands
 */

export class WatchesView {
  #rows = /** @type {Map<string, any>} */ (new Map());

  /** @param {import("./alerts.js").Alerts} alerts @param {import("./thumbs.js").Thumbs} thumbs @param {Hands} hands */
  constructor(alerts, thumbs, hands) {
    this.alerts = alerts;
    this.thumbs = thumbs;
    this.hands = hands;
    const box = byId("condition");
    byId("watch-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const condition = box.value.trim();
      if (condition && this.hands.add(condition)) box.value = "";
      else if (!condition) box.focus();
    });
  }

  /** Show another session's. @param {import("./alerts.js").Alerts} alerts */
  replace(alerts) {
    this.alerts = alerts;
    this.#rows.clear();
    byId("alerts").replaceChildren();
    this.list();
    this.log();
  }

  /** @param {string} text @param {"" | "warn"} [tone] */
  note(text, tone = "") {
    say(byId("watch-note"), text);
    byId("watch-note").dataset.tone = tone;
  }

  list() {
    byId("watch-list").replaceChildren(
      ...this.alerts.watches.map((watch) =>
        el(
          "li",
          { class: "watch", "data-on": String(watch.on) },
          el("span", { class: "lamp", "aria-hidden": "true" }),
          el("span", { class: "watch-words", text: watch.condition }),
          el("span", { class: "watch-state", text: watch.on ? "true now" : "watching" }),
          el(
            "button",
            { class: "quiet tiny", type: "button", title: "Stop watching for it", on: { click: () => this.hands.remove(watch.watch_id) } },
            icon("close"),
            el("span", { class: "label", text: `Stop watching for: ${watch.condition}` }),
          ),
        ),
      ),
    );
  }

  log() {
    show(byId("alerts-empty"), this.alerts.log.length === 0);
    const list = byId("alerts");
    for (const alert of this.alerts.log) {
      const known = this.#rows.get(alert.id);
      if (known) {
        this.#until(known, alert);
        continue;
      }
      const row = this.#row(alert);
      this.#rows.set(alert.id, row);
      list.prepend(row);
    }
    const kept = new Set(this.alerts.log.map((one) => one.id));
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
  }

  /** @param {import("./alerts.js").Alert} alert */
  #row(alert) {
    const here = alert.session === this.hands.session();
    const image = el("img", { alt: "", width: 56, height: 56 });
    const shot = el("span", { class: "shot", "data-picture": alert.image ? "coming" : "gone" }, image, icon("bell"));
    const until = el("span", { class: "alert-until" });
    const row = el(
      "li",
      { class: "alert" },
      el(
        "button",
        {
          type: "button", class: "alert-go", disabled: !here, title: "Show it on the timeline",
          on: { click: () => this.hands.go(alert.timeUs, alert.clearedUs ?? alert.timeUs + 1_000_000, { path: alert.image, words: alert.condition }) },
        },
        shot,
        el(
          "span",
          { class: "alert-words" },
          el("span", { class: "alert-condition", text: alert.condition }),
          el("span", { class: "alert-when" }, el("b", { text: clock(alert.timeUs) }), until),
          el("span", { class: "fine", text: `${alert.text ? `“${alert.text}” · ` : ""}told after ${delay(alert.latencyMs)}` }),
        ),
      ),
    );
    row.until = until;
    this.#until(row, alert);
    void this.thumbs.fill(image, alert.image);
    return row;
  }

  /** @param {any} row @param {import("./alerts.js").Alert} alert */
  #until(row, alert) {
    say(row.until, alert.clearedUs === null ? "" : ` until ${clock(alert.clearedUs)}`);
  }
}
