/**
 * Pictures of the server behind its token: an <img> cannot send one, so they are fetched and shown as blobs.
 */

const MOST = 160;

export class Thumbs {
  /** @type {Map<string, Promise<string | null>>} */
  #known = new Map();

  /** @param {() => string} token */
  constructor(token) {
    this.token = token;
  }

  /**
   * Give a blob's address for a path of this server; null where the server has it no more.
   * @param {string} path
   * @returns {Promise<string | null>}
   */
  get(path) {
    const known = this.#known.get(path);
    if (known) return known;
    const wanted = this.#fetch(path);
    this.#known.set(path, wanted);
    void wanted.then((address) => {
      if (address === null) this.#known.delete(path); // it may be there at the next try
    });
    if (this.#known.size > MOST) {
      const [oldest, address] = /** @type {[string, Promise<string | null>]} */ (this.#known.entries().next().value);
      this.#known.delete(oldest);
      void address.then((blob) => blob && URL.revokeObjectURL(blob)); // pictures that are shown stay shown
    }
    return wanted;
  }

  /** Fill an <img>; says whether there is a picture. @param {HTMLImageElement} image @param {string | null} path */
  async fill(image, path) {
    const address = path ? await this.get(path) : null;
    if (address) image.src = address;
    image.closest("[data-picture]")?.setAttribute("data-picture", address ? "there" : "gone");
    return address !== null;
  }

  /** @param {string} path */
  async #fetch(path) {
    if (!path.startsWith("/")) return null; // the token goes to this server alone
    try {
      const answer = await fetch(path, { headers: { Authorization: `Bearer ${this.token()}` }, cache: "no-store" });
      const blob = answer.ok ? await answer.blob() : null;
      return blob?.type.startsWith("image/") ? URL.createObjectURL(blob) : null;
    } catch {
      return null;
    }
  }
}
