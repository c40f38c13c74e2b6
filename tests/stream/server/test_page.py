"""The web page, end to end: real Chromium with a theatre clip as its camera, the real server, `pocket`."""

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PENCIL = "what was the background colour when the pencil was shown?"
PLACE = "in which part of the picture was the pencil?"
NEIGHBOUR = "which thing stood near the monkey?"
EXAMPLE = Path(__file__).parents[3] / "examples" / "theatre.mp4"
NO_NETWORK = re.compile(r"ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_NETWORK|WebSocket connection to")


@pytest.fixture(scope="module")
def page_house() -> Any:
    """Give the module page_house.py."""
    spec = importlib.util.spec_from_file_location("page_house", Path(__file__).with_name("page_house.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(page_house: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start Chromium; skip where there is none, unless it is required."""
    clip = page_house.write_clip(tmp_path_factory.mktemp("camera") / "theatre.y4m")
    try:
        opened = page_house.chromium(clip)
        found = opened.__enter__()
    except (ImportError, RuntimeError) as error:
        if "browser" in os.environ.get("ONLOOKER_REQUIRE", ""):
            raise
        pytest.skip(f"needs playwright and Chromium: {error}")
    yield found
    opened.__exit__(None, None, None)


@pytest.fixture(scope="module")
def house(page_house: Any, browser: Any) -> Iterator[Any]:
    """Run the server with pocket behind a wire that can be cut."""
    running = page_house.House({"stage": "theatre:7"})
    yield running
    running.close()


class Visitor:
    """Hold a page and all that its console said."""

    def __init__(self, page: Any) -> None:
        self.page, self.said = page, []
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"pageerror: {error}"))

    def faults(self, *, offline: bool = False) -> list[str]:
        """List errors and warnings of the console, violations of the content policy among them."""
        bad = [line for line in self.said if not line.startswith(("log:", "info:", "debug:"))]
        return [line for line in bad if not (offline and NO_NETWORK.search(line))]

    def wait_for_state(self, title: str) -> None:
        self.page.wait_for_function("title => document.getElementById('state-title').textContent === title", arg=title)

    def wait_until_covered(self, seconds: float) -> None:
        self.page.wait_for_function(
            "least => Number(document.getElementById('timeline').ariaValueMax ?? 0) >= least", arg=seconds
        )

    def ask(self, question: str) -> Any:
        """Ask with the keyboard, wait for the end of the answer, and give its entry."""
        before = self.page.locator(".entry:not(.note)").count()
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        entry = self.page.locator(".entry:not(.note)").nth(before)
        entry.wait_for()
        self.page.wait_for_function(
            "n => { const e = document.querySelectorAll('.entry:not(.note)')[n];"
            " return ['completed', 'failed', 'incomplete', 'cancelled'].includes(e.dataset.status) }",
            arg=before,
        )
        return entry

    def wait_for_picture(self, place: str) -> None:
        """Wait until an image is really drawn, not only there."""
        self.page.wait_for_function(
            "place => { const i = document.querySelector(place);"
            " return i && i.complete && i.naturalWidth > 0 && getComputedStyle(i).visibility === 'visible' }",
            arg=place,
        )


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Give a function that opens a page of its own."""
    contexts = []

    def opened(**options: Any) -> Visitor:
        context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 900}, "permissions": ["camera"], **options}
        )
        contexts.append(context)
        return Visitor(context.new_page())

    yield opened
    for context in contexts:
        context.close()


def seconds(text: str) -> list[int]:
    """Read the clock times in a text."""
    return [60 * int(m) + int(s) for m, s in re.findall(r"(\d+):(\d\d)", text)]


def test_camera_question_lost_network_and_reload(house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(house.url)
    assert "token" not in page.url
    visitor.wait_for_state("Ready")
    page.fill("#condition", "is there a monkey?")
    page.press("#condition", "Enter")
    page.locator(".watch").wait_for()
    page.click("#use-camera")
    visitor.wait_for_state("Live")
    (began,) = seconds(page.inner_text("#finder-clock"))
    visitor.wait_until_covered(began + 7)

    page.evaluate(
        "() => { window.statuses = []; new MutationObserver(all => all.forEach(one =>"
        " window.statuses.push(one.target.dataset.status))).observe(document.getElementById('entries'),"
        " {subtree: true, attributes: true, attributeFilter: ['data-status']}) }"
    )
    entry = visitor.ask(PENCIL)
    assert entry.locator(".said").inner_text() == "orange"
    assert "streaming" in page.evaluate("window.statuses")
    start, end = seconds(entry.locator(".proof-time").first.inner_text())
    assert began <= start <= began + 5 and start < end <= began + 8  # the pencil: 2.5 to 5.8 s after the camera began
    visitor.wait_for_picture(".entry .proof img")
    entry.locator(".proof").first.click()
    visitor.wait_for_picture("#moment-image")
    chosen = page.get_attribute("#timeline", "aria-valuetext")
    assert seconds(chosen)[:2] == [start, end]
    page.keyboard.press("Escape")

    page.locator(".alert").wait_for()
    assert "is there a monkey?" in page.locator(".alert").inner_text()
    visitor.wait_for_picture(".alert img")
    assert began + 8 <= seconds(page.locator(".alert b").inner_text())[0] <= began + 13
    visitor.wait_until_covered(began + 14)
    assert visitor.faults() == []

    house.cut()
    visitor.wait_for_state("Reconnecting")
    assert page.locator("#send").is_disabled()
    assert "Reconnecting" in page.inner_text("#ask-note")
    page.wait_for_timeout(1600)
    assert page.locator(".entry:not(.note)").count() == 1
    house.mend()
    visitor.wait_for_state("Live")
    assert "Reconnected after" in page.locator(".entry.note").last.inner_text()
    assert house.sessions == 1
    assert visitor.ask(PLACE).locator(".said").inner_text() == "bottom"
    assert visitor.ask(NEIGHBOUR).locator(".said").inner_text() == "the flower"

    before = page.locator("#entries").inner_text()
    page.reload()
    visitor.wait_for_state("Live")
    assert page.locator("#entries").inner_text() == before
    visitor.wait_for_picture(".entry .proof img")
    assert page.locator(".watch").count() == 1 and page.locator(".alert").count() >= 1
    assert house.sessions == 1
    assert visitor.ask(PLACE).locator(".said").inner_text() == "bottom"
    assert visitor.faults(offline=True) == []


def test_forgetting_a_range_and_ending_the_session(house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(house.url)
    page.set_input_files("#file", EXAMPLE)
    visitor.wait_for_state("Live")
    visitor.wait_until_covered(4)
    page.fill("#mark-label", "<b>here</b>")
    page.press("#mark-label", "Enter")
    page.locator(".t-mark").wait_for()
    assert page.locator(".t-mark text").text_content() == "<b>here</b>"
    page.click("#session")
    page.fill("#forget-from", "0:00")
    page.fill("#forget-to", "0:02")
    page.click("#forget-range")
    assert "Forget 0:00–0:02?" in page.inner_text("#confirm-sheet")
    page.click("#confirm-yes")
    page.get_by_text("deleted for good.").wait_for()
    page.click("#session")
    page.click("#end")
    sessions = house.sessions
    page.click("#confirm-yes")
    visitor.wait_for_state("Disconnected")
    page.wait_for_function("() => document.getElementById('state-action').textContent === 'Start a new session'")
    assert house.sessions < sessions
    page.click("#state-action")
    visitor.wait_for_state("Ready")
    assert visitor.faults() == []


def test_a_camera_of_the_server_is_asked_but_not_forgotten(house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(house.url)
    page.get_by_role("button", name="stage (server)").click()
    visitor.wait_for_state("Live")
    visitor.wait_until_covered(1)
    entry = visitor.ask("what is on the screen now?")
    assert entry.locator(".said").inner_text() != ""
    visitor.wait_for_picture("#frame")
    shown = page.locator("#frame").get_attribute("src")
    page.wait_for_function("(before) => document.querySelector('#frame').src !== before", arg=shown)  # it plays
    page.click("#session")
    assert page.locator("#forget-all").is_disabled() and "shared" in page.inner_text("#forget-note")
    page.keyboard.press("Escape")
    page.select_option("#source", "none")
    visitor.wait_for_state("Ready")
    assert page.locator(".entry").count() == 0  # the other source's conversation is its own
    page.wait_for_timeout(1_500)  # longer than a picture takes: none comes any more
    assert page.locator("#frame").is_hidden()
    page.select_option("#source", "server:stage")
    page.locator(".entry").wait_for()
    assert visitor.faults() == []


def test_a_wrong_token_is_refused_in_words_and_the_right_one_lets_in(house: Any, page_house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{house.bare_url}")
    page.locator("#token-sheet[open]").wait_for()
    page.fill("#token", "not-the-token")
    page.press("#token", "Enter")
    page.get_by_text("The token is wrong").first.wait_for()
    page.fill("#token", f"{house.bare_url}#token={page_house.TOKEN}")
    page.press("#token", "Enter")
    visitor.wait_for_state("Ready")
    page.locator("#token-sheet:not([open])").wait_for(state="attached")
    page.reload()
    visitor.wait_for_state("Ready")
    assert visitor.faults() == []


def test_everything_is_reached_by_keyboard(house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(house.url)
    visitor.wait_for_state("Ready")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "question"
    reached = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {
        "theme",
        "session",
        "use-camera",
        "source",
        "question",
        "condition",
        "notify",
        "sound",
        "zoom",
        "timeline",
    } <= {*reached}
    page.focus("#use-camera")
    page.keyboard.press("Enter")
    visitor.wait_for_state("Live")
    visitor.wait_until_covered(3)
    page.focus("#question")
    page.keyboard.type("what is on the screen now?")
    page.keyboard.press("Shift+Enter")
    assert page.input_value("#question").endswith("\n")
    page.keyboard.press("Enter")
    page.locator(".entry[data-status=completed]").wait_for()
    page.keyboard.press("ArrowUp")
    assert page.input_value("#question") == "what is on the screen now?"
    page.focus("#timeline")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert "chosen" in page.get_attribute("#timeline", "aria-valuetext")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "question"
    assert page.inner_text("#range-text").startswith("Only 0:0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator(".entry:not(.note)").nth(1).locator(".range-tag").wait_for()
    assert page.locator("#range").is_hidden()
    assert visitor.faults() == []


def test_a_hidden_tab_and_a_refused_camera_are_said_plainly(house: Any, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.add_init_script(
        "let shut = false; Object.defineProperty(document, 'hidden', {get: () => shut});"
        "window.hide = (is) => { shut = is; document.dispatchEvent(new Event('visibilitychange')) };"
    )
    page.goto(house.url)
    visitor.wait_for_state("Ready")
    page.click("#use-camera")
    visitor.wait_for_state("Live")
    page.evaluate("hide(true)")
    visitor.wait_for_state("Paused")
    assert "hidden" in page.inner_text("#state-detail")
    page.evaluate("hide(false)")
    visitor.wait_for_state("Live")
    page.click("#stop")
    visitor.wait_for_state("Ready")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia ="
        " async () => { throw new DOMException('no', 'NotAllowedError') } }"
    )
    page.click("#use-camera")
    visitor.wait_for_state("No picture")
    assert "Allow it" in page.inner_text("#finder-error")
    assert visitor.faults() == []


def test_nothing_scrolls_sideways_on_a_phone(house: Any, visit: Any) -> None:
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.page

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth && innerWidth === 390"))

    page.goto(house.url)
    visitor.wait_for_state("Ready")
    assert fits()
    page.tap("#use-camera")
    visitor.wait_for_state("Live")
    visitor.wait_until_covered(2)
    visitor.ask("what is on the screen now? " + "a" * 200)
    assert fits()
    page.tap("#session")
    page.locator("#session-sheet[open]").wait_for()
    box = page.locator("#session-sheet").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert visitor.faults() == []


LIMITS = {"max_frame_bytes": 1, "max_pixels": 1, "max_fps": 1, "questions_queued": 2, "question_chars": 40}
CREATED = {
    "type": "session.created",
    "session_id": "s",
    "resume_token": "t",
    "resumed": False,
    "gap": False,
    "source": "frames",
    "model": {"name": "another", "calibrated": False},
    "limits": LIMITS,
    "origin_unix_us": 0,
    "server_unix_us": 0,
    "last_seq": 0,
    "received": [],
}
HTML = "<img src=x onerror=alert(1)><b>bold</b>"


def test_what_the_server_says_is_shown_as_text(house: Any, visit: Any) -> None:
    """A server that says anything, in the place of the real one."""
    visitor = visit()
    page = visitor.page
    asked: list[dict[str, Any]] = []

    def serve(socket: Any) -> None:
        def tell(kind: str, **fields: Any) -> None:
            socket.send(json.dumps({"type": kind, **fields}))

        def hear(text: str) -> None:
            event = json.loads(text)
            reply = {"event_id": event.get("event_id")}
            if event["type"] == "session.update":
                socket.send(json.dumps(CREATED))
            elif event["type"] == "watch.create":
                known = {"watch_id": "w", "condition": event["condition"]}
                tell("watch.created", **known, **reply)
                tell("watch.fired", **known, time_us=0, latency_ms=1.0, text=HTML, image=None)
            elif event["type"] == "response.create":
                asked.append(event)
                if len(asked) == 2:
                    tell("error", code="busy", message=HTML, remedy="wait", retryable=True, fatal=False, **reply)
                    return
                tell("response.created", response_id="r", question=event["question"], asked_at_us=0, **reply)
                tell("response.output_text.delta", response_id="r", delta=HTML)
                done = {"status": "completed", "reason": "not_remembered", "forgotten_us": [[0, 61_000_000]]}
                tell("response.done", response_id="r", text=f"{HTML} at 1:05", asked_at_us=0, **done)

        socket.on_message(hear)

    page.route_web_socket(re.compile("/v1/realtime"), serve)
    page.on("dialog", lambda dialog: pytest.fail("a script of the answer ran"))
    page.goto(house.url)
    visitor.wait_for_state("Ready")
    page.fill("#condition", HTML)
    page.press("#condition", "Enter")
    entry = visitor.ask("<i>really?</i>")
    assert entry.locator(".asked").inner_text() == "<i>really?</i>"
    assert entry.locator(".said").inner_text() == HTML + " at 1:05"
    assert entry.locator(".said .chip").inner_text() == "1:05"
    assert "Not sure." in entry.inner_text() and "0:00–1:01" in entry.locator(".plainly").inner_text()
    assert HTML in page.locator(".alert").inner_text()
    assert page.locator("#entries img, #entries b, #alerts i, .watch b").count() == 0
    refused = visitor.ask("again")
    assert refused.get_attribute("data-status") == "failed" and "wait" in refused.locator(".plainly").inner_text()
    page.fill("#question", "x" * 41)
    assert page.locator("#send").is_disabled() and "1 characters too many" in page.inner_text("#ask-note")
    assert page.locator("#model").inner_text() == "another"
    assert visitor.faults() == []
