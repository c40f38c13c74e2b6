/**
 * What went wrong, in words, with what mends it.  Pure: no DOM.
 */

/** @typedef {{title: string, remedy: string}} Trouble */

/** @type {Record<string, Trouble>} */
const BY_CODE = {
  not_authorized: { title: "The token was refused", remedy: "Copy the address that onlooker serve printed when it started." },
  busy: { title: "Too many questions are waiting", remedy: "Wait for an answer, or cancel one, and ask again." },
  too_many_sessions: { title: "The server has no room for another session", remedy: "End one that is not needed, or start the server with a higher --max-sessions." },
  session_expired: { title: "The session was away too long", remedy: "A new one has begun; what the old one remembered is gone." },
  resume_refused: { title: "The old session cannot be resumed", remedy: "A new one has begun; what the old one remembered is gone." },
  session_taken: { title: "This session goes on in another window", remedy: "Use that window, or start a new session here." },
  slow_reader: { title: "This connection reads too slowly", remedy: "It is tried again; a lower frame rate helps." },
  idle: { title: "The session was idle for too long", remedy: "Go on when you are ready; it is resumed if the server still has it." },
  going_away: { title: "The server is shutting down", remedy: "The page reconnects by itself when it is back." },
  hello_timeout: { title: "The server heard nothing in time", remedy: "It is tried again." },
  out_of_memory: { title: "The server ran out of memory", remedy: "Forget a range, or start the server with smaller caps." },
  model_error: { title: "The model failed", remedy: "Ask again; if it fails again, look at the server's log." },
  storage_error: { title: "The server's disk failed", remedy: "Look at the server's log; what was answered is kept here." },
  source_read_only: { title: "This camera is shared", remedy: "Its memory can be asked, but not fed or forgotten from here." },
  unknown_source: { title: "The server has no such camera", remedy: "Choose another source." },
};

/** @type {Record<number, string>} */
const BY_CLOSE = {
  1000: "the session was closed",
  1001: "the server is shutting down",
  1003: "the server did not understand a message",
  1006: "the connection broke",
  1008: "the server refused this page",
  1009: "a message was too big",
  1011: "the server had an internal error",
  1012: "the server is restarting",
  1013: "the server is overloaded",
  4001: "the greeting came too late",
  4002: "the session was opened elsewhere",
  4003: "the session could not be resumed",
};

/**
 * Give title and remedy of an error event; the server's own words where it has some.
 * @param {{code?: string, message?: string, remedy?: string | null}} error
 * @returns {Trouble}
 */
export function explain(error) {
  const known = BY_CODE[error.code ?? ""];
  return {
    title: known?.title ?? error.message ?? "Something went wrong",
    remedy: (error.remedy || known?.remedy) ?? (known ? "" : "Try again."),
  };
}

/** Say why a socket closed. @param {number} code @param {string} reason */
export function closeReason(code, reason) {
  return reason || BY_CLOSE[code] || `the connection was closed (${code})`;
}

/** @type {Record<string, [string, string]>} */
const DROPPED = {
  busy: ["replaced by a newer one while the model was busy", "replaced by newer ones while the model was busy"],
  rate: ["left out: more came than the agreed rate", "left out: more came than the agreed rate"],
  late: ["left out: it came out of order", "left out: they came out of order"],
  too_big: ["left out: too large", "left out: too large"],
  bad_image: ["left out: no readable picture", "left out: no readable pictures"],
  read_only: ["refused: this camera is shared", "refused: this camera is shared"],
  failed: ["lost to an error in the server", "lost to errors in the server"],
  link: ["not sent: the connection is slow", "not sent: the connection is slow"],
};

/**
 * Say in words which frames were dropped, most first.
 * @param {Record<string, number>} counts by reason
 */
export function droppedWords(counts) {
  const kinds = Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  if (!kinds.length) return "none";
  return kinds
    .map(([reason, n]) => {
      const words = DROPPED[reason] ?? [`left out (${reason})`, `left out (${reason})`];
      return `${n.toLocaleString("en-US")} ${n === 1 ? words[0] : words[1]}`;
    })
    .join("; ");
}
