import math

from onlooker.stream.server.exposition import Family, Histogram, by, render, single


def test_families_are_written_with_help_type_and_escaped_labels() -> None:
    labels = (("reason", 'a "b"\\\n'), ("code", "1"))
    page = render([Family("frames_total", "counter", "Frames.\nAll.", {labels: 3, (): 2.5})]).decode()
    assert page.splitlines() == [
        r"# HELP frames_total Frames.\nAll.",
        "# TYPE frames_total counter",
        r'frames_total{reason="a \"b\"\\\n",code="1"} 3',
        "frames_total 2.5",
    ]
    assert page.endswith("\n")


def test_a_histogram_counts_upwards() -> None:
    seconds = Histogram("answer_seconds", "Answers.", (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value)
    assert render([seconds]).decode().splitlines()[2:] == [
        'answer_seconds_bucket{le="0.1"} 2',
        'answer_seconds_bucket{le="1"} 3',
        'answer_seconds_bucket{le="+Inf"} 4',
        "answer_seconds_sum 7.65",
        "answer_seconds_count 4",
    ]


def test_short_forms_make_the_same_families() -> None:
    assert single("up", "gauge", "Up.", True).samples == {(): 1}
    assert by("up", "gauge", "Up.", "source", {"hall": 1.0}).samples == {(("source", "hall"),): 1.0}
    assert math.isinf(float(render([single("up", "gauge", "Up.", math.inf)]).split()[-1]))
