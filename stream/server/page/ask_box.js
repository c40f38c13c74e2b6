/**
 * The question box: Enter sends, Shift+Enter breaks the line, arrow up brings back what was asked before.
 */

import { byId, el, say, show } from "./dom.js";
import { span } from "./units.js";
import { vault } from "./vault.js";

/** @type {Record<string, string[]>} */
const EXAMPLES = {
  pocket: ["What is on the screen now?", "Was there an owl?", "When did you see the panda?", "What was next to the pear?"],
  other: ["What is in view now?", "What changed in the last minute?", "When did somebody come in?", "Where was the cup last seen?"],
};

export class AskBox {
  #history = vault.history;
  #at = this.#history.length;
  #draft = "";
  #blocked = "";
  #longest = 8192;

  /** @param {(question: string, range: [number, number] | null) => boolean} onAsk @param {() => void} onClear */
  constructor(onAsk, onClear) {
    this.onAsk = onAsk;
    this.onClear = onClear;
    /** @type {[number, number] | null} */
    this.range = null;
    this.box = byId("question");
    byId("ask").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#send();
    });
    this.box.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.box.addEventListener("input", () => {
      this.#at = this.#history.length;
      this.#fit();
    });
    byId("range-clear").addEventListener("click", () => {
      this.limit(null);
      this.onClear();
      this.box.focus();
    });
  }

  /** Offer examples that the model can answer. @param {string} model */
  examples(model) {
    const known = model === "pocket";
    say(
      byId("talk-hint"),
      known
        ? "pocket, the bundled model, knows the sprite theatre only: point the camera at one, play a clip of it, or choose the server's. Anything else looks to it like nothing it knows."
        : "An answer comes with its time and the pictures that it was read from.",
    );
    byId("examples").replaceChildren(
      ...EXAMPLES[known ? "pocket" : "other"].map((text) =>
        el("li", {}, el("button", { class: "example", type: "button", text, on: { click: () => this.fill(text) } })),
      ),
    );
  }

  /** Limit the next question to a stretch. @param {[number, number] | null} range */
  limit(range) {
    this.range = range;
    show(byId("range"), range !== null);
    if (range) say(byId("range-text"), `Only ${span(...range)}`);
  }

  /** @param {string} reason why nothing can be asked now, or empty @param {number} longest most characters */
  block(reason, longest) {
    this.#blocked = reason;
    this.#longest = longest;
    this.#fit();
  }

  focus() {
    this.box.focus();
  }

  /** Put a question into the box. @param {string} text */
  fill(text) {
    this.box.value = text;
    this.#fit();
    this.box.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "ArrowUp" && this.box.selectionEnd === 0 && this.#at > 0) {
      if (this.#at === this.#history.length) this.#draft = this.box.value;
      this.#recall(this.#at - 1, event);
    } else if (event.key === "ArrowUp" && !this.box.value.includes("\n") && this.#at > 0) {
      if (this.#at === this.#history.length) this.#draft = this.box.value;
      this.#recall(this.#at - 1, event);
    } else if (event.key === "ArrowDown" && !this.box.value.includes("\n") && this.#at < this.#history.length) {
      this.#recall(this.#at + 1, event);
    } else if (event.key === "Escape" && this.range) {
      this.limit(null);
      this.onClear();
    }
  }

  /** @param {number} at @param {Event} event */
  #recall(at, event) {
    event.preventDefault();
    this.#at = at;
    this.box.value = this.#history[at] ?? this.#draft;
    this.#fit();
    this.box.setSelectionRange(this.box.value.length, this.box.value.length);
  }

  #send() {
    const text = this.box.value.trim();
    if (!text || this.#blocked || text.length > this.#longest) {
      this.#fit();
      return;
    }
    if (!this.onAsk(text, this.range)) return;
    if (this.#history.at(-1) !== text) this.#history.push(text);
    vault.history = this.#history;
    this.#at = this.#history.length;
    this.#draft = "";
    this.box.value = "";
    this.limit(null);
    this.#fit();
  }

  #fit() {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight + 2, 160)}px`;
    const over = this.box.value.length - this.#longest;
    const note = this.#blocked || (over > 0 ? `${over} characters too many; the limit is ${this.#longest}.` : "");
    byId("send").toggleAttribute("disabled", note !== "");
    this.box.toggleAttribute("data-blocked", this.#blocked !== "");
    say(byId("ask-note"), note || "Enter asks · Shift+Enter for a new line · ↑ for what you asked before");
    byId("ask-note").dataset.tone = note ? "warn" : "";
  }
}
