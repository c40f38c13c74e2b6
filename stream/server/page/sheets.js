/**
 * Dialogs: the token, a confirmation.
 */

import { byId, say, show } from "./dom.js";
import { isToken } from "./wire.js";

/**
 * Ask whether to go on.
 * @param {string} title @param {string} text @param {string} yes the words of the button that does it
 * @returns {Promise<boolean>}
 */
export function confirm(title, text, yes) {
  const sheet = byId("confirm-sheet");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  say(byId("confirm-yes"), yes);
  sheet.returnValue = "no";
  sheet.showModal();
  return new Promise((give) => sheet.addEventListener("close", () => give(sheet.returnValue === "yes"), { once: true }));
}

export class TokenSheet {
  /** @param {(token: string) => void} onToken */
  constructor(onToken) {
    this.sheet = byId("token-sheet");
    this.box = byId("token");
    byId("token-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const token = tokenOf(this.box.value);
      if (!isToken(token)) {
        this.#trouble("That is no token: it has letters, digits and signs, without spaces.");
        return;
      }
      this.#trouble("");
      this.close();
      onToken(token);
    });
  }

  /** @param {string} refused why the last token was refused, empty where there was none */
  open(refused) {
    this.#trouble(refused && `${refused} A server makes a new token at each start, unless it is given one.`);
    if (this.sheet.open) return;
    this.box.value = "";
    this.sheet.showModal();
    this.box.focus();
  }

  close() {
    if (this.sheet.open) this.sheet.close();
  }

  /** @param {string} words */
  #trouble(words) {
    say(byId("token-trouble"), words);
    show(byId("token-trouble"), words !== "");
  }
}

/** Read a token, also out of a whole address that was pasted. @param {string} text */
function tokenOf(text) {
  const given = text.trim();
  const at = given.indexOf("#token=");
  return at < 0 ? given : decodeURIComponent(given.slice(at + 7));
}
