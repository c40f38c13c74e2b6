"""What `onlooker chat` does: open the source and the model, then listen to a person and to the session."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..memory.time_phrases import format_clock
from ..model import Model
from ..models.backbone import Sampling
from ..settings import Settings
from ..stream.engine.engine import Engine
from ..stream.engine.settings import EngineSettings
from ..stream.live.live_source import LiveSource
from ..stream.live.opening import feed_of, open_live
from .ask import POCKET_HINT
from .asking import UNCALIBRATED, note, own_warnings
from .chat_commands import COMMANDS
from .conversation import Conversation
from .evidence import EvidenceFolder
from .halting import Halting
from .model_options import ModelChoice, load
from .prompt_line import DIM, PromptLine
from .voices import JsonVoice, PlainVoice, TerminalVoice, Voice

DEADLINE_S = 3600.0
"""Of an answer: a person waits as long as they like, and has Ctrl-C."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Hold what the command line asks for, checked.  fps None looks at every frame."""

    source: str
    model: ModelChoice
    memory: Path | None = None
    fps: float | None = 2.0
    max_tokens: int = 128
    temperature: float = 0.0
    watches: tuple[str, ...] = ()
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False


def run(request: ChatRequest, settings: Settings, folder: EvidenceFolder | None) -> None:
    """Hold a conversation on the terminal, or with a pipe.

    What is wrong with the source's word or the model shows before anything starts; memory is saved at the end, however
    that comes.  Raises the errors of open_live, load and Engine.session.
    """
    with own_warnings():
        feed = feed_of(request.source, request.fps)
        if request.model.name == "pocket" and feed.kind != "theatre" and not request.quiet:
            note(POCKET_HINT.removeprefix("onlooker: "))
        line = None
        if sys.stdin.isatty() and sys.stdout.isatty() and not request.as_json:
            line = PromptLine(sys.stdout, [f"/{name} " for name in COMMANDS])
            line.above(f"loading {request.model.name} …", DIM)
        model = Model(load(request.model, request.quiet))
        if not (model.backbone.card.retrieval_heads or request.quiet):
            note(UNCALIBRATED.format(model=request.model.name))
        if request.memory is not None:
            with model.session(settings, memory=request.memory) as past:  # an engine's session does not ask whose it is
                past.belongs_to(feed.identity, feed.name)
        with Halting() as halting, Engine(model, EngineSettings(deadline_s=DEADLINE_S)) as engine:
            session = engine.session(settings, memory=request.memory)
            source = open_live(request.source, request.fps)
            session.watch_source(source)
            conversation = Conversation(
                session,
                source,
                voice_of(request, line),
                halting,
                Sampling(request.max_tokens, request.temperature),
                saves=request.memory is not None,
                folder=folder,
                timings=request.verbose,
            )
            try:
                for condition in request.watches:
                    conversation.take(f"/watch {condition}")
                if line is None:
                    listen_to_pipe(conversation, source, halting)
                else:
                    if not request.quiet:
                        line.clear()  # what was typed meanwhile stands at the prompt
                        line.above(greeting(request, source.name, session.stats.span_us))
                    talk(conversation, line, halting)
            finally:
                halting.ignore()  # saving must not be cut off
                conversation.close()
                session.close()
        if request.memory is not None and not request.quiet:
            note(f"the memory is saved; go on with: onlooker chat {feed.name} --memory {request.memory}")


def greeting(request: ChatRequest, name: str, span_us: tuple[int, int] | None) -> str:
    """Say what is going on and how to begin."""
    held = "" if span_us is None else f", which remembers {format_clock(span_us[0])} to {format_clock(span_us[1])}"
    kept = f" Kept in {request.memory}{held}." if request.memory is not None else ""
    return f"Watching {name} with {request.model.name}.{kept} Ask anything; /help lists commands, Ctrl-D ends."


def voice_of(request: ChatRequest, line: PromptLine | None) -> Voice:
    """Choose how it speaks."""
    if line is not None:
        return TerminalVoice(line)
    return JsonVoice(sys.stdout, note) if request.as_json else PlainVoice(sys.stdout, note)


def talk(conversation: Conversation, line: PromptLine, halting: Halting) -> None:
    """Take lines from a person until they end it."""
    conversation.on_idle(lambda: line.tick(prompt_of(conversation)))
    warned = False
    while not halting.is_over():
        try:
            words = line.read(prompt_of(conversation))
        except EOFError:
            line.write("\n")
            return
        except KeyboardInterrupt:
            typed = line.abandoned
            line.write("\n")
            if halting.is_over() or (warned and not typed):
                return
            if not typed:
                line.above("Ctrl-C again, Ctrl-D or /quit ends; Enter goes on.", DIM)
            warned = not typed
            continue
        warned = False
        try:
            if not conversation.take(words):
                return
        except KeyboardInterrupt:
            line.write("\n")
            if halting.is_over():
                return


def listen_to_pipe(conversation: Conversation, source: LiveSource, halting: Halting) -> None:
    """Take lines from a pipe until it ends.  Raises SourceError where no frame came for a question."""
    for words in lines_of(sys.stdin.readline):
        if halting.is_over() or not conversation.take(words, patient=True):
            return
        if conversation.blind:
            raise SourceError(f"no frame came from {source.name}: {source.status.reason or source.status.state}")


def lines_of(read: Callable[[], str]) -> Iterator[str]:
    """Give lines as they come; a file's own iterator may wait for more of them first."""
    while line := read():
        yield line


def prompt_of(conversation: Conversation) -> str:
    """Write the prompt: the stream's clock, of one width for an hour, so that it can be put in the place of another."""
    return f"{format_clock(conversation.now_us):>5} > "
