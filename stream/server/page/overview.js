/**
 * Writes how things stand: the state line, the readings, the viewfinder, what may be asked.
 */

import { condition } from "./condition.js";
import { byId, say, show } from "./dom.js";
import { newestPicture } from "./pins.js";
import { clock } from "./units.js";

const PLAYING_MS = 4000;

/** @param {import("./app.js").App} app */
export function overview(app) {
  const { visit, link, picture } = app;
  const told = condition({
    link: link.status,
    now: Date.now(),
    picture: picture.status,
    source: visit.source,
    sourceStatus: visit.sourceStatus,
    hidden: document.hidden,
    playing: Date.now() - app.sentAt < PLAYING_MS,
    leaving: app.leaving,
  });
  app.readouts.condition(told);
  if (!link.isOpen) app.readouts.stats(null, false);
  app.readouts.dropped({ ...visit.dropped, link: app.pacer.held });
  app.picker.refresh(visit.sources, visit.source);
  finder(app, told.tone === "live" ? "" : told.title);
  const { questions_queued: most = 8, question_chars: longest = 8192 } = visit.created?.limits ?? {};
  app.askBox.block(whyNot(link.isOpen, told.title, visit.talk.open > most), longest);
}

/** @param {boolean} open @param {string} title @param {boolean} full */
function whyNot(open, title, full) {
  if (!open) return `${title}: nothing can be asked until the server is there.`;
  return full ? "Enough questions are waiting: wait for an answer, or cancel one." : "";
}

/** Dress the viewfinder for what is watched. @param {import("./app.js").App} app @param {string} veil words over it */
function finder(app, veil) {
  const { visit, link, picture: { status } } = app;
  const own = visit.source === "frames";
  const none = own && (status.kind === "none" || status.state === "failed");
  byId("finder").dataset.kind = own ? status.kind : "server";
  show(byId("finder-empty"), none);
  show(byId("video"), own && !none);
  show(byId("finder-error"), own && status.state === "failed");
  say(byId("finder-error"), status.reason);
  const now = own ? visit.streamNow() : (visit.stats?.now_us ?? null);
  const live = veil === "" && now !== null;
  show(byId("finder-clock"), live);
  if (live) say(byId("finder-clock"), clock(now));
  let words = veil;
  if (own) {
    app.glimpse.rest();
    show(byId("frame"), false);
  } else {
    const playing = link.isOpen && visit.sourceStatus?.state === "live" && visit.stats?.age_ms != null;
    if (playing) app.glimpse.look(`/v1/sessions/${visit.created?.session_id}/images/latest.jpg`);
    else app.glimpse.rest();
    const newest = playing ? null : newestPicture(visit);
    if (newest) showFrame(app, newest.path);
    else if (!playing) show(byId("frame"), false);
    if (!playing) words ||= newest ? `As it looked at ${clock(newest.us)}` : `The server watches ${visit.source}. Pictures come with answers and alerts.`;
  }
  show(byId("finder-veil"), words !== "" && !none);
  say(byId("finder-veil"), words);
}

/** @param {import("./app.js").App} app @param {string} path */
function showFrame(app, path) {
  const image = byId("frame");
  if (image.dataset.path === path) return;
  image.dataset.path = path;
  void app.thumbs.fill(image, path).then((there) => show(image, there));
}
