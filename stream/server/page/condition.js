/**
 * The one line that says how things stand.  Pure: no DOM.
 */

/**
 * @typedef {{tone: "live" | "wait" | "warn" | "bad" | "idle", title: string, detail: string,
 *   action: "" | "now" | "token" | "start" | "camera"}} Condition
 * @typedef {{
 *   link: import("./link.js").LinkStatus, now: number, picture: import("./picture.js").PictureStatus,
 *   source: string, sourceStatus: any | null, hidden: boolean, playing: boolean, leaving: number | null
 * }} Facts
 * leaving: when the server goes away (ms), null while it does not.  playing: whether frames were sent lately.
 */

/** @type {Record<string, [Condition["tone"], string]>} */
const CAMERA = {
  connecting: ["wait", "Connecting to the camera"],
  live: ["live", "Live"],
  stale: ["warn", "No new picture"],
  reconnecting: ["warn", "Reconnecting to the camera"],
  failed: ["bad", "The camera failed"],
  ended: ["idle", "The source ended"],
};

/** @param {Facts} facts @returns {Condition} */
export function condition(facts) {
  return connection(facts) ?? (facts.source === "frames" ? ownPicture(facts) : declared(facts));
}

/** @param {Facts} facts @returns {Condition | null} */
function connection({ link, now, leaving }) {
  switch (link.state) {
    case "refused":
      return { tone: "bad", title: "Locked", detail: sentence(link.reason), action: "token" };
    case "connecting":
      if (link.tries) return { tone: "warn", title: "Reconnecting", detail: sentence(link.reason), action: "" };
      return { tone: "wait", title: "Connecting", detail: "Looking for the server.", action: "" };
    case "waiting": {
      const seconds = Math.max(0, Math.ceil((link.retryAt - now) / 1000));
      return {
        tone: "warn",
        title: "Reconnecting",
        detail: `${sentence(link.reason)} ${seconds ? `Next try in ${seconds} s.` : "Trying now."} Nothing of the conversation is lost.`,
        action: "now",
      };
    }
    case "stopped":
      return { tone: "idle", title: "Disconnected", detail: sentence(link.reason || "the session is closed"), action: "start" };
    default:
      if (leaving === null) return null;
      return { tone: "warn", title: "The server is shutting down", detail: "It stores what it remembers; the page comes back by itself.", action: "" };
  }
}

/** @param {Facts} facts @returns {Condition} */
function ownPicture({ picture, hidden, playing }) {
  const what = picture.label || (picture.kind === "file" ? "the file" : "the camera");
  if (picture.state === "failed") return { tone: "bad", title: "No picture", detail: picture.reason, action: "camera" };
  if (picture.kind === "none") {
    return { tone: "idle", title: "Ready", detail: "Choose a camera or a video file; what was seen before can be asked about.", action: "" };
  }
  if (hidden) return { tone: "warn", title: "Paused", detail: "This tab is hidden, so nothing is watched.", action: "" };
  if (picture.state === "starting") return { tone: "wait", title: "Starting", detail: `Waiting for ${what}.`, action: "" };
  if (picture.state === "ended") return { tone: "idle", title: "The file ended", detail: "Ask about it, or play it again.", action: "" };
  if (picture.state === "paused") {
    return { tone: "warn", title: "Paused", detail: picture.reason || "The video is paused, so nothing is watched.", action: "" };
  }
  if (!playing) return { tone: "wait", title: "Starting", detail: "Waiting for the first frame to be taken in.", action: "" };
  return { tone: "live", title: "Live", detail: `Watching ${what}.`, action: "" };
}

/** @param {Facts} facts @returns {Condition} */
function declared({ source, sourceStatus }) {
  if (!sourceStatus) return { tone: "wait", title: "Attaching", detail: `Waiting for ${source}.`, action: "" };
  const [tone, title] = CAMERA[sourceStatus.state] ?? ["wait", sourceStatus.state];
  const again = sourceStatus.retry_ms ? ` Next try in ${Math.ceil(sourceStatus.retry_ms / 1000)} s.` : "";
  const detail = sourceStatus.state === "live" ? `The server watches ${source}.` : `${sentence(sourceStatus.reason || source)}${again}`;
  return { tone, title, detail, action: "" };
}

/** Write words as a sentence. @param {string} text */
export function sentence(text) {
  if (!text) return "";
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
