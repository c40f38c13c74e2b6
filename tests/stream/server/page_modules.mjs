// The page's modules that need no document, run by node: test_page_modules.py copies them beside this file.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Alerts } from "./page/alerts.js";
import { backoff } from "./page/backoff.js";
import { condition } from "./page/condition.js";
import { Link } from "./page/link.js";
import { MOST_WAITING, Pacer } from "./page/pacer.js";
import { newestPicture, pinsOf } from "./page/pins.js";
import { closeReason, droppedWords, explain } from "./page/remedies.js";
import { kindAt, moment, place, stride, ticks, view } from "./page/scale.js";
import { Talk } from "./page/talk.js";
import { bytes, clock, delay, lasting, readClock, span, splitTimes } from "./page/units.js";
import { Visit } from "./page/visit.js";
import { frameMessage, isToken, socketAddress, subprotocols } from "./page/wire.js";

const S = 1_000_000;

// units

test("times, sizes and lengths are written as answers write them", () => {
  assert.deepEqual([0, 59.9 * S, 3599 * S, 3600 * S, 3785 * S].map(clock), ["0:00", "0:59", "59:59", "1:00:00", "1:03:05"]);
  assert.equal(span(5 * S, 5.4 * S), "0:05");
  assert.equal(span(5 * S, 65 * S), "0:05–1:05");
  assert.deepEqual([7 * S, 60 * S, 250 * S, 11_520 * S].map(lasting), ["7 s", "1 min", "4 min 10 s", "3 h 12 min"]);
  assert.deepEqual([999, 999_499, 999_600, 1_640_000, 210e6].map(bytes), ["999 B", "999 kB", "1.0 MB", "1.6 MB", "210 MB"]);
  assert.deepEqual([84.2, 2345, 90_000].map(delay), ["84 ms", "2.3 s", "1 min 30 s"]);
});

test("clock times are read back, and nothing else is", () => {
  for (const us of [0, 7 * S, 61 * S, 3599 * S, 3600 * S, 86_399 * S]) assert.equal(readClock(clock(us)), us);
  assert.equal(readClock("90"), 90 * S);
  for (const wrong of ["", "a", "1:60", "1:2:3:4", "-1", "1.5", "1:"]) assert.equal(readClock(wrong), null, wrong);
});

test("times in an answer become pieces, other numbers do not", () => {
  assert.deepEqual(splitTimes("at 0:12 and 1:02:03."), [
    { text: "at " }, { text: "0:12", us: 12 * S }, { text: " and " }, { text: "1:02:03", us: 3723 * S }, { text: "." },
  ]);
  assert.deepEqual(splitTimes("at 0 :12"), [{ text: "at " }, { text: "0:12", us: 12 * S }]);
  for (const plain of ["3 dogs", "scores 4:3", "10.0.0.1:8080", "<b>1</b>"]) assert.deepEqual(splitTimes(plain), [{ text: plain }]);
});

// wire

test("a frame's header is 24 little-endian bytes before the picture", () => {
  const message = Buffer.from(frameMessage(0x01020304, 1_700_000_000_123_456, 2, new Uint8Array([0xff, 0xd8, 9]).buffer));
  assert.equal(message.length, 27);
  assert.deepEqual([message.readUInt8(0), message.readUInt8(1), message.readUInt16LE(2)], [1, 1, 0]);
  assert.equal(message.readUInt32LE(4), 0x01020304);
  assert.equal(message.readBigInt64LE(8), 1_700_000_000_123_456n);
  assert.deepEqual([message.readUInt32LE(16), message.readUInt32LE(20)], [2, 0]);
  assert.deepEqual([...message.subarray(24)], [0xff, 0xd8, 9]);
});

test("the token goes into a subprotocol only where it can stand there", () => {
  assert.deepEqual(subprotocols("a-B_1"), ["onlooker.v1", "onlooker.token.a-B_1"]);
  assert.ok(isToken("abc.DEF-123_~"));
  for (const wrong of ["", "a b", "a,b", "ä", "a\n", "x".repeat(257)]) assert.ok(!isToken(wrong), wrong);
  assert.equal(socketAddress({ protocol: "https:", host: "h:1" }), "wss://h:1/v1/realtime");
});

// pace and back-off

test("the wait doubles, stays bounded, and is spread", () => {
  const middle = [0, 1, 2, 3, 20, 1000].map((tries) => backoff(tries, () => 0.5));
  assert.deepEqual(middle, [500, 1000, 2000, 4000, 15_000, 15_000]);
  assert.ok(backoff(3, () => 0) < 4000 && backoff(3, () => 1) > 4000);
});

