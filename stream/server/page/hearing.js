/**
 * What the page does when the server says something.
 */

import { announce, toast } from "./announcer.js";
import { byId, say, show } from "./dom.js";
import { pinsOf } from "./pins.js";
import { explain } from "./remedies.js";
import { clock, counted, span } from "./units.js";

/** @typedef {import("./app.js").App} App */

/** Take in an event of the server. @param {App} app @param {any} event */
export function hear(app, event) {
  const { change, entry } = app.visit.apply(event);
  if (entry) answered(app, event, entry);
  switch (change) {
    case "created":
      created(app, event);
      break;
    case "watches":
    case "fired":
    case "cleared":
      watched(app, event);
      break;
    case "stats":
      app.pacer.target = event.target_fps || Infinity;
      app.readouts.stats(event, true, app.visit.source === "frames");
      app.timeline.advance(event.now_us);
      app.sheet.facts(app.visit.created, event);
      break;
    case "memory":
      app.timeline.remember(event);
      app.timeline.pin(pinsOf(app.visit));
      break;
    case "sources":
      app.refresh();
      break;
    case "marked":
      toast(`Marked ${clock(event.time_us)}`, event.label);
      app.look(true);
      break;
    case "cleared_memory":
      app.note(`Forgotten: ${counted(event.keyframes, "kept frame")} deleted for good.`);
      app.timeline.reset();
      app.look(true);
      break;
    case "evicted":
      app.note(`Memory gave up ${event.spans_us.map((/** @type {[number, number]} */ [a, b]) => span(a, b)).join(", ")} to stay within its limits.`);
      app.look(true);
      break;
    case "leaving":
      app.leaving = Date.now() + event.deadline_ms;
      break;
    case "closed":
      app.note(event.reason === "closed" ? "The session was ended." : `The session ended (${event.reason}).`);
      break;
    case "error":
      if (!event.fatal) troubled(app, event);
      break;
  }
}

/** @param {App} app @param {any} event session.created */
function created(app, event) {
  say(byId("model"), event.model.name);
  show(byId("model"), true);
  app.pacer.limit = event.limits.max_fps ?? Infinity;
  app.askBox.examples(event.model.name);
  app.sheet.facts(event, null);
  app.talkView.replace(app.visit.talk);
  if (event.resumed) announce("Reconnected; the conversation goes on");
}

/** @param {App} app @param {any} event @param {import("./talk.js").AnswerEntry} entry */
function answered(app, event, entry) {
  app.talkView.update(entry);
  if (event.type !== "response.done") return;
  announce(`Answer: ${entry.reason === "not_remembered" ? `not remembered. ${entry.text}` : entry.text || entry.status}`);
  app.timeline.pin(pinsOf(app.visit));
}

/** @param {App} app @param {any} event */
function watched(app, event) {
  app.watches.list();
  app.watches.log();
  app.timeline.pin(pinsOf(app.visit));
  if (event.type === "watch.created") app.watches.note("");
  if (event.type !== "watch.fired") return;
  toast(event.condition, `Seen at ${clock(event.time_us)}`);
  app.chime.ring(event.condition, `Seen at ${clock(event.time_us)}`);
}

/** @param {App} app @param {any} event error */
function troubled(app, event) {
  const { title, remedy } = explain(event);
  if (String(event.event_id ?? "").startsWith("watch")) app.watches.note(`${title}. ${remedy}`, "warn");
  else toast(title, remedy, "bad");
}
