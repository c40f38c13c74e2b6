import io
import json
from pathlib import Path

import pytest

from onlooker.answer import Answer, Evidence
from onlooker.cli.answers import JsonAnswers, PlainAnswers, as_json, remarks
from onlooker.cli.evidence import EvidenceFolder
from onlooker.errors import SettingsError

S = 1_000_000
FOUND = Answer(
    question="What was next to the crab?",
    text="the crown",
    status="answered",
    asked_at_us=600 * S,
    refers_to_us=205_500_000,
    evidence=(
        Evidence(205_500_000, 211_000_000, 7.25, "recalled", b"\xff\xd8one"),
        Evidence(422 * S, 422 * S, 6.0, "recent"),
    ),
    timings={"first_token_ms": 12.34567, "total_ms": 20.0},
    usage={"answer_tokens": 2},
)
LOST = Answer("When did it rain?", "not seen", "not_remembered", 600 * S, forgotten_us=((0, 90 * S),))


def test_the_json_form_has_exactly_these_fields() -> None:
    assert as_json(FOUND, ["a.jpg", None]) == {
        "question": "What was next to the crab?",
        "text": "the crown",
        "status": "answered",
        "refers_to_s": 205.5,
        "asked_at_s": 600.0,
        "evidence": [
            {"start_s": 205.5, "end_s": 211.0, "score": 7.25, "source": "recalled", "thumbnail": "a.jpg"},
            {"start_s": 422.0, "end_s": 422.0, "score": 6.0, "source": "recent", "thumbnail": None},
        ],
        "timings": {"first_token_ms": 12.346, "total_ms": 20.0},
        "usage": {"answer_tokens": 2},
        "forgotten_s": [],
    }
    assert [item["thumbnail"] for item in as_json(FOUND)["evidence"]] == [None, None]  # type: ignore[attr-defined]
    assert as_json(LOST)["refers_to_s"] is None
    assert as_json(LOST)["forgotten_s"] == [[0.0, 90.0]]


def test_json_answers_stand_on_a_line_each() -> None:
    out = io.StringIO()
    writer = JsonAnswers(out)
    for answer in (FOUND, LOST):
        writer.begin(answer.question, answer.asked_at_us)
        writer.piece("the ")
        writer.end(answer, ())
    assert [json.loads(line)["text"] for line in out.getvalue().splitlines()] == ["the crown", "not seen"]


def test_a_plain_answer_comes_in_pieces_with_its_time_below() -> None:
    out = io.StringIO()
    writer = PlainAnswers(out)
    writer.begin(FOUND.question, FOUND.asked_at_us)
    for piece, shown in ((" ", ""), (" the", "the"), (" crown", "the crown")):
        writer.piece(piece)
        assert out.getvalue() == shown
    writer.end(FOUND, ["seen/a.jpg", None])
    assert out.getvalue() == "the crown\nseen at 3:25–3:31 (also 7:02)\npicture: seen/a.jpg\n"


def test_headings_name_the_question_and_its_moment() -> None:
    out = io.StringIO()
    writer = PlainAnswers(out, headings=True, moments=True)
    for answer in (FOUND, LOST):
        writer.begin(answer.question, 90 * S)
        writer.piece(answer.text)
        writer.end(answer, ())
    assert out.getvalue().splitlines() == [
        "# at 1:30: What was next to the crab?",
        "the crown",
        "seen at 3:25–3:31 (also 7:02)",
        "",
        "# at 1:30: When did it rain?",
        "not seen",
        "not remembered: nothing that was seen fits this question",
        "not remembered any more: 0:00–1:30 (forgotten, or over the caps)",
    ]


def test_an_interrupted_line_is_ended_once() -> None:
    out = io.StringIO()
    writer = PlainAnswers(out)
    writer.begin("what?", 0)
    writer.piece("the")
    writer.abandon()
    writer.abandon()
    assert out.getvalue() == "the\n"


def test_an_answer_without_words_is_no_empty_line() -> None:
    out = io.StringIO()
    writer = PlainAnswers(out)
    writer.begin("what?", 0)
    writer.end(Answer("what?", "", "answered", 0), ())
    assert out.getvalue() == "(no words)\n"


@pytest.mark.parametrize(("status", "told"), [("truncated", "--max-tokens"), ("cancelled", "cancelled")])
def test_an_answer_that_is_not_whole_says_so(status: str, told: str) -> None:
    [line] = remarks(Answer("what?", "the", status, 0))  # type: ignore[arg-type]
    assert told in line


def test_evidence_names_say_question_rank_and_time(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "new" / "seen")
    first = str(tmp_path / "new" / "seen" / "question-2-rank-1-at-3m25s.jpg")
    assert folder.write(FOUND, 2, with_asked=False) == (first, None)
    asked = folder.write(FOUND, 2, with_asked=True)[0]
    assert asked is not None
    assert asked.endswith("question-2-asked-10m00s-rank-1-at-3m25s.jpg")
    assert sorted(path.read_bytes() for path in folder.folder.iterdir()) == [b"\xff\xd8one"] * 2


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match=r"cannot write evidence to .*file"):
        EvidenceFolder(tmp_path / "file")
    with pytest.raises(SettingsError, match=r"cannot write evidence to ~nobody-here/seen: .*home directory; give"):
        EvidenceFolder(Path("~nobody-here/seen"))


def test_a_picture_that_cannot_be_written_later_costs_no_answer(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "seen")
    folder.folder.rmdir()
    assert folder.write(FOUND, 1, with_asked=False) == (None, None)
    assert folder.failure is not None
    assert "question-1-rank-1" in folder.failure
