/**
 * What a camera of the server shows now: one picture after the other, while someone looks.
 */

const EVERY_MS = 500;

export class Glimpse {
  #path = "";
  #busy = false;
  #timer = 0;
  #address = "";

  /** @param {HTMLImageElement} image @param {() => string} token */
  constructor(image, token) {
    this.image = image;
    this.token = token;
  }

  /** Show a path's picture from now on. @param {string} path */
  look(path) {
    this.#path = path;
    if (this.#timer === 0) this.#timer = window.setInterval(() => void this.#fetch(), EVERY_MS);
  }

  /** Stop, and leave what is shown. */
  rest() {
    this.#path = "";
    window.clearInterval(this.#timer);
    this.#timer = 0;
  }

  async #fetch() {
    if (this.#busy || document.hidden || !this.#path) return;
    this.#busy = true;
    const path = this.#path;
    try {
      const answer = await fetch(path, { headers: { Authorization: `Bearer ${this.token()}` }, cache: "no-store" });
      const blob = answer.ok ? await answer.blob() : null;
      if (!blob?.type.startsWith("image/") || path !== this.#path) return;
      const before = this.#address;
      this.#address = URL.createObjectURL(blob);
      this.image.src = this.#address;
      delete this.image.dataset.path; // an evidence picture that is shown later is set anew
      this.image.hidden = false;
      if (before) URL.revokeObjectURL(before);
    } catch {
      // the link says what is wrong
    } finally {
      this.#busy = false;
    }
  }
}
