"""A calibration's result as tables: for a terminal, and as a page of documentation."""

from dataclasses import asdict

from .calibration import TOP_BLOCKS, Calibration, Found
from .relevance import LEAST_QUESTIONS, MOST_MISSED, lay_out
from .tally import aligned


def tables(result: Calibration) -> list[tuple[str, list[list[str]]]]:
    """Lay the result out: single heads, baselines, greedy steps, relevance; each a title and lines, the head first."""
    picking, judging, other = result.questions
    single = [["layer", "head", "span recall", "reciprocal rank"]]
    single += [[str(h.layer), str(h.head), str(found), f"{found.rank:.2f}"] for h, found in result.single[:16]]
    base = [["baseline", "span recall", "reciprocal rank"]]
    base += [[name, str(found), f"{found.rank:.2f}"] for name, found in result.baselines]
    base.append([f"{TOP_BLOCKS} blocks drawn by chance", f"{result.chance:.2f}", ""])
    steps = [["heads", "joins (layer:head)", "picking", "judging", "other wording", "chosen"]]
    for number, step in enumerate(result.steps):
        head = f"{step.head.layer}:{step.head.head}"
        kept = "yes" if number < len(result.chosen) else ""
        reworded = "" if step.reworded is None else str(step.reworded)
        steps.append([str(number + 1), head, str(step.picking), str(step.judging), reworded, kept])
    laid = [
        (
            f"Single heads, the best of {len(result.single)} ({result.pickers} picking streams, {picking} questions)",
            single,
        ),
        (f"Without calibration ({result.judges} judging streams, {judging} questions)", base),
        (f"Heads together, picked greedily (judging: {judging} questions; other wording: {other})", steps),
    ]
    if result.relevance is not None:
        title = (
            "Relevance: the best cosine of a word of the question with a visual token, for things shown and never shown"
        )
        laid.append((title, lay_out(result.relevance)))
    return laid


def _intro(result: Calibration) -> str:
    return (
        f"{result.model}: {result.streams}, {result.blocks} blocks. Span recall is the share of needed spans with a "
        f"block among the {TOP_BLOCKS} best, with its 95 % interval over questions."
    )


def verdict(result: Calibration) -> str:
    """Say in a line what was chosen, and how sure that is."""
    heads = ", ".join(f"{head.layer}:{head.head}" for head in result.chosen)
    found = result.steps[len(result.chosen) - 1].judging
    line = (
        f"Chosen (layer:head): {heads}; on streams that did not pick them they find {found} of the needed spans "
        f"({result.questions[1]} questions)"
    )
    if result.sure:
        return line
    return f"{line}. That is not surely better than luck: chance finds {result.chance:.2f}, and {result.tries}"


def _relevance_line(result: Calibration) -> str:
    if result.relevance is None:
        return (
            f"Relevance was not measured: that takes {LEAST_QUESTIONS} questions or more about what was there, and as "
            "many about what never was, in both halves"
        )
    return (
        f"Relevant: above a cosine of {result.relevance.threshold:g}, chosen on the picking streams so that at most "
        f"{MOST_MISSED:.0%} of what was shown there is missed"
    )


def text_report(result: Calibration) -> str:
    """Write the result for a terminal."""
    parts = [_intro(result)]
    for title, lines in tables(result):
        parts.append(f"{title}:\n\n{aligned(lines)}")
    parts.append(verdict(result))
    return "\n\n".join([*parts, _relevance_line(result)] if result.sure else parts)


def markdown_report(result: Calibration, command: str) -> str:
    """Write the result as a page of documentation.  command: what made it."""
    parts = [f"# Retrieval heads of {result.model}", f"Made by `{command}`.", _intro(result)]
    for title, lines in tables(result):
        head, *body = ["| " + " | ".join(line) + " |" for line in lines]
        parts += [f"## {title}", "\n".join([head, "|" + " --- |" * len(lines[0]), *body])]
    parts.append(f"{verdict(result)}.")
    return "\n\n".join([*parts, f"{_relevance_line(result)}."] if result.sure else parts) + "\n"


def to_dict(result: Calibration) -> dict[str, object]:
    """Lay the result out for JSON: every head alone, the greedy steps, the choice."""

    def found(measured: Found | None) -> dict[str, float] | None:
        return None if measured is None else asdict(measured)

    return {
        "model": result.model,
        "streams": result.streams,
        "questions": dict(zip(("picking", "judging", "reworded"), result.questions, strict=True)),
        "chance": result.chance,
        "sure": result.sure,
        "retrieval_heads": [[head.layer, head.head] for head in result.chosen],
        "relevance": None if result.relevance is None else result.relevance.threshold,
        "single": [{"layer": head.layer, "head": head.head, **asdict(alone)} for head, alone in result.single],
        "steps": [
            {
                "layer": step.head.layer,
                "head": step.head.head,
                "picking": found(step.picking),
                "judging": found(step.judging),
                "reworded": found(step.reworded),
            }
            for step in result.steps
        ],
    }
