"""Phrases of training: ways to ask that the bench does not use, so that a person's own words are understood too."""

import re

import numpy as np

from onlooker.theatre.cast import plural
from onlooker.theatre.questions import WORDINGS, Kind

# [a|b]: one of them.  {x}, {y}: things; {xs}: plural.
LEADS = ("", "", "", "", "please tell me", "tell me", "can you tell me", "say", "do you know", "so")
ENDS = ("?", "?", "?", "", " please?", " in the stream?", " in the video?")
PHRASES: dict[str, tuple[str, ...]] = {
    "present": (
        ("[what|which thing|which things|who] [is|are] [on the screen|in the picture|in the scene|in view|on the stage|"
        "visible|shown|being shown|displayed|up|there|here] [now|right now|just now|at the moment|at this moment|"
        "currently|at present|at this time]"),
        ("[what|which things] [do|can|could] [you|i|we] [see|find|look at] "
        "[now|right now|just now|at the moment|currently]"),
        "[now|right now|currently|at the moment], what [is there|is shown|do you see|can be seen|is on]",
        "what [are you|is the camera] [seeing|watching|looking at] [now|right now|at the moment]",
        "[describe|name] what [is|you see] [there|here|on the screen] [now|right now|at the moment]",
    ),
    "presence": (
        "[did|does] [a|the|any] {x} [ever|] [appear|show|show up|come|come along|pass|pass by|turn up|happen]",
        "[was|is] [a|the|any] {x} [ever|] [there|shown|visible|seen|here|in the picture|in the scene|in the video]",
        "[did|have|could|can] [you|we|i] [ever|] [see|seen|find|found|notice] [a|the|any] {x}",
        "[was|is|has] there [ever|] [been|] [a|any] {x}",
        "[has|had] [a|the|any] {x} [ever|] [appeared|been there|been seen|come|passed]",
    ),
    "place": (
        ("[where|in which place|at which place|at what place|at which position|at what position|"
        "at what side|at which spot|in what spot|in what part|on which side|on what side|in which corner|"
        "in what corner] "
        "[was|is|did you see|did you find|could you see|have you seen] the {x} [located|standing|placed|shown|]"),
        "what [was|is] the [place|spot|position|location|corner|side] of the {x}",
        ("[which|what] [part|place|spot|corner|side|position] [of the picture|of the screen|of the scene|] "
        "[was|did] the {x} [in|at|on|stand in|appear in]"),
        "where [exactly|] [did|was|could] the {x} [stand|appear|show|sit|be|come up|located|seen]",
    ),
    "colour": (
        ("[what|which] [colour|color] [was|is|had] the [background|backdrop|scene|picture] [of|with|behind|around|"
        "under|near|for] the {x}"),
        ("[what|which] [was|is] the [colour|color] [behind|around|of the scene with|of the background of|"
        "of the backdrop behind|of the screen with|where there was] the {x}"),
        "the {x} [was shown|stood|appeared|was|came] [on|in front of|before|against] [what|which] [colour|color]",
        "[what|which] [colour|color] was [there|it|the scene|the screen] when [you saw|i saw|there was] the {x}",
        "the [colour|color] [behind|around] the {x}",
    ),
    "neighbour": (
        ("[what|which thing|who|which] [was|stood|is|sat|came|appeared|stayed|could you see|did you see|do you see|did "
        "you find] [next to|beside|by|near|with|together with|along with|at the side of|around] the {x}"),
        "the {x} [was|stood|appeared|came] [next to|beside|with|near|by|together with] [what|which thing|who]",
        "[who|what] was the [neighbour|thing] [of|next to|beside|near|by] the {x}",
        ("[what else|what other thing] [was|did you see|was there|was shown|came|appeared] [with|by|near|next to|along "
        "with] the {x}"),
    ),
    "motion": (
        ("[which|what] [way|direction|side] [did|was|is|had] the {x} [move|go|going|moving|travel|travelling|head|"
        "heading|drift|drifting|come|pass|walk|run|gone|moved]"),
        ("[in|to|towards] [which|what] [way|direction|side] [did|was] the {x} [move|go|going|moving|travel|head|"
        "heading|drift|drifting|walk]"),
        "[where|where to] [did|was] the {x} [move|go|going to|moving to|head|heading|drift to|heading to|travel to]",
        "[what|which] was the [direction|way|motion|movement] of the {x}",
        "[how|which way] [did|was] the {x} [move|moving|travel|go] [across the screen|over the screen|]",
    ),
    "order": (
        ("[which|what|who|which thing] [came|was|appeared|was shown|was seen|was there|did you see|did i see|could you "
        "see] [first|earlier|sooner|before the other], the {x} or the {y}"),
        ("[did|could] [you|we|i] see the {x} "
        "[before or after|after or before|earlier or later, before or after] the {y}"),
        ("[did|was|has] the {x} [come|appear|show|shown|seen|come up|there|been there] "
        "[before or after|after or before] the {y}"),
        "the {x} or the {y}: [which|what] [came|was|appeared] [first|earlier|sooner]",
        "[of|between] the {x} and the {y}, [which|what] [came|was shown|was|appeared] [first|earlier|sooner]",
        "the {x} was [before or after|after or before] the {y}",
    ),
    "count": (
        ("how many {xs} [were|are|was] [there|shown|visible|on the screen|in the picture|in the scene|in view|together|"
        "at once|at the same time|]"),
        "how many {xs} [did|do|could|can|have] [you|we|i] [see|count|find|seen|found|look at]",
        "[what|which] [was|is] the [number|count] of {xs}",
        "[the number of|count all the|count the|number of] {xs}",
        "how many {xs} [appeared|came|stood|sat|showed up|could be seen|did it show]",
    ),
    "text": (
        ("[what|which] [word|text|sign] [was|is|stood|did you read|could you read|did you see] [written|shown|] "
        "[on the sign|on the board|] [near|by|beside|next to|with|at] the {x}"),
        ("what [did|does|was|is] the [sign|board|text|word] [near|by|beside|next to|with|at|around] the {x} [say|read|"
        "said|show|written|]"),
        "[read|say] the [word|text|sign|board] [near|by|beside|next to|with|that was with] the {x}",
        ("[what|which word] was [written|on the sign|on the board|to read|the word] [near|by|beside|next to|with|when "
        "there was] the {x}"),
        "the {x} [had|was near|was next to|stood by] a [sign|board], what [did it say|was on it|was written]",
    ),
    "when": (
        ("[when|at what time|at which time|at which minute|what time|at which moment|at what moment] "
        "[did|was|could|is] [you see|we see|i see|you find|you look at] the {x}"),
        ("[when|at what time|at which time|at which minute|what time] [did|was|has|is] the {x} [appear|shown|there|"
        "seen|come|come up|visible|on|pass|here|show up]"),
        "[what|which] was the [time|minute|clock|moment] [when|at which|as] [you saw|there was|we saw] the {x}",
        "[when|at what time] was there [a|the] {x}",
        "[the time|the minute] [of|when there was|when you saw] the {x}",
    ),
}  # fmt: skip
CHOICE = re.compile(r"\[([^\]]*)\]")


def phrase(rng: np.random.Generator, kind: Kind, x: str = "", y: str = "") -> str:
    """Make a phrase of a kind; never the wording that the bench holds out."""
    held_out = WORDINGS[kind][-1].format(x=x, y=y, xs=plural(x) if x else "").rstrip("?")
    while True:
        form = PHRASES[kind][int(rng.integers(len(PHRASES[kind])))]
        body = CHOICE.sub(lambda found: str(rng.choice(found[1].split("|"))), form)
        body = " ".join(body.format(x=x, y=y, xs=plural(x) if x else "").split())
        if body != held_out:
            lead = LEADS[int(rng.integers(len(LEADS)))]
            return f"{lead} {body}{ENDS[int(rng.integers(len(ENDS)))]}".strip()
