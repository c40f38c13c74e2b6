"""The pictures of an answer's evidence, written as JPEG files."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from ..answer import Answer


class EvidenceFolder:
    """Write thumbnails into a folder, which is made when it is not there.

    failure: None, or why a picture could not be written later; an answer is not lost for that.

    Names say the question's number, when it was asked if that is not the end, the rank and the time of what is shown:
    question-1-asked-2m30s-rank-1-at-0m19s.jpg.  Files of the same name are replaced.
    Raises SettingsError at once when nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.failure: str | None = None
        try:
            self.folder = folder.expanduser()
            probe = self.folder / ".onlooker-can-write"
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except (OSError, RuntimeError) as error:  # RuntimeError: "~name" without such a user
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
            raise SettingsError(f"cannot write evidence to {folder}: {why}; give --evidence another folder") from error

    def write(self, answer: "Answer", number: int, with_asked: bool) -> tuple[str | None, ...]:
        """Write an answer's pictures, and give a path for each piece of evidence, None where it has no picture."""
        asked = f"-asked-{_spell(answer.asked_at_us)}" if with_asked else ""
        paths: list[str | None] = []
        for rank, evidence in enumerate(answer.evidence, 1):
            if not evidence.thumbnail:
                paths.append(None)
                continue
            path = self.folder / f"question-{number}{asked}-rank-{rank}-at-{_spell(evidence.start_us)}.jpg"
            try:
                path.write_bytes(evidence.thumbnail)
            except OSError as error:
                self.failure = f"cannot write {path}: {error.strerror or error}"
                paths.append(None)
            else:
                paths.append(str(path))
        return tuple(paths)


def _spell(time_us: int) -> str:
    """Write a time for a file's name, where no colon may stand: "3m25s", "1h03m25s"."""
    minutes, seconds = divmod(max(time_us, 0) // 1_000_000, 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours}h{rest:02d}m{seconds:02d}s" if hours else f"{minutes}m{seconds:02d}s"
