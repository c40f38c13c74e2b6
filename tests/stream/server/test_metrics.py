import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from onlooker.model import Model
from onlooker.stream.engine.stats import EngineReport
from onlooker.stream.live.status import SourceStatus
from onlooker.stream.server.metrics import Gauges, ServerMetrics, page
from onlooker.stream.server.server import shown_name

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.e+-]+|\+Inf|NaN)')


def parse(text: str) -> dict[str, float]:
    """Read Prometheus' text format strictly: every sample belongs to the family that HELP and TYPE opened."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    name = kind = ""
    seen: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in seen and name.startswith("onlooker_")
            seen.add(name)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name
            kind = line.split()[3]
            assert kind in ("counter", "gauge", "histogram")
            assert kind != "counter" or name.endswith("_total")
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            allowed = {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
            assert match[1] in allowed, line
            assert line.rpartition(" ")[0] not in found
            found[line.rpartition(" ")[0]] = float(match[3])
    return found


def written(counted: ServerMetrics, sources: dict[str, SourceStatus]) -> dict[str, float]:
    report = EngineReport(1, 2, 3, {"completed": 4}, 10, 7, 5, {"busy": 3}, 0, 1.25)
    gauges = Gauges(1, 0, 100, 200, 0, 50, 2, ready=True, resident_bytes=1 << 20)
    return parse(page(counted, report, gauges, sources, "0.1.0", 'a "model"').decode())


def test_everything_is_in_prometheus_format() -> None:
    counted = ServerMetrics(pictures=12, sockets=1)
    counted.dropped["rate"] += 2
    counted.dropped["busy"] += 1
    counted.count_close(1000)
    counted.answer.observe(0.3)
    found = written(counted, {"hall": SourceStatus("live", fps=4.0, age_us=500_000, reconnects=3)})
    assert found["onlooker_frames_received_total"] == 13
    assert found['onlooker_frames_dropped_total{reason="busy"}'] == 4
    assert found['onlooker_frames_dropped_total{reason="rate"}'] == 2
    assert found['onlooker_source_up{source="hall"}'] == 1
    assert found['onlooker_source_reconnects_total{source="hall"}'] == 3
    assert found['onlooker_source_age_seconds{source="hall"}'] == 0.5
    assert found['onlooker_answer_seconds_bucket{le="0.5"}'] == 1
    assert any(key.startswith("onlooker_build_info{") and r"a \"model\"" in key for key in found)


def test_clients_cannot_make_labels_of_close_codes() -> None:
    counted = ServerMetrics()
    for code in (None, 1000, 1013, *range(3000, 5000)):
        counted.count_close(code)
    found = written(counted, {})
    codes = {key: count for key, count in found.items() if key.startswith("onlooker_sockets_closed_total")}
    assert codes['onlooker_sockets_closed_total{code="1006"}'] == 1
    assert codes['onlooker_sockets_closed_total{code="4002"}'] == 1  # session_taken
    assert codes['onlooker_sockets_closed_total{code="other"}'] > 1990
    assert sum(codes.values()) == 2003 and len(codes) < 10


def test_no_label_holds_an_address_of_a_camera() -> None:
    status = SourceStatus("failed", "auth_failed", "rtsp://user:***@192.168.1.20/stream1 wants another password")
    assert not [key for key in written(ServerMetrics(), {"hall": status}) if "192.168" in key or "rtsp" in key]


@pytest.mark.parametrize(
    ("model", "shown"),
    [("pocket", "pocket"), ("org/name", "org/name"), ("/home/me/models/one", "one"), ("./one/", "one")],
)
def test_where_a_model_lies_is_not_told(model: str, shown: str) -> None:
    assert shown_name(model) == shown


def test_the_documentation_names_every_metric_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
    documented = set(re.findall(r"`(onlooker_[a-z_]+)", text))
    found = written(ServerMetrics(), {"hall": SourceStatus("live", age_us=1)})
    names = {re.sub(r"_(bucket|sum|count)$", "", key.partition("{")[0]) for key in found}
    labelled = {"onlooker_sockets_closed_total", "onlooker_errors_total"}  # without a sample until something happens
    assert documented == names | labelled


def test_a_servers_page_counts_what_happened(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, sources={"stage": "theatre:7"}) as served:
            _, headers, body = await served.get("/metrics")
            assert headers["content-type"].startswith("text/plain; version=0.0.4")
            before = parse(body.decode())
            async with served.client() as client:
                await client.hello(frame_reports="each", max_tokens=2)
                await client.see(3)
                await client.ask()
                await client.send("watch.delete", watch_id="nobody")
                await client.get("error")
                found = parse((await served.get("/metrics"))[2].decode())
            assert found["onlooker_sockets"] == 1 and found["onlooker_sessions_own"] == 1
            assert found["onlooker_frames_received_total"] - before["onlooker_frames_received_total"] >= 3
            assert found['onlooker_errors_total{code="unknown_watch"}'] == 1
            assert found["onlooker_answer_seconds_count"] == 1 and found["onlooker_first_token_seconds_count"] <= 1
            assert found["onlooker_memory_bytes"] > 0 and found["onlooker_resident_bytes"] > 1 << 20
            assert found['onlooker_source_up{source="stage"}'] in (0, 1)
            assert found["onlooker_picture_bytes_waiting"] == 0
            await served.until(lambda: served.server.metrics.sockets == 0)
            assert parse((await served.get("/metrics"))[2].decode())['onlooker_sockets_closed_total{code="1000"}'] == 1

    asyncio.run(run())
