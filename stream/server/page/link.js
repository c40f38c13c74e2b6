/**
 * One connection to the server that comes back by itself and resumes its session.  No DOM: sockets and timers are given.
 */

import { backoff } from "./backoff.js";
import { closeReason } from "./remedies.js";
import { PROTOCOL, isToken, subprotocols } from "./wire.js";

/**
 * connecting: a first try is on its way.  open: the session is there.  waiting: it broke; another try comes at retryAt.
 * refused: the token is missing or wrong.  stopped: it stays closed until connect() is called.
 * @typedef {"connecting" | "open" | "waiting" | "refused" | "stopped"} LinkState
 * @typedef {{state: LinkState, reason: string, code: string, retryAt: number, tries: number}} LinkStatus
 */

const SILENCE_MS = 20_000;
const ANSWER_MS = 10_000;
const STOPPING = new Set(["session_taken", "idle", "unknown_source"]);
const FRESH = new Set(["resume_refused", "session_expired"]);

/** Ask the server over HTTP whether it takes a token: gives the status, 0 for none. @param {string} token */
async function probe(token) {
  try {
    return (await fetch("/v1/models", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" })).status;
  } catch {
    return 0;
  }
}

export class Link {
  #socket = /** @type {WebSocket | null} */ (null);
  #timer = 0;
  #pulse = 0;
  #tries = 0;
  #fatal = /** @type {any} */ (null);
  #silentSince = 0;

  /**
   * @param {{
   *   address: string, token: () => string, hello: () => object,
   *   onStatus: (status: LinkStatus) => void, onEvent: (event: any) => void, onFresh: (code: string) => void,
   *   probe?: (token: string) => Promise<number>, Socket?: typeof WebSocket, now?: () => number,
   *   later?: (call: () => void, ms: number) => number, cancel?: (timer: number) => void
   * }} options
   * hello: the first session.update.  probe: the HTTP status of an authorised request, 0 without a network: a browser
   * does not tell why a handshake failed.  onFresh: the session is gone and the next hello must ask for a new one.
   */
  constructor(options) {
    this.options = options;
    this.now = options.now ?? (() => Date.now());
    this.later = options.later ?? ((call, ms) => Number(setTimeout(call, ms)));
    this.cancel = options.cancel ?? ((timer) => clearTimeout(timer));
    /** @type {LinkStatus} */
    this.status = { state: "stopped", reason: "", code: "", retryAt: 0, tries: 0 };
  }

  /** Bytes that wait in the socket. */
  get waitingBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  get isOpen() {
    return this.status.state === "open";
  }

  /** Connect now, whatever was planned. */
  connect() {
    this.#drop();
    const token = this.options.token();
    if (!token || !isToken(token)) {
      this.#say("refused", token ? "the token has characters that no token has" : "a token is needed", "not_authorized");
      return;
    }
    this.#fatal = null;
    this.#say("connecting", this.#tries ? this.status.reason : "");
    let socket;
    try {
      socket = new (this.options.Socket ?? WebSocket)(this.options.address, subprotocols(token));
    } catch (error) {
      this.#retry(String(error));
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => this.#greet(socket);
    socket.onmessage = (message) => this.#hear(socket, message.data);
    socket.onclose = (closed) => this.#closed(socket, closed.code, closed.reason);
    this.#watchSilence(socket);
  }

  /** Close and stay closed. @param {string} [reason] */
  stop(reason = "") {
    this.#drop();
    this.#tries = 0;
    this.#say("stopped", reason);
  }

  /** The network came back, or the page was shown again: do not wait any longer. */
  hurry() {
    if (this.status.state === "waiting") this.connect();
  }

  /** Send an event; false where there is no session to send it to. @param {object} event */
  send(event) {
    if (!this.isOpen || this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  /** Send a frame. @param {ArrayBuffer} message */
  sendFrame(message) {
    if (!this.isOpen || this.#socket?.readyState !== 1) return false;
    this.#socket.send(message);
    return true;
  }

  /** @param {WebSocket} socket */
  #greet(socket) {
    if (socket !== this.#socket) return;
    if (socket.protocol !== PROTOCOL) {
      this.#retry("the server speaks another protocol");
      return;
    }
    socket.send(JSON.stringify({ type: "session.update", ...this.options.hello() }));
  }

  /** @param {WebSocket} socket @param {unknown} data */
  #hear(socket, data) {
    if (socket !== this.#socket || typeof data !== "string") return;
    this.#silentSince = this.now();
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    if (event.type === "error" && event.fatal) this.#fatal = event;
    // What the session is must be known before anyone is told that it is open.
    this.options.onEvent(event);
    if (event.type === "session.created") {
      this.#tries = 0;
      this.#say("open");
    }
  }

  /** @param {WebSocket} socket @param {number} code @param {string} reason */
  #closed(socket, code, reason) {
    if (socket !== this.#socket) return;
    const fatal = this.#fatal;
    const opened = this.isOpen;
    this.#drop();
    const why = fatal?.message || closeReason(code, reason);
    if (fatal?.code === "not_authorized") this.#say("refused", why, fatal.code);
    else if (FRESH.has(fatal?.code) || code === 4003) {
      this.options.onFresh(fatal?.code ?? "resume_refused");
      // At once the first time; a server that refuses its own sessions is not asked in a loop.
      if (this.#tries) this.#retry(why, fatal?.code);
      else {
        this.#tries += 1;
        this.connect();
      }
    } else if (STOPPING.has(fatal?.code) || code === 4002) this.#say("stopped", why, fatal?.code ?? "session_taken");
    else if (code === 1000 && !fatal) this.#say("stopped", why, "closed");
    else if (opened || fatal) this.#retry(why, fatal?.code, fatal?.retry_after_ms);
    else this.#ask();
  }

  /** Ask over HTTP why no socket could be opened. */
  #ask() {
    const token = this.options.token();
    const before = this.#tries;
    void (this.options.probe ?? probe)(token).then((status) => {
      if (this.#socket || this.#tries !== before || this.status.state !== "connecting") return;
      if (status === 401) this.#say("refused", "the token was refused", "not_authorized");
      else if (status === 403) this.#retry("the server does not allow this address; start it with --allow-host or --allow-origin");
      else if (status === 429) this.#retry("too many failed attempts; the server makes this address wait", "", 10_000);
      else this.#retry(status ? "the server takes no connections right now" : "the server does not answer");
    });
  }

  /** @param {string} reason @param {string} [code] @param {number | null} [afterMs] */
  #retry(reason, code = "", afterMs = null) {
    this.#drop();
    const wait = Math.max(backoff(this.#tries), afterMs ?? 0);
    this.#tries += 1;
    this.#say("waiting", reason, code, this.now() + wait);
    this.#timer = this.later(() => this.connect(), wait);
  }

  /** A connection whose other end is gone may look open for minutes. @param {WebSocket} socket */
  #watchSilence(socket) {
    this.#silentSince = this.now();
    const look = () => {
      if (socket !== this.#socket) return;
      const silent = this.now() - this.#silentSince;
      if (silent > SILENCE_MS + ANSWER_MS) {
        this.#retry("the server has been silent for half a minute");
        return;
      }
      if (silent > SILENCE_MS) this.send({ type: "ping" });
      this.#pulse = this.later(look, ANSWER_MS / 2);
    };
    this.#pulse = this.later(look, ANSWER_MS / 2);
  }

  #drop() {
    this.cancel(this.#timer);
    this.cancel(this.#pulse);
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState <= 1) socket.close(); // without a code: the session may be resumed
  }

  /** @param {LinkState} state @param {string} [reason] @param {string} [code] @param {number} [retryAt] */
  #say(state, reason = "", code = "", retryAt = 0) {
    this.status = { state, reason, code, retryAt, tries: this.#tries };
    this.options.onStatus(this.status);
  }
}
