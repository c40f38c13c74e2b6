/**
 * What outlives a reload: the token and the sessions for this tab, preferences for this browser.
 */

/**
 * @typedef {{id: string, resumeToken: string, lastSeq: number, originUs: number, skewUs: number}} Credentials
 * @typedef {{credentials: Credentials | null, entries: import("./talk.js").Entry[],
 *   alerts: import("./alerts.js").Alert[], watches: import("./alerts.js").Watch[]}} Kept what is kept of one source
 */

const TOKEN = "onlooker.token";
const SOURCE = "onlooker.source";
const PICTURE = "onlooker.picture";
const HISTORY = "onlooker.history";

/** Read a store without trusting it: a full, blocked or damaged one is as good as an empty one.
 * @param {Storage} store @param {string} key @param {any} fallback */
function read(store, key, fallback) {
  try {
    const text = store.getItem(key);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** @param {Storage} store @param {string} key @param {any} value */
function write(store, key, value) {
  try {
    if (value === null || value === undefined) store.removeItem(key);
    else store.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Take the token out of the address, so that it is neither bookmarked nor shown. @returns {string} */
export function tokenFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    history.replaceState(null, "", location.pathname + location.search);
    vault.token = found;
  }
  return vault.token;
}

export const vault = {
  get token() {
    return /** @type {string} */ (read(sessionStorage, TOKEN, ""));
  },
  set token(value) {
    write(sessionStorage, TOKEN, value || null);
  },

  /** Which source this tab is attached to: "frames", or the name of a camera of the server. */
  get source() {
    return /** @type {string} */ (read(sessionStorage, SOURCE, "frames"));
  },
  set source(value) {
    write(sessionStorage, SOURCE, value);
  },

  /** Which picture this tab sent: {kind, deviceId?}, or null. @returns {{kind: string, deviceId?: string} | null} */
  get picture() {
    return read(sessionStorage, PICTURE, null);
  },
  set picture(value) {
    write(sessionStorage, PICTURE, value);
  },

  /** What was asked before, newest last. @returns {string[]} */
  get history() {
    return read(sessionStorage, HISTORY, []);
  },
  set history(value) {
    write(sessionStorage, HISTORY, value.slice(-50));
  },

  /** @param {string} source @returns {Kept} */
  recall(source) {
    const kept = read(sessionStorage, `onlooker.session.${source}`, null);
    return { credentials: null, entries: [], alerts: [], watches: [], ...kept };
  },

  /** Keep a source's session; where the store is full, older entries go. @param {string} source @param {Kept} kept */
  keep(source, kept) {
    const key = `onlooker.session.${source}`;
    if (write(sessionStorage, key, kept)) return;
    write(sessionStorage, key, { ...kept, entries: kept.entries.slice(-20), alerts: kept.alerts.slice(-20) });
  },

  /** @param {string} name @param {any} fallback */
  preference(name, fallback) {
    return read(localStorage, `onlooker.${name}`, fallback);
  },
  /** @param {string} name @param {any} value */
  prefer(name, value) {
    write(localStorage, `onlooker.${name}`, value);
  },
};
