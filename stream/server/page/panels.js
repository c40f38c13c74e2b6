/**
 * Makes the panels and says what their buttons do.
 */

import { AskBox } from "./ask_box.js";
import { Moment } from "./moment.js";
import { SessionSheet } from "./session_sheet.js";
import { TalkView } from "./talk_view.js";
import { Timeline } from "./timeline.js";
import { vault } from "./vault.js";
import { WatchesView } from "./watches_view.js";

/** @param {import("./app.js").App} app */
export function makePanels(app) {
  const session = () => app.visit.session;
  /** @param {number} start @param {number} end @param {{path: string | null, words: string} | null} picture */
  const go = (start, end, picture) => app.go(start, end, picture);
  /** @type {Timeline} */
  const timeline = new Timeline({
    onSelect: (range) => {
      askBox.limit(range);
      moment.close();
    },
    onAsk: (range) => app.about(range),
    onMark: (us) => app.mark("", us),
    onPin: (pin) => go(pin.us, pin.endUs, { path: pin.image, words: pin.words }),
  });
  const moment = new Moment(app.thumbs, (range) => app.about(range));
  const askBox = new AskBox(
    (question, range) => app.ask(question, range),
    () => timeline.select(null, false),
  );
  const talkView = new TalkView(app.visit.talk, app.thumbs, {
    session,
    go,
    cancel: (entry) => app.tell("response.cancel", { response_id: entry.responseId }),
    again: (entry) => app.ask(entry.question, entry.session === session() ? entry.range : null),
  });
  const watches = new WatchesView(app.visit.alerts, app.thumbs, {
    session,
    go,
    add: (condition) => app.tell("watch.create", { condition }),
    remove: (id) => app.tell("watch.delete", { watch_id: id }),
  });
  const sheet = new SessionSheet({
    clear: (range) => app.tell("memory.clear", range ? { since_us: range[0], until_us: range[1] } : { everything: true }),
    end: () => {
      app.picker.stop();
      app.tell("session.close", {});
    },
    token: () => vault.token,
    range: () => timeline.range,
  });
  return { timeline, moment, askBox, talkView, watches, sheet };
}
