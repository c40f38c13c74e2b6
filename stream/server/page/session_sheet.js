/**
 * The session's panel: what it is, how a program connects, forgetting, the end.
 */

import { byId, el, say, show } from "./dom.js";
import { confirm } from "./sheets.js";
import { bytes, clock, counted, readClock, span } from "./units.js";

/**
 * @typedef {{clear: (range: [number, number] | null) => void, end: () => void, token: () => string,
 *   range: () => [number, number] | null}} Hands
 */

/** Write the lines that connect a program. @param {string} origin @param {string} token @param {string} source */
export function snippet(origin, token, source) {
  const own = source === "frames";
  return `import onlooker.client

with onlooker.client.connect("${origin}/#token=${token}"${own ? "" : `, source="${source}"`}) as session:
${own ? "    session.see(picture)  # uint8 [H, W, 3] RGB; returns at once\n" : ""}    answer = session.ask("What is on the screen now?")
    print(answer.text, answer.refers_to_us)
`;
}

export class SessionSheet {
  /** @param {Hands} hands */
  constructor(hands) {
    this.hands = hands;
    this.source = "frames";
    this.sheet = byId("session-sheet");
    byId("session").addEventListener("click", () => this.open());
    byId("session-close").addEventListener("click", () => this.sheet.close());
    this.sheet.addEventListener("click", (/** @type {Event} */ event) => event.target === this.sheet && this.sheet.close());
    byId("copy").addEventListener("click", () => void this.#copy());
    byId("forget-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#forget();
    });
    byId("forget-all").addEventListener("click", () => void this.#forgetAll());
    byId("end").addEventListener("click", () => void this.#end());
  }

  open() {
    const range = this.hands.range();
    if (range) {
      byId("forget-from").value = clock(range[0]);
      byId("forget-to").value = clock(range[1] + 999_999);
    }
    this.#trouble("");
    this.sheet.showModal();
  }

  /**
   * @param {any} created session.created @param {any | null} stats
   */
  facts(created, stats) {
    const shared = created.source !== "frames";
    this.source = created.source;
    say(byId("snippet"), snippet(location.origin, "…", this.source));
    /** @type {[string, string][]} */
    const rows = [
      ["Model", `${created.model.name}${created.model.calibrated ? "" : " (not calibrated)"}`],
      ["Source", shared ? `${created.source}, a camera of the server` : "pictures from this page"],
      ["Session", created.session_id],
    ];
    if (stats?.span_us) rows.push(["Remembers", span(stats.span_us[0], stats.span_us[1])]);
    if (stats) rows.push(["Takes", `${bytes(stats.used_bytes)}${stats.disk_bytes ? `, ${bytes(stats.disk_bytes)} on disk` : ""} · ${counted(stats.tokens, "token")}`]);
    byId("facts").replaceChildren(...rows.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value }))));
    for (const id of ["forget-range", "forget-all", "forget-from", "forget-to"]) byId(id).toggleAttribute("disabled", shared);
    say(
      byId("forget-note"),
      shared
        ? "This camera is shared with others, so its memory cannot be forgotten from here."
        : "For good: what is forgotten is deleted from memory and from the disk.",
    );
  }

  async #copy() {
    const text = snippet(location.origin, this.hands.token(), this.source);
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copied = false; // plain http on another machine has no clipboard
      say(byId("snippet"), text);
      getSelection()?.selectAllChildren(byId("snippet"));
    }
    const label = byId("copy").lastChild;
    label.textContent = copied ? "Copied, with the token" : "Press Ctrl+C";
    setTimeout(() => (label.textContent = "Copy"), 2500);
  }

  async #forget() {
    const from = readClock(byId("forget-from").value || "0:00");
    const to = readClock(byId("forget-to").value);
    if (from === null || to === null || to <= from) {
      this.#trouble("Give two times, such as 0:30 and 1:15, the later one second.");
      return;
    }
    this.#trouble("");
    if (await confirm(`Forget ${span(from, to)}?`, "What was seen then is deleted for good and cannot be asked about any more.", "Forget it")) {
      this.hands.clear([from, to]);
      this.sheet.close();
    }
  }

  async #forgetAll() {
    if (await confirm("Forget everything?", "All that this session has seen is deleted for good. The conversation stays readable here.", "Forget everything")) {
      this.hands.clear(null);
      this.sheet.close();
    }
  }

  async #end() {
    if (await confirm("End this session?", "Watching stops. What it remembers goes with it, unless the server keeps memories in a folder.", "End session")) {
      this.sheet.close();
      this.hands.end();
    }
  }

  /** @param {string} words */
  #trouble(words) {
    say(byId("forget-trouble"), words);
    show(byId("forget-trouble"), words !== "");
  }
}
