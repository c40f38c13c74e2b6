/**
 * The conversation on the page.
 */

import { byId, el, icon, say, show } from "./dom.js";
import { explain } from "./remedies.js";
import { isOpen } from "./talk.js";
import { clock, count, delay, span, splitTimes } from "./units.js";

const NOTHING_YET = "Nothing has been seen yet.";

/** Answers that say themselves that there was nothing. */
const DENIALS = new Set(["", "no", "none", "nothing", "not seen"]);

/**
 * @typedef {import("./talk.js").AnswerEntry} AnswerEntry
 * @typedef {{
 *   session: () => string, cancel: (entry: AnswerEntry) => void, again: (entry: AnswerEntry) => void,
 *   go: (start: number, end: number, picture: {path: string | null, words: string} | null) => void
 * }} Hands
 */

export class TalkView {
  #rows = /** @type {Map<string, any>} */ (new Map());

  /** @param {import("./talk.js").Talk} talk @param {import("./thumbs.js").Thumbs} thumbs @param {Hands} hands */
  constructor(talk, thumbs, hands) {
    this.talk = talk;
    this.thumbs = thumbs;
    this.hands = hands;
    this.log = byId("log");
    this.list = byId("entries");
  }

  /** Show another conversation. @param {import("./talk.js").Talk} talk */
  replace(talk) {
    this.talk = talk;
    this.#rows.clear();
    this.list.replaceChildren();
    for (const entry of talk.entries) this.update(entry);
    this.#settle(true);
  }

  /** Show an entry anew, or for the first time. @param {import("./talk.js").Entry} entry */
  update(entry) {
    const low = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    let row = this.#rows.get(entry.id);
    const fresh = !row;
    if (!row) {
      row = el("li", { class: "entry" });
      this.#rows.set(entry.id, row);
      this.list.append(row);
    }
    if (entry.kind === "note") {
      row.className = "entry note";
      row.dataset.tone = entry.tone;
      row.replaceChildren(el("p", { text: entry.text }));
    } else this.#answer(row, entry);
    while (this.list.children.length > this.talk.entries.length) this.list.firstElementChild.remove();
    this.#settle(low || fresh);
    if (fresh && entry.kind === "answer" && isOpen(entry)) row.scrollIntoView({ block: "nearest" });
  }