test("frames go at the smallest of what is wanted, allowed and bearable", () => {
  const pacer = new Pacer();
  pacer.wanted = 4;
  const sent = (from) => Array.from({ length: 300 }, (_, n) => pacer.due(from + n * 33.3, 0)).filter(Boolean).length;
  assert.ok(Math.abs(sent(0) - 40) <= 1, "4 / s for 10 s");
  pacer.target = 1;
  assert.ok(Math.abs(sent(20_000) - 10) <= 2, "1 / s for 10 s");
  assert.equal(pacer.held, 0);
});

test("a slow connection holds frames back and counts them", () => {
  const pacer = new Pacer();
  assert.ok(!pacer.due(0, MOST_WAITING + 1));
  assert.equal(pacer.held, 1);
  assert.ok(pacer.due(1000, 0));
});

// timeline

test("places and moments are each other's inverse, and round times lie apart", () => {
  for (const [start, now, last] of [[0, 5 * S, 0], [0, 47 * S, 0], [3 * S, 11_000 * S, 600], [0, 200_000 * S, 0]]) {
    const shown = view(start, now, last, 900);
    for (const x of [0, 1, 450, 900]) assert.ok(Math.abs(place(shown, moment(shown, x)) - x) < 0.01);
    const marks = ticks(shown).map((us) => place(shown, us));
    assert.ok(marks.length >= 2);
    for (let n = 1; n < marks.length; n += 1) assert.ok(marks[n] - marks[n - 1] >= 60);
    assert.ok(stride(shown) >= S);
  }
});

test("what is remembered at a moment has a name", () => {
  const stretches = [{ start_us: 0, end_us: 10, kind: "gist" }, { start_us: 12, end_us: 20, kind: "kept" }];
  assert.deepEqual([0, 9, 10, 11, 12, 20].map((us) => kindAt(stretches, us)), ["gist", "gist", "nothing", "nothing", "kept", "nothing"]);
});

// conversation

const created = { type: "response.created", response_id: "r1", question: "q", asked_at_us: 5, event_id: "e1" };

test("an answer grows from its events and ends with what was told last", () => {
  const talk = new Talk();
  const entry = talk.ask("e1", "s", "q", [1, 2]);
  talk.apply(created, "s");
  assert.equal(entry.status, "waiting");
  talk.apply({ type: "response.output_text.delta", response_id: "r1", delta: "at " }, "s");
  talk.apply({ type: "response.output_text.delta", response_id: "r1", delta: "0:0" }, "s");
  assert.deepEqual([entry.text, entry.status, talk.open], ["at 0:0", "streaming", 1]);
  talk.apply({ type: "response.done", response_id: "r1", status: "completed", reason: "not_remembered", text: "at 0:05", refers_to_us: null, asked_at_us: 5, forgotten_us: [[0, 3]], usage: {}, timings: {}, error: null }, "s");
  assert.deepEqual([entry.text, entry.status, entry.reason, entry.forgotten, talk.open], ["at 0:05", "completed", "not_remembered", [[0, 3]], 0]);
});

test("a refused question fails by itself and leaves the others alone", () => {
  const talk = new Talk();
  const [one, two] = [talk.ask("e1", "s", "a", null), talk.ask("e2", "s", "b", null)];
  talk.apply({ type: "error", code: "busy", message: "m", remedy: "r", event_id: "e2" }, "s");
  assert.deepEqual([one.status, two.status, two.error.code], ["asking", "failed", "busy"]);
  assert.equal(talk.apply({ type: "error", code: "busy", message: "m", event_id: "other" }, "s"), null);
});

test("only questions that the server never had are sent again", () => {
  const talk = new Talk();
  for (const id of ["e1", "e2", "e3"]) talk.ask(id, "s", `about ${id}`, null);
  talk.apply({ ...created, event_id: "e1" }, "s");
  assert.deepEqual(talk.unsent("s", ["e1", "e2"]).map((one) => one.id), ["e3"]);
  assert.deepEqual(talk.unsent("another", []), []);
});

test("answers of an earlier session with the same name of an answer stay as they are", () => {
  const talk = new Talk();
  const old = talk.ask("e0", "old", "q", null);
  talk.apply({ ...created, event_id: "e0" }, "old");
  const now = talk.ask("e1", "s", "q", null);
  talk.apply(created, "s");
  talk.apply({ type: "response.output_text.delta", response_id: "r1", delta: "x" }, "s");
  assert.deepEqual([old.text, now.text], ["", "x"]);
});

