"""What `onlooker prune` does: run recipes over a video, side by side, and draw what they kept."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import OnlookerError, SourceError
from ..models.backbone import Backbone
from ..pruning import build_recipe
from ..settings import Settings
from ..stream.keyframes import GateSettings
from ..stream.source import Source, open_source
from .asking import note, own_warnings, warnings_of
from .interruption import Interruption
from .lanes import Keyframe, Lane, Lanes
from .measure import end_progress, say
from .model_options import ModelChoice, load
from .progress import PLAIN_EVERY_S, TERMINAL_EVERY_S
from .sheet import Block, Sheet, SheetLayout, Shown, clock, draw_sheet, encode_sheet
from .table import columns
from .thinning import EvenSample
from .tile import tile_size


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """Hold what the command line asks for, checked.

    fps: None looks at every frame.  most_shown: keyframes on the sheet at most; fewer where it would become too large,
    unless just so many were asked for (exact).  every: show each so-many-th one, 0 for as many as most_shown allows.
    """

    video: str
    recipes: tuple[str, ...]
    rate: float
    model: ModelChoice
    out: Path | None = None
    start_us: int = 0
    end_us: int | None = None
    fps: float | None = 2.0
    gated: bool = True
    most_shown: int = 24
    exact: bool = False
    every: int = 0
    columns: int | None = None
    as_json: bool = False
    quiet: bool = False


def run(request: PruneRequest, interruption: Interruption) -> None:
    """Run the recipes over the video and draw the sheet.

    Ctrl-C, and a video that breaks off, end the sheet where it is; the latter's SourceError is raised when the sheet is
    written.  Raises the errors of open_source, load and the recipes besides.
    """
    with own_warnings(), open_source(request.video, request.fps, request.start_us, request.end_us) as source:
        backbone = load(request.model, request.quiet)
        lanes, layout = lanes_for(request, backbone, source)
        failure: SourceError | None = None
        interruption.watching = True
        try:
            watch(request, lanes, source, interruption)
        except SourceError as error:
            failure = error
        finally:
            interruption.watching = False
            if not request.quiet:
                end_progress()
        lanes.finish()
    for warning in warnings_of(source.name, source.report):
        note(warning)
    broken = "broken off" if failure else "stopped" if interruption.stop.is_set() else ""
    if broken:
        note(f"{broken} at {clock(lanes.last_us)}" + (": drawing what was seen so far" if lanes.keyframes else ""))
    if lanes.keyframes:
        tell(request, lanes, layout, broken)
    elif failure is None:
        raise OnlookerError("nothing was seen, so nothing was drawn; watch for longer, or another stretch")
    if failure is not None:
        raise failure


def lanes_for(request: PruneRequest, backbone: Backbone, source: Source) -> tuple[Lanes, SheetLayout]:
    """Prepare the recipes for the video's grid.  Raises SettingsError for a sheet that would be too large."""
    settings = Settings()
    height, width = source.info.height, source.info.width
    grid = backbone.grid_of(height, width)
    recipes = {name: build_recipe(name, grid=grid, rate=request.rate) for name in request.recipes}
    layout = SheetLayout(tile_size(height, width, grid), request.columns)
    most = request.most_shown
    if request.exact:
        layout.size(most, len(recipes))  # raises
    else:
        most = layout.most(most, len(recipes))
    gate = GateSettings(heartbeat_us=round(settings.heartbeat_s * 1e6)) if request.gated else None
    sample = EvenSample[Shown](most, request.every)
    lanes = Lanes(
        backbone,
        recipes,
        sample,
        layout.tile,
        gate=gate,
        chunk_frames=settings.chunk_frames,
        start_us=request.start_us,
        told=write_keyframe if request.as_json else None,
    )
    return lanes, layout


def watch(request: PruneRequest, lanes: Lanes, source: Source, interruption: Interruption) -> None:
    """Feed the frames to the lanes until the video ends or somebody stops it."""
    every_s = TERMINAL_EVERY_S if sys.stderr.isatty() else PLAIN_EVERY_S
    ends = [end for end in (request.end_us, source.info.duration_us) if end is not None]
    of = f" of {clock(min(ends))}" if ends else ""
    last = began = time.monotonic()
    for frame in source:
        lanes.see(frame)
        now = time.monotonic()
        if not request.quiet and now - last >= every_s:
            last = now
            rate = lanes.frames / (now - began)
            say(f"{clock(lanes.last_us)}{of} | {rate:.0f} frames/s | {lanes.keyframes} keyframes pruned")
        if interruption.stop.is_set():
            return


