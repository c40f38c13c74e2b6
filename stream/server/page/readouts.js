/**
 * The state line and the readings beside it.
 */

import { byId, say, show } from "./dom.js";
import { droppedWords } from "./remedies.js";
import { bytes, count, counted, delay, lasting } from "./units.js";

const ACTIONS = { now: "Try now", token: "Enter the token", start: "Start a new session", camera: "Try again" };

export class Readouts {
  /** @param {(action: string) => void} onAction */
  constructor(onAction) {
    this.state = byId("state");
    this.action = byId("state-action");
    this.action.addEventListener("click", () => onAction(this.action.dataset.action));
    this.title = "";
  }

  /** @param {import("./condition.js").Condition} condition */
  condition(condition) {
    this.state.dataset.tone = condition.tone;
    say(byId("state-title"), condition.title);
    // Counting down aloud helps nobody: only the title is a live region's business.
    say(byId("state-detail"), condition.detail);
    byId("state-detail").setAttribute("aria-live", condition.action === "now" ? "off" : "polite");
    show(this.action, condition.action !== "");
    if (condition.action) {
      this.action.dataset.action = condition.action;
      say(this.action, ACTIONS[condition.action]);
    }
    if (condition.title !== this.title) {
      this.title = condition.title;
      const sign = { live: "●", warn: "◐", bad: "✕", wait: "○", idle: "○" }[condition.tone];
      document.title = condition.title === "Ready" ? "Onlooker" : `${sign} ${condition.title} · Onlooker`;
    }
  }

  /** @param {any | null} stats of session.stats @param {boolean} live @param {boolean} [own] whether this page sends the frames */
  stats(stats, live, own = true) {
    byId("readouts").dataset.live = String(live);
    if (!stats) return;
    const wanted = Number.isFinite(stats.target_fps) ? stats.target_fps : null;
    this.#set("fps", stats.fps.toFixed(stats.fps < 10 ? 1 : 0), wanted === null || !own ? "/ s" : `/ s of ${trim(wanted)}`);
    this.#set("age", stats.age_ms === null || stats.age_ms === undefined ? "–" : delay(stats.age_ms));
    this.#set("span", stats.span_us ? lasting(stats.span_us[1] - stats.span_us[0]) : "nothing yet");
    this.#set("memory", bytes(stats.used_bytes), stats.disk_bytes ? `and ${bytes(stats.disk_bytes)} on disk` : "");
    this.#set("kept", count(stats.kept), `of ${counted(stats.frames, "frame")}`);
  }

  /** @param {Record<string, number>} counts by reason */
  dropped(counts) {
    const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
    const words = droppedWords(counts);
    this.#set("dropped", total ? count(total) : "none", total ? words.replace(/^[\d,]+ /, "") : "");
    byId("r-dropped-box").title = total ? words : "Frames that were not taken in";
  }

  /** @param {string} name @param {string} value @param {string} [more] */
  #set(name, value, more = "") {
    const cell = byId(`r-${name}`);
    if (cell.dataset.shown === `${value}|${more}`) return;
    cell.dataset.shown = `${value}|${more}`;
    cell.textContent = value;
    if (more) {
      const small = document.createElement("small");
      small.textContent = ` ${more}`;
      cell.append(small);
    }
  }
}

/** @param {number} value */
function trim(value) {
  return value >= 10 ? String(Math.round(value)) : String(Math.round(value * 10) / 10);
}