  /** @param {boolean} follow */
  #settle(follow) {
    show(byId("talk-empty"), this.talk.entries.length === 0);
    if (follow) this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {any} row @param {AnswerEntry} entry */
  #answer(row, entry) {
    row.dataset.status = entry.status;
    row.toggleAttribute("data-unknown", entry.reason === "not_remembered");
    if (!row.parts) this.#lay(row, entry);
    const parts = row.parts;
    const here = entry.session === this.hands.session();
    const done = !isOpen(entry);
    if (done && entry.text) this.#times(parts.text, entry.text, here);
    else say(parts.text, entry.text);
    show(parts.text, entry.text !== "");
    show(parts.waiting, entry.status === "asking" || entry.status === "waiting");
    show(parts.cancel, isOpen(entry) && entry.responseId !== null);
    this.#plainly(parts.plain, entry);
    if (done && parts.evidence.dataset.count !== String(entry.evidence.length)) {
      this.#evidence(parts.evidence, entry, here);
    }
    this.#meta(parts.meta, entry, here);
  }

  /** @param {any} row @param {AnswerEntry} entry */
  #lay(row, entry) {
    const asked = el("p", { class: "asked", text: entry.question });
    if (entry.range) asked.append(el("span", { class: "range-tag", text: `only ${span(...entry.range)}` }));
    const cancel = el("button", { class: "plain tiny", type: "button", on: { click: () => this.hands.cancel(entry) } }, "Cancel");
    row.parts = {
      text: el("p", { class: "said" }),
      waiting: el("p", { class: "thinking" }, el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), el("span", { text: "Looking back" })),
      plain: el("div", { class: "plainly" }),
      evidence: el("ul", { class: "evidence", "aria-label": "Read from" }),
      meta: el("p", { class: "meta" }),
      cancel,
    };
    const { text, waiting, plain, evidence, meta } = row.parts;
    row.append(asked, el("div", { class: "reply" }, text, waiting, plain, evidence, el("div", { class: "meta-row" }, meta, cancel)));
  }

  /** Write an answer with its times as buttons. @param {any} place @param {string} text @param {boolean} here */
  #times(place, text, here) {
    if (place.dataset.text === text) return;
    place.dataset.text = text;
    place.replaceChildren(
      ...splitTimes(text).map((piece) => (piece.us === undefined || !here ? piece.text : this.#chip(piece.text, piece.us, piece.us + 1_000_000))),
    );
  }

  /** @param {string} words @param {number} start @param {number} end @returns {any} */
  #chip(words, start, end) {
    const go = () => this.hands.go(start, end, null);
    return el("button", { class: "chip", type: "button", title: "Show it on the timeline", text: words, on: { click: go } });
  }

  /** Say what an answer is not. @param {any} place @param {AnswerEntry} entry */
  #plainly(place, entry) {
    /** @type {Node[]} */
    const lines = [];
    const line = (/** @type {string} */ title, /** @type {string} */ more = "") =>
      lines.push(el("p", {}, el("strong", { text: title }), more ? ` ${more}` : null));
    if (entry.reason === "not_remembered" && entry.text !== NOTHING_YET) {
      if (DENIALS.has(entry.text.toLowerCase().replace(/[.\s]+$/, ""))) {
        line("Not remembered.", "Nothing in memory matches this: it was not in view, or it was forgotten.");
      } else {
        line("Not sure.", "Nothing in memory clearly fits this question, so the answer may be a guess.");
      }
    }
    if (entry.forgotten.length) {
      line("Forgotten:", `${entry.forgotten.map(([a, b]) => span(a, b)).join(", ")}. What was there cannot be answered any more.`);
    }
    if (entry.status === "cancelled") line("Cancelled.", entry.text ? "This much had come." : "");
    if (entry.status === "incomplete" && entry.reason !== "not_remembered") {
      if (entry.reason === "deadline") line("Cut off:", "it took longer than it may.");
      else if (entry.reason === "max_tokens") line("Cut off:", "the answer reached its longest length.");
      else line("Cut off", entry.reason ? `(${entry.reason}).` : "");
    }
    if (entry.status === "failed") {
      const { title, remedy } = explain(entry.error ?? {});
      line(`${title}.`.replace(/([.!?])\.$/, "$1"), remedy);
    }
    if (entry.status === "unsure") line("No answer came.", "The connection broke before the server said that it had the question.");
    if (entry.status === "unsure" || entry.status === "failed") {
      lines.push(el("button", { class: "plain tiny", type: "button", text: "Ask again", on: { click: () => this.hands.again(entry) } }));
    }
    const shown = lines.map((one) => one.textContent).join("|");
    if (place.dataset.shown === shown) return;
    place.dataset.shown = shown;
    place.replaceChildren(...lines);
    show(place, lines.length > 0);
  }

  /** @param {any} place @param {AnswerEntry} entry @param {boolean} here */
  #evidence(place, entry, here) {
    place.dataset.count = String(entry.evidence.length);
    place.replaceChildren(
      ...entry.evidence.map((one, number) => {
        const when = span(one.start_us, one.end_us);
        const words = `${one.source === "recent" ? "just now, " : ""}${when}`;
        const image = el("img", { alt: "", width: 96, height: 96 });
        const picture = el("span", { class: "shot", "data-picture": one.image ? "coming" : "gone" }, image, icon("unseen"));
        const button = el(
          "button",
          {
            type: "button", class: "proof", disabled: !here, title: "Show it on the timeline",
            "aria-label": `Evidence ${number + 1}, ${words}: show it on the timeline`,
            on: { click: () => this.hands.go(one.start_us, one.end_us, { path: one.image, words: `Evidence ${number + 1} of “${entry.question}”` }) },
          },
          picture,
          el("span", { class: "proof-time" }, el("b", { text: String(number + 1) }), when),
        );
        void this.thumbs.fill(image, one.image);
        return el("li", {}, button);
      }),
    );
  }

  /** @param {any} place @param {AnswerEntry} entry @param {boolean} here */
  #meta(place, entry, here) {
    if (isOpen(entry)) {
      place.replaceChildren();
      return;
    }
    /** @type {(Node | string)[]} */
    const pieces = [];
    const { refersUs, askedUs, timings, usage } = entry;
    if (refersUs !== null) pieces.push("about ", here ? this.#chip(clock(refersUs), refersUs, refersUs + 1_000_000) : clock(refersUs));
    /** @type {string[]} */
    const rest = [];
    if (askedUs !== null) rest.push(`asked at ${clock(askedUs)}`);
    if (timings.first_token_ms !== undefined) rest.push(`first word after ${delay(timings.first_token_ms)}`);
    const read = usage.recalled_tokens ?? usage.context_tokens;
    if (read) rest.push(`${count(read)} ${usage.recalled_tokens === undefined ? "tokens read" : "tokens recalled"}`);
    place.replaceChildren(...pieces, rest.length ? `${pieces.length ? " · " : ""}${rest.join(" · ")}` : "");
  }
}
