/**
 * The page: makes the parts and binds them to each other.
 */

import { Chime } from "./announcer.js";
import { sentence } from "./condition.js";
import { byId } from "./dom.js";
import { Grabber } from "./grabber.js";
import { hear } from "./hearing.js";
import { Link } from "./link.js";
import { overview } from "./overview.js";
import { makePanels } from "./panels.js";
import { Pacer } from "./pacer.js";
import { Picture } from "./picture.js";
import { Readouts } from "./readouts.js";
import { explain } from "./remedies.js";
import { TokenSheet } from "./sheets.js";
import { SourcePicker } from "./source_picker.js";
import { setUpTheme } from "./theme.js";
import { Thumbs } from "./thumbs.js";
import { Glimpse } from "./glimpse.js";
import { lasting } from "./units.js";
import { tokenFromAddress, vault } from "./vault.js";
import { Visit } from "./visit.js";
import { eventId, socketAddress } from "./wire.js";

const REFRESH_MS = 500;
const MEMORY_MS = 4000;
const WORTH_A_NOTE_MS = 3000;

export class App {
  constructor() {
    tokenFromAddress();
    this.visit = new Visit(vault.source, vault);
    /** @type {number | null} when the server goes away */
    this.leaving = null;
    /** When the last frame was sent. */
    this.sentAt = 0;
    this.hiddenSince = Date.now();
    /** Keyframes when memory was last asked for. */
    this.keptSeen = -2;
    this.thumbs = new Thumbs(() => vault.token);
    this.glimpse = new Glimpse(/** @type {HTMLImageElement} */ (byId("frame")), () => vault.token);
    this.chime = new Chime();
    this.tokens = new TokenSheet((token) => {
      vault.token = token;
      this.link.connect();
    });
    this.readouts = new Readouts((action) => this.#act(action));
    this.pacer = new Pacer();
    this.picture = new Picture(byId("video"), () => {
      this.grabber.cut();
      this.refresh();
    });
    this.grabber = new Grabber(byId("video"), this.pacer, {
      send: (message) => this.#sendFrame(message),
      ready: () => this.link.isOpen && this.visit.source === "frames",
      waiting: () => this.link.waitingBytes,
      skewUs: () => this.visit.credentials?.skewUs ?? 0,
      limits: () => this.visit.created?.limits ?? {},
    });
    this.picker = new SourcePicker(this.picture, {
      attach: (source) => this.#attach(source),
      stop: () => this.refresh(),
      wanted: (fps) => {
        this.pacer.wanted = fps;
        this.link.send({ type: "session.update", fps });
      },
    });
    this.pacer.wanted = this.picker.fps;
    const panels = makePanels(this);
    this.timeline = panels.timeline;
    this.moment = panels.moment;
    this.askBox = panels.askBox;
    this.talkView = panels.talkView;
    this.watches = panels.watches;
    this.sheet = panels.sheet;
    this.link = new Link({
      address: socketAddress(location),
      token: () => vault.token,
      hello: () => this.visit.hello({ stats: true, ...(this.visit.source === "frames" ? { fps: this.picker.fps } : {}) }),
      onStatus: (status) => this.#linked(status),
      onEvent: (event) => hear(this, event),
      onFresh: (code) => {
        this.visit.fresh(explain({ code }).title.toLowerCase());
        this.#showVisit();
      },
    });
  }

  start() {
    setUpTheme();
    const box = byId("mark-label");
    byId("mark-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.mark(box.value.trim(), null)) box.value = "";
    });
    document.addEventListener("visibilitychange", () => this.#shown());
    addEventListener("online", () => this.link.hurry());
    addEventListener("pagehide", () => this.visit.save());
    addEventListener("hashchange", () => {
      tokenFromAddress();
      this.link.connect();
    });
    setInterval(() => this.refresh(), REFRESH_MS);
    setInterval(() => this.look(), MEMORY_MS);
    this.#showVisit();
    this.grabber.start();
    this.link.connect();
    void this.picker.goOn();
  }

  refresh() {
    overview(this);
  }

  /** Jump to a stretch of the past. @param {number} start @param {number} end @param {{path: string | null, words: string} | null} picture */
  go(start, end, picture) {
    this.timeline.go(start, end);
    void this.moment.show(start, end, picture, this.timeline.share);
    byId("timeline").scrollIntoView({ block: "nearest" });
  }

  /** Put a note into the conversation. @param {string} text */
  note(text) {
    const entry = this.visit.talk.note(eventId("note"), this.visit.session, text);
    if (entry) this.talkView.update(entry);
    this.visit.save();
  }

  /**
   * Ask what is remembered, where that may have changed: every reply is kept for a replay, so none for nothing.
   * @param {boolean} [anyway]
   */
  look(anyway = false) {
    const kept = this.visit.stats?.kept ?? -1;
    if (!anyway && (document.hidden || kept === this.keptSeen)) return;
    if (this.link.send({ type: "memory.get" })) this.keptSeen = kept;
  }

  /** Attach to another source: each has a session and a conversation of its own. @param {string} source */
  #attach(source) {
    if (source === this.visit.source) return;
    this.visit.save();
    vault.source = source;
    const { sources, created } = this.visit;
    this.visit = Object.assign(new Visit(source, vault), { sources, created });
    this.#showVisit();
    this.link.connect();
  }