test("alerts are logged when they fire and closed when they clear", () => {
  const alerts = new Alerts();
  alerts.apply({ type: "watch.created", watch_id: "w", condition: "c" }, "s");
  alerts.apply({ type: "watch.fired", watch_id: "w", condition: "c", time_us: 7, latency_ms: 1, text: "yes", image: null, seq: 3 }, "s");
  assert.deepEqual([alerts.watches[0].on, alerts.log.length], [true, 1]);
  alerts.apply({ type: "watch.listed", watches: [{ watch_id: "w", condition: "c" }] }, "s");
  assert.ok(alerts.watches[0].on, "listing keeps what is on");
  alerts.apply({ type: "watch.cleared", watch_id: "w", condition: "c", time_us: 9 }, "s");
  assert.deepEqual([alerts.watches[0].on, alerts.log[0].clearedUs], [false, 9]);
  alerts.apply({ type: "watch.deleted", watch_id: "w" }, "s");
  assert.deepEqual([alerts.watches, alerts.log.length], [[], 1]);
});

// session

const session = (more) => ({ type: "session.created", session_id: "s", resume_token: "t1", resumed: false, gap: false, source: "frames", last_seq: 0, received: [], origin_unix_us: 1, server_unix_us: 1000 * 1000, model: { name: "pocket" }, limits: {}, ...more });

function store() {
  const kept = new Map();
  return {
    recall: (source) => ({ credentials: null, entries: [], alerts: [], watches: [], ...JSON.parse(kept.get(source) ?? "{}") }),
    keep: (source, value) => kept.set(source, JSON.stringify(value)),
  };
}

test("a reload resumes behind the last event that is shown, with the newest token", () => {
  const vault = store();
  const before = new Visit("frames", vault, () => 1000);
  assert.deepEqual(before.hello({ stats: true }), { source: "frames", stats: true });
  before.apply(session());
  before.talk.ask("e1", "s", "q", null);
  before.apply({ ...created, seq: 1 });
  before.apply({ type: "response.output_text.delta", response_id: "r1", delta: "the ", seq: 2 });
  const after = new Visit("frames", vault, () => 2000);
  assert.deepEqual(after.hello({}), { resume: { session_id: "s", token: "t1", last_seq: 2 } });
  after.apply(session({ resumed: true, resume_token: "t2", last_seq: 3 }));
  after.apply({ type: "response.output_text.delta", response_id: "r1", delta: "dog", seq: 3 });
  assert.equal(after.talk.entries[0].text, "the dog");
  assert.deepEqual(after.hello({}).resume, { session_id: "s", token: "t2", last_seq: 3 });
});

test("a restarted server counts anew, and its lower numbers are taken", () => {
  const visit = new Visit("frames", store(), () => 1000);
  visit.apply(session());
  visit.apply({ ...created, seq: 40 });
  visit.apply(session({ resumed: true, gap: true, last_seq: 0 }));
  assert.equal(visit.hello({}).resume.last_seq, 0);
  visit.apply({ type: "watch.listed", watches: [], seq: 1 });
  assert.equal(visit.hello({}).resume.last_seq, 1);
});

test("a session that is gone leaves its answers readable and gives its standing questions back", () => {
  const visit = new Visit("frames", store(), () => 1000);
  visit.apply(session());
  visit.apply({ type: "watch.created", watch_id: "w", condition: "Is there a dog?" });
  visit.talk.ask("e1", "s", "q", null);
  visit.fresh("away too long");
  assert.deepEqual(visit.hello({}), { source: "frames" });
  assert.deepEqual([visit.talk.entries[0].status, visit.lost], ["unsure", ["Is there a dog?"]]);
  assert.match(visit.talk.entries[1].text, /away too long/);
});

test("a clock that differs from the server's is corrected once for the session", () => {
  const off = new Visit("frames", store(), () => 1000);
  off.apply(session({ server_unix_us: 61 * S }));
  assert.equal(off.credentials.skewUs, 60 * S);
  off.apply(session({ server_unix_us: 63 * S, resumed: true }));
  assert.equal(off.credentials.skewUs, 60 * S);
  const near = new Visit("frames", store(), () => 1000);
  near.apply(session({ server_unix_us: 1.2 * S }));
  assert.equal(near.credentials.skewUs, 0);
});