def tell(request: PruneRequest, lanes: Lanes, layout: SheetLayout, broken: str) -> None:
    """Draw the sheet and say what was kept, on stdout.  Raises OnlookerError where the disk refuses."""
    shown, size = lanes.sample.items(), None
    if request.out is not None:
        page = draw_sheet(sheet_of(request, lanes, shown, broken), layout)
        size = (page.shape[1], page.shape[0])
        try:
            request.out.write_bytes(encode_sheet(page, request.out.suffix.lower()))
        except OSError as error:
            raise OnlookerError(f"cannot write {request.out}: {error}; check the folder and the disk") from error
    if request.every and lanes.sample.step != request.every:
        note(f"--every {request.every} has too many keyframes for a sheet: each {lanes.sample.step}th is shown")
    if request.as_json:
        typer.echo(json.dumps(summary(request, lanes, broken)))
        return
    rows = [["recipe", "kept", "tokens", "of", "empty keyframes", "ms a keyframe"]]
    rows += [
        [
            lane.name,
            f"{lane.share:.1%}",
            f"{lane.tokens:,}",
            f"{lane.cells:,}",
            str(lane.empty),
            f"{1e3 * lane.seconds / lanes.keyframes:.2f}",
        ]
        for lane in lanes.lanes
    ]
    for line in columns(rows, right=(1, 2, 3, 4, 5)):
        typer.echo(line)
    if request.out is not None and size is not None:
        typer.echo(
            f"\n{request.out}: {len(shown)} of {lanes.keyframes:,} keyframes ({lanes.frames:,} frames seen), "
            f"{size[0]} x {size[1]} pixels"
        )


def sheet_of(request: PruneRequest, lanes: Lanes, shown: list[Shown], broken: str) -> Sheet:
    """Put together what the sheet shows."""
    rows, across = lanes.grid
    fps = "all frames" if request.fps is None else f"{request.fps:g} frames/s"
    chosen = "chosen by the gate" if request.gated else "all of them pruned"
    model = request.model.name
    facts = [
        f"{Path(model).name if Path(model).is_dir() else model}, {rows} × {across} cells a frame",
        f"{clock(lanes.first_us)} to {clock(lanes.last_us)} at {fps}",
        f"{lanes.frames:,} frames, {lanes.keyframes:,} keyframes {chosen}, {len(shown)} shown",
    ]
    if broken:
        facts.append(f"{broken} before the end")
    blocks = [block_of(lane, lanes.keyframes, request.rate) for lane in lanes.lanes]
    span_us = (lanes.first_us, lanes.last_us)
    return Sheet(Path(request.video).name, "   |   ".join(facts), lanes.grid, span_us, shown, blocks)


def block_of(lane: Lane, keyframes: int, rate: float) -> Block:
    """Say how a recipe did, in a line and in a chart."""
    fact = f"kept {lane.share:.1%}, {rate:.0%} asked: {lane.tokens:,} of {lane.cells:,} tokens"
    if lane.empty:
        fact += f"; nothing of {lane.empty:,} of {keyframes:,} keyframes"
    return Block(lane.name, fact, rate, tuple(lane.shares), lane.shares.bin_us)


def write_keyframe(keyframe: Keyframe) -> None:
    """Write a keyframe's counts as a line of JSON to stdout."""
    line = {
        "event": "keyframe",
        "number": keyframe.number,
        "time_s": keyframe.time_us / 1e6,
        "gate": keyframe.action,
        "reason": keyframe.reason,
        "cells": keyframe.cells,
        "kept": dict(keyframe.kept),
    }
    typer.echo(json.dumps(line))


def summary(request: PruneRequest, lanes: Lanes, broken: str) -> dict[str, object]:
    """Sum up for JSON."""
    return {
        "event": "summary",
        "video": request.video,
        "model": request.model.name,
        "grid": list(lanes.grid),
        "from_s": lanes.first_us / 1e6,
        "to_s": lanes.last_us / 1e6,
        "complete": not broken,
        "frames": lanes.frames,
        "keyframes": lanes.keyframes,
        "rate": request.rate,
        "recipes": {
            lane.name: {
                "share": lane.share,
                "kept": lane.tokens,
                "cells": lane.cells,
                "empty": lane.empty,
                "seconds": round(lane.seconds, 6),
            }
            for lane in lanes.lanes
        },
        "sheet": None if request.out is None else str(request.out),
    }
