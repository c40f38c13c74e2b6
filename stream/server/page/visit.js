/**
 * What this tab knows of one source's session: who it is, its conversation, alerts and readings.  Pure: no DOM.
 */

import { Alerts } from "./alerts.js";
import { Talk } from "./talk.js";
import { lasting } from "./units.js";

const SKEW_US = 500_000;

/**
 * @typedef {{recall: (source: string) => import("./vault.js").Kept, keep: (source: string, kept: import("./vault.js").Kept) => void}} Vault
 * @typedef {"created" | "talk" | "watches" | "fired" | "cleared" | "stats" | "memory" | "source" | "sources" | "dropped" |
 *   "evicted" | "cleared_memory" | "marked" | "config" | "leaving" | "closed" | "error" | ""} Change
 */

export class Visit {
  /** @param {string} source "frames", or a camera of the server @param {Vault} vault @param {() => number} [now] ms */
  constructor(source, vault, now = () => Date.now()) {
    this.source = source;
    this.vault = vault;
    this.now = now;
    const kept = vault.recall(source);
    this.credentials = kept.credentials;
    this.talk = new Talk(kept.entries);
    this.alerts = new Alerts(kept.alerts, kept.watches);
    /** @type {any} session.created */
    this.created = null;
    /** @type {any} session.stats */
    this.stats = null;
    /** @type {any} memory.state */
    this.memory = null;
    /** @type {any} source.status */
    this.sourceStatus = null;
    /** @type {any[]} */
    this.sources = [];
    /** @type {Record<string, number>} frames that were dropped, by reason */
    this.dropped = {};
    /** @type {string[]} standing questions of a session that is gone, to be put again */
    this.lost = [];
    /** @type {number} when the connection broke, 0 while it has not */
    this.brokeMs = 0;
  }

  get session() {
    return this.credentials?.id ?? "";
  }

  /** The first session.update. @param {object} wishes */
  hello(wishes) {
    const { credentials } = this;
    if (!credentials) return { source: this.source, ...wishes };
    const { id, resumeToken, lastSeq } = credentials;
    return { resume: { session_id: id, token: resumeToken, last_seq: lastSeq }, ...wishes };
  }

  /** The session is gone: the next hello asks for a new one.  What was said stays readable. @param {string} why */
  fresh(why) {
    this.lost = this.alerts.lose();
    this.talk.abandon();
    if (this.credentials) this.talk.note(`gone-${this.credentials.id}`, "", `A new session begins here: ${why}. What was seen before this line is forgotten; the answers stay readable.`, "warn");
    this.credentials = null;
    this.memory = null;
    this.stats = null;
    this.dropped = {};
    this.save();
  }

  /**
   * Take in an event of the server; says what changed, and which answer where it was one.
   * @param {any} event
   * @returns {{change: Change, entry?: import("./talk.js").AnswerEntry | null}}
   */
  apply(event) {
    const result = this.#apply(event);
    if (typeof event.seq === "number" && this.credentials && event.seq > this.credentials.lastSeq) {
      this.credentials.lastSeq = event.seq;
      this.save(); // the number and what it told, together: a replay then starts behind what is shown
    }
    return result;
  }

  /** @param {any} event @returns {{change: Change, entry?: import("./talk.js").AnswerEntry | null}} */
  #apply(event) {
    switch (event.type) {
      case "session.created":
        this.#begin(event);
        return { change: "created" };
      case "session.updated":
        if (this.created) this.created.config = event.config;
        return { change: "config" };
      case "session.stats":
        this.stats = event;
        if (event.source) this.sourceStatus = event.source;
        return { change: "stats" };
      case "session.going_away":
        return { change: "leaving" };
      case "session.closed":
        this.credentials = null;
        this.lost = [];
        this.save();
        return { change: "closed" };
      case "source.status":
        this.sourceStatus = event;
        return { change: "source" };
      case "source.listed":
        this.sources = event.sources;
        return { change: "sources" };
      case "frame.dropped":
        this.dropped[event.reason] = (this.dropped[event.reason] ?? 0) + event.count;
        return { change: "dropped" };
      case "memory.state":
        this.memory = event;
        return { change: "memory" };
      case "memory.evicted":
        return { change: "evicted" };
      case "memory.cleared":
        return { change: "cleared_memory" };
      case "memory.marked":
        return { change: "marked" };
      case "pong":
        return { change: "" };
      case "error": {
        const entry = this.talk.apply(event, this.session);
        return entry ? { change: "talk", entry } : { change: "error" };
      }
      default: {
        const change = this.alerts.apply(event, this.session);
        if (change) return { change };
        const entry = this.talk.apply(event, this.session);
        return entry ? { change: "talk", entry } : { change: "" };
      }
    }
  }

  /** @param {any} event session.created */
  #begin(event) {
    const before = this.credentials;
    const same = event.resumed && before?.id === event.session_id;
    const skew = event.server_unix_us - this.now() * 1000;
    this.created = event;
    this.credentials = {
      id: event.session_id,
      resumeToken: event.resume_token,
      // A server that restarted counts anew; a new session starts behind what was said before this page came.
      lastSeq: same && before ? (event.last_seq < before.lastSeq ? 0 : before.lastSeq) : (event.last_seq ?? 0),
      originUs: event.origin_unix_us,
      // Kept for the whole session: frames' times must not jump when a connection comes back a little slower.
      skewUs: same && before ? before.skewUs : Math.abs(skew) > SKEW_US ? Math.round(skew) : 0,
    };
    if (same && this.brokeMs) {
      const away = this.now() - this.brokeMs;
      if (away > 1500) this.talk.note(`back-${event.session_id}-${this.now()}`, this.session, this.#back(away));
    }
    if (same && event.gap) {
      this.talk.note(`gap-${this.now()}`, this.session, "Some messages were lost while the connection was away; an answer above may be missing.", "warn");
    }
    this.brokeMs = 0;
    this.save();
  }

  /** @param {number} awayMs */
  #back(awayMs) {
    const away = lasting(awayMs * 1000);
    return this.source === "frames"
      ? `Reconnected after ${away}. Nothing was watched in between; all from before is still remembered.`
      : `Reconnected after ${away}. The server went on watching.`;
  }

  /** Stream time now, by this page's clock; null before there is a session. @returns {number | null} */
  streamNow() {
    const { credentials } = this;
    return credentials && this.now() * 1000 + credentials.skewUs - credentials.originUs;
  }

  /** The connection broke: remember when. */
  broke() {
    this.brokeMs ||= this.now();
  }

  /** Keep what outlives a reload. */
  save() {
    this.vault.keep(this.source, {
      credentials: this.credentials,
      entries: this.talk.entries,
      alerts: this.alerts.log,
      watches: this.alerts.watches,
    });
  }
}