test("pins are the marks, the newest answer's evidence and the alerts of this session alone", () => {
  const visit = new Visit("frames", store(), () => 1000);
  visit.apply(session());
  visit.apply({ type: "memory.state", timeline: [], span_us: null, marks: [{ label: "m", time_us: 3 }] });
  visit.apply({ type: "watch.fired", watch_id: "w", condition: "c", time_us: 7, latency_ms: 1, text: "", image: "/a.jpg" });
  visit.talk.ask("e1", "s", "q", null);
  visit.apply(created);
  visit.apply({ type: "response.evidence", response_id: "r1", evidence: [{ index: 0, start_us: 1, end_us: 2, score: 1, source: "recalled", image: "/e.jpg" }] });
  assert.deepEqual(pinsOf(visit).map((pin) => pin.kind), ["mark", "evidence", "alert"]);
  assert.deepEqual(newestPicture(visit), { us: 7, path: "/a.jpg" });
  visit.fresh("gone");
  visit.apply(session({ session_id: "next" }));
  assert.deepEqual(pinsOf(visit), []);
});

// connection

class FakeSocket {
  static made = [];
  constructor(address, protocols) {
    Object.assign(this, { address, protocols, protocol: "onlooker.v1", readyState: 0, sent: [], bufferedAmount: 0 });
    FakeSocket.made.push(this);
  }
  send(message) {
    this.sent.push(typeof message === "string" ? JSON.parse(message) : message);
  }
  close() {
    this.readyState = 3;
  }
  open() {
    this.readyState = 1;
    this.onopen();
  }
  say(event) {
    this.onmessage({ data: JSON.stringify(event) });
  }
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

function linked(options = {}) {
  FakeSocket.made = [];
  const told = { states: [], events: [], fresh: [], timers: [], clock: 0 };
  const link = new Link({
    address: "ws://h/v1/realtime", token: () => "tok", hello: () => ({ source: "frames" }), probe: async () => 0,
    onStatus: (status) => told.states.push(status.state), onEvent: (event) => told.events.push(event.type), onFresh: (code) => told.fresh.push(code),
    Socket: FakeSocket, now: () => told.clock,
    later: (call, ms) => told.timers.push({ call, at: told.clock + ms, on: true }), cancel: (timer) => timer && (told.timers[timer - 1].on = false),
    ...options,
  });
  told.pass = (ms) => {
    const until = told.clock + ms;
    for (;;) {
      const next = told.timers.filter((one) => one.on && one.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      told.clock = next.at;
      next.on = false;
      next.call();
    }
    told.clock = until;
  };
  told.newest = () => FakeSocket.made.at(-1);
  return { link, told };
}

test("the first event greets, and nothing is sent before the session is there", () => {
  const { link, told } = linked();
  link.connect();
  told.newest().open();
  assert.deepEqual(told.newest().sent, [{ type: "session.update", source: "frames" }]);
  assert.ok(!link.send({ type: "ping" }) && !link.sendFrame(new ArrayBuffer(3)));
  told.newest().say(session());
  assert.ok(link.isOpen && link.send({ type: "ping" }));
});

test("a broken connection is tried again by itself, and the session is taken up", () => {
  const { link, told } = linked();
  link.connect();
  for (let n = 0; n < 5; n += 1) {
    told.newest().open();
    told.newest().say(session({ resumed: n > 0 }));
    assert.deepEqual([link.status.state, link.status.tries], ["open", 0]);
    told.newest().end(1006);
    assert.equal(link.status.state, "waiting");
    assert.ok(!link.send({ type: "ping" }));
    told.pass(link.status.retryAt - told.clock);
    assert.equal(FakeSocket.made.length, n + 2);
  }
});

test("an overloaded server is not asked before it said so", () => {
  const { link, told } = linked();
  link.connect();
  told.newest().open();
  told.newest().say({ type: "error", code: "too_busy", message: "overloaded", fatal: true, retry_after_ms: 30_000 });
  told.newest().end(1013);
  told.pass(29_000);
  assert.equal(FakeSocket.made.length, 1);
  told.pass(1500);
  assert.equal(FakeSocket.made.length, 2);
});

test("a server that stays away is asked about over HTTP, and the wait goes on", async () => {
  const { link, told } = linked();
  link.connect();
  for (let n = 0; n < 12; n += 1) {
    told.newest().end(1006);
    await new Promise((go) => setImmediate(go));
    assert.equal(link.status.state, "waiting");
    assert.match(link.status.reason, /does not answer/);
    told.pass(20_000);
    assert.equal(FakeSocket.made.length, n + 2);
  }
  told.newest().open();
  told.newest().say(session());
  assert.deepEqual([link.status.state, link.status.tries], ["open", 0]);
});

test("a refused token asks for another one and is not tried in a loop", async () => {
  const { link, told } = linked({ probe: async () => 401 });
  link.connect();
  told.newest().end(1006);
  await new Promise((go) => setImmediate(go));
  assert.equal(link.status.state, "refused");
  told.pass(600_000);
  assert.equal(FakeSocket.made.length, 1);
  link.connect();
  told.newest().open();
  told.newest().say({ type: "error", code: "not_authorized", message: "the token is wrong", fatal: true });
  told.newest().end(1008);
  assert.equal(link.status.state, "refused");
  const { link: bare, told: none } = linked({ token: () => "" });
  bare.connect();
  assert.deepEqual([bare.status.state, none.newest()], ["refused", undefined]);
});

test("a session that is gone is replaced at once, but not in a loop", () => {
  const { link, told } = linked();
  link.connect();
  for (let n = 0; n < 2; n += 1) {
    told.newest().open();
    told.newest().say({ type: "error", code: "session_expired", message: "gone", fatal: true });
    told.newest().end(4003);
  }
  assert.deepEqual(told.fresh, ["session_expired", "session_expired"]);
  assert.deepEqual([FakeSocket.made.length, link.status.state], [2, "waiting"]);
});

test("a session that goes on elsewhere is not fought over", () => {
  const { link, told } = linked();
  link.connect();
  told.newest().open();
  told.newest().say(session());
  told.newest().say({ type: "error", code: "session_taken", message: "opened elsewhere", fatal: true });
  told.newest().end(4002);
  assert.deepEqual([link.status.state, link.status.code], ["stopped", "session_taken"]);
  told.pass(600_000);
  assert.equal(FakeSocket.made.length, 1);
});

test("a connection that has gone silent is pinged, then given up", () => {
  const { link, told } = linked();
  link.connect();
  told.newest().open();
  told.newest().say(session());
  told.pass(26_000);
  assert.deepEqual(told.newest().sent.at(-1), { type: "ping" });
  told.newest().say({ type: "pong" });
  told.pass(15_000);
  assert.equal(link.status.state, "open");
  told.pass(21_000);
  assert.notEqual(link.status.state, "open");
});

test("what an old socket says does not count", () => {
  const { link, told } = linked();
  link.connect();
  const old = told.newest();
  old.open();
  link.connect();
  old.say(session());
  assert.equal(link.isOpen, false);
  assert.deepEqual(told.events, []);
});

// words

const facts = { link: { state: "open", reason: "", code: "", retryAt: 0, tries: 0 }, now: 0, picture: { kind: "camera", state: "playing", label: "Cam", reason: "" }, source: "frames", sourceStatus: null, hidden: false, playing: true, leaving: null };

test("the state line says what is, and offers what helps", () => {
  const line = (more) => condition({ ...facts, ...more });
  assert.equal(line({}).title, "Live");
  assert.equal(line({ hidden: true }).title, "Paused");
  assert.match(line({ hidden: true }).detail, /hidden/);
  const waiting = line({ link: { state: "waiting", reason: "the connection broke", code: "", retryAt: 2500, tries: 1 } });
  assert.deepEqual([waiting.title, waiting.action], ["Reconnecting", "now"]);
  assert.match(waiting.detail, /The connection broke\. Next try in 3 s\./);
  assert.equal(line({ link: { ...facts.link, state: "refused" } }).action, "token");
  assert.equal(line({ picture: { ...facts.picture, state: "failed", reason: "No camera." } }).detail, "No camera.");
  assert.equal(line({ source: "door", sourceStatus: { state: "reconnecting", reason: "refused", retry_ms: 900 } }).detail, "Refused. Next try in 1 s.");
});

test("dropped frames and errors are put in words", () => {
  assert.equal(droppedWords({}), "none");
  assert.equal(droppedWords({ busy: 1200, rate: 1 }), "1,200 replaced by newer ones while the model was busy; 1 left out: more came than the agreed rate");
  assert.match(droppedWords({ new_kind: 2 }), /2 left out \(new_kind\)/);
  assert.equal(explain({ code: "busy", message: "x", remedy: "wait 2 s" }).remedy, "wait 2 s");
  assert.equal(explain({ code: "unheard_of", message: "the message" }).title, "the message");
  assert.equal(closeReason(1006, ""), "the connection broke");
});