  #showVisit() {
    this.keptSeen = -2;
    this.timeline.reset();
    this.moment.close();
    this.askBox.limit(null);
    this.askBox.examples(this.visit.created?.model.name ?? "pocket");
    this.talkView.replace(this.visit.talk);
    this.watches.replace(this.visit.alerts);
    this.refresh();
  }

  /** @param {import("./link.js").LinkStatus} status */
  #linked(status) {
    if (status.state === "open") {
      this.leaving = null;
      this.tokens.close();
      this.grabber.cut();
      this.look(true);
      for (const type of ["source.list", "watch.list"]) this.link.send({ type });
      for (const entry of this.visit.talk.unsent(this.visit.session, this.visit.created.received ?? [])) this.#put(entry);
      for (const condition of this.visit.lost.splice(0)) this.tell("watch.create", { condition });
    } else if (status.state === "waiting") this.visit.broke();
    else if (status.state === "refused") this.tokens.open(vault.token ? sentence(status.reason) : "");
    this.refresh();
  }

  /** Send an event that has an answer. @param {string} type @param {object} fields */
  tell(type, fields) {
    return this.link.send({ type, ...fields, event_id: eventId(type.split(".")[0]) });
  }

  /** Ask a question; false where there is nobody to ask. @param {string} question @param {[number, number] | null} range */
  ask(question, range) {
    if (!this.link.isOpen) return false;
    const entry = this.visit.talk.ask(eventId("ask"), this.visit.session, question, range);
    this.visit.save();
    this.#put(entry);
    this.talkView.update(entry);
    this.timeline.select(null, false);
    return true;
  }

  /** Send a question; after a drop once more, where the server never had it. @param {import("./talk.js").AnswerEntry} entry */
  #put(entry) {
    const limits = entry.range ? { since_us: entry.range[0], until_us: entry.range[1] } : {};
    this.link.send({ type: "response.create", question: entry.question, ...limits, event_id: entry.id });
  }

  /** Limit the next question to a stretch. @param {[number, number]} range */
  about(range) {
    this.timeline.select(range);
    this.askBox.focus();
  }

  /** Name a moment. @param {string} label empty for a number @param {number | null} us null for now */
  mark(label, us) {
    const name = label || `Mark ${(this.visit.memory?.marks.length ?? 0) + 1}`;
    return this.tell("memory.mark", { label: name, ...(us === null ? {} : { time_us: us }) });
  }

  /** @param {ArrayBuffer} message */
  #sendFrame(message) {
    const sent = this.link.sendFrame(message);
    if (sent) this.sentAt = Date.now();
    return sent;
  }

  #shown() {
    if (document.hidden) {
      this.hiddenSince = Date.now();
      this.visit.save();
    } else {
      const away = Date.now() - this.hiddenSince;
      if (this.picture.status.kind !== "none" && this.link.isOpen && away > WORTH_A_NOTE_MS) {
        this.note(`This tab was hidden for ${lasting(away * 1000)}; nothing was watched then.`);
      }
      this.grabber.cut();
      this.link.hurry();
      this.look();
    }
    this.refresh();
  }

  /** @param {string} action */
  #act(action) {
    if (action === "token") this.tokens.open("");
    else if (action === "camera") this.picker.useCamera(vault.picture?.deviceId ?? "");
    else if (this.link.status.code === "unknown_source") this.#attach("frames");
    else this.link.connect();
  }
}

new App().start();
