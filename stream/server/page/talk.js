/**
 * The conversation: questions, answers as they stream, and plain notes between them.  Pure: no DOM.
 */

/**
 * @typedef {{index: number, start_us: number, end_us: number, score: number, source: string, image: string | null}} Evidence
 * @typedef {{
 *   kind: "answer", id: string, session: string, responseId: string | null, question: string,
 *   range: [number, number] | null, text: string,
 *   status: "asking" | "waiting" | "streaming" | "completed" | "cancelled" | "incomplete" | "failed" | "unsure",
 *   reason: string | null, evidence: Evidence[], askedUs: number | null, refersUs: number | null,
 *   forgotten: [number, number][], usage: Record<string, number>, timings: Record<string, number>,
 *   error: {code?: string, message?: string, remedy?: string | null} | null
 * }} AnswerEntry
 * @typedef {{kind: "note", id: string, session: string, tone: "plain" | "warn", text: string}} NoteEntry
 * @typedef {AnswerEntry | NoteEntry} Entry
 */

const MOST_ENTRIES = 200;
const OPEN = new Set(["asking", "waiting", "streaming"]);

/** Say whether an answer may still change. @param {Entry} entry */
export function isOpen(entry) {
  return entry.kind === "answer" && OPEN.has(entry.status);
}

export class Talk {
  /** @param {Entry[]} [entries] */
  constructor(entries = []) {
    /** @type {Entry[]} */
    this.entries = entries;
  }

  /** How many questions wait for their answers. */
  get open() {
    return this.entries.filter(isOpen).length;
  }

  /**
   * Add a question that was just sent.
   * @param {string} id its event_id @param {string} session @param {string} question
   * @param {[number, number] | null} range
   * @returns {AnswerEntry}
   */
  ask(id, session, question, range) {
    /** @type {AnswerEntry} */
    const entry = {
      kind: "answer", id, session, responseId: null, question, range, text: "", status: "asking", reason: null,
      evidence: [], askedUs: null, refersUs: null, forgotten: [], usage: {}, timings: {}, error: null,
    };
    this.#add(entry);
    return entry;
  }

  /**
   * Add a note, unless the last entry says the same.
   * @param {string} id @param {string} session @param {string} text @param {"plain" | "warn"} [tone]
   * @returns {NoteEntry | null}
   */
  note(id, session, text, tone = "plain") {
    const last = this.entries.at(-1);
    if (last?.kind === "note" && last.text === text) return null;
    /** @type {NoteEntry} */
    const entry = { kind: "note", id, session, tone, text };
    this.#add(entry);
    return entry;
  }

  /**
   * Take in an event of the server; gives the entry that changed, or null.
   * @param {any} event @param {string} session
   * @returns {AnswerEntry | null}
   */
  apply(event, session) {
    if (event.type === "error") return this.#refused(event);
    if (!event.type.startsWith("response.")) return null;
    const entry = this.#entry(event, session);
    switch (event.type) {
      case "response.created":
        entry.responseId = event.response_id;
        entry.askedUs = event.asked_at_us ?? null;
        if (entry.status === "asking" || entry.status === "unsure") entry.status = "waiting";
        break;
      case "response.output_text.delta":
        entry.text += event.delta;
        entry.status = "streaming";
        break;
      case "response.output_text.done":
        entry.text = event.text;
        break;
      case "response.evidence":
        entry.evidence = event.evidence;
        break;
      case "response.done":
        Object.assign(entry, {
          status: event.status,
          reason: event.reason ?? null,
          text: event.text ?? entry.text,
          askedUs: event.asked_at_us ?? entry.askedUs,
          refersUs: event.refers_to_us ?? null,
          forgotten: event.forgotten_us ?? [],
          usage: event.usage ?? {},
          timings: event.timings ?? {},
          error: event.error ?? null,
        });
        break;
      default:
        return null;
    }
    return entry;
  }

  /**
   * List the questions that never reached the server: sent, but not among what it says it received.
   * @param {string} session @param {string[]} received event ids
   * @returns {AnswerEntry[]}
   */
  unsent(session, received) {
    const known = new Set(received);
    /** @type {AnswerEntry[]} */
    const found = [];
    for (const entry of this.entries) {
      if (entry.kind === "answer" && entry.session === session && entry.status === "asking" && !known.has(entry.id)) found.push(entry);
    }
    return found;
  }

  /** End what a session that is gone left open. @returns {AnswerEntry[]} those that changed */
  abandon() {
    /** @type {AnswerEntry[]} */
    const changed = [];
    for (const entry of this.entries) {
      if (entry.kind === "answer" && isOpen(entry)) {
        entry.status = "unsure";
        changed.push(entry);
      }
    }
    return changed;
  }

  /** @param {any} event */
  #refused(event) {
    const entry = this.entries.find((one) => one.id === event.event_id);
    if (!entry || entry.kind !== "answer" || !isOpen(entry)) return null;
    entry.status = "failed";
    entry.error = { code: event.code, message: event.message, remedy: event.remedy };
    return entry;
  }

  /**
   * Find the entry of an event, by its response or by the question that it replies to; a new one for a question that
   * this page does not know (it was asked before a reload that kept nothing).
   * @param {any} event @param {string} session
   * @returns {AnswerEntry}
   */
  #entry(event, session) {
    for (const entry of this.entries) {
      if (entry.kind === "answer" && entry.session === session && entry.responseId === event.response_id) return entry;
    }
    const asked = this.entries.find(
      (one) =>
        one.kind === "answer" &&
        one.responseId === null &&
        one.session === session &&
        (event.event_id ? one.id === event.event_id : one.question === event.question && one.status !== "failed"),
    );
    if (asked?.kind === "answer") {
      asked.responseId = event.response_id;
      return asked;
    }
    const entry = this.ask(event.response_id, session, event.question ?? "(a question from before)", null);
    entry.responseId = event.response_id;
    return entry;
  }

  /** @param {Entry} entry */
  #add(entry) {
    this.entries.push(entry);
    if (this.entries.length > MOST_ENTRIES) this.entries.splice(0, this.entries.length - MOST_ENTRIES);
  }
}
