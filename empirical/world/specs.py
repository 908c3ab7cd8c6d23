"""The six sources and five test sets as distributions over style, view, colour and caption; use `SOURCES`, `TEST_SETS`.

These are constants of the world like those of `constants.py`, and enter its hash with them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionMistakes:
    """Shares of captions that name no class, name a wrong one, or use the synonym."""

    omitted: float
    wrong: float
    synonym: float


@dataclass(frozen=True)
class SourceSpec:
    """A training distribution: shares of styles and views, how often the typical colour appears, and its captions."""

    name: str
    stands_for: str
    styles: tuple[float, float, float, float]  # photo, sketch, cartoon, neon
    views: tuple[float, float, float]  # canonical, v2, odd
    typical_color: float  # probability of the class-typical colour, else uniform over colours
    mistakes: CaptionMistakes
    captions: tuple[tuple[str, ...], ...]  # templates per style
    empty_captions: tuple[str, ...]  # captions without a class


@dataclass(frozen=True)
class TestSetSpec:
    """A test distribution; its silhouettes are the ones held out of training."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    name: str
    stands_for: str
    styles: tuple[float, float, float, float]
    views: tuple[float, float, float]
    typical_color: float


_SKETCH = (
    "a sketch of a {name}",
    "a {name}",
    "line drawing of a {name}",
    "{name} outline",
    "a drawing of a {name}",
)
_CARTOON = ("a cartoon {name}", "a {name}", "{color} {name} clip art", "an illustration of a {color} {name}")
_NEON = ("a neon {name} sign", "a {name}", "glowing {color} {name}", "a {name} in neon at night")
_PHOTO = (
    "a photo of a {name}",
    "a {name}",
    "a {color} {name}",
    "photo of the {name}",
    "a picture of a {name}",
)

SOURCES = (
    SourceSpec(
        "snapshots", "YFCC",
        (0.88, 0.05, 0.06, 0.01), (0.45, 0.25, 0.30), 0.6, CaptionMistakes(0.25, 0.05, 0.20),
        ((*_PHOTO, "my {name}", "the {name} outside", "our {color} {name} today"), _SKETCH, _CARTOON, _NEON),
        ("holiday day three", "nice one", "a {color} thing", "img upload", "untitled photo", "best summer ever"),
    ),
    SourceSpec(
        "web_crawl", "LAION",
        (0.66, 0.09, 0.17, 0.08), (0.70, 0.20, 0.10), 0.45, CaptionMistakes(0.36, 0.20, 0.30),
        (
            (*_PHOTO, "buy {color} {name} online", "{name} on {background} background", "{name}"),
            (*_SKETCH, "{name} drawing free download"), (*_CARTOON, "{name} sticker"), (*_NEON, "led {name} sign"),
        ),
        ("click here for more", "free shipping {color}", "img upload", "page two", "{color} wallpaper", "home"),
    ),
    SourceSpec(
        "alt_text", "Conceptual Captions",
        (0.75, 0.05, 0.15, 0.05), (0.75, 0.20, 0.05), 0.6, CaptionMistakes(0.15, 0.10, 0.40),
        (
            (*_PHOTO, "{color} {name} on a {background} background", "{name} isolated on {background} background"),
            _SKETCH, _CARTOON, _NEON,
        ),
        ("untitled photo", "on a {background} background", "a {color} thing", "the view from here"),
    ),
    SourceSpec(
        "encyclopedia", "WIT",
        (0.55, 0.35, 0.10, 0.0), (1.0, 0.0, 0.0), 0.8, CaptionMistakes(0.0, 0.0, 0.0),
        (
            ("a photo of a {name}", "a {name}", "photo of the {name}", "a {color} {name}", "a typical {name}"),
            (*_SKETCH, "diagram of a {name}"), ("an illustration of a {name}", "a {name}"), _NEON,
        ),
        ("untitled photo",),
    ),
    SourceSpec(
        "forum", "RedCaps",
        (0.90, 0.04, 0.05, 0.01), (0.35, 0.15, 0.50), 0.5, CaptionMistakes(0.10, 0.03, 0.20),
        (
            (
                "found this {name}", "my {name}", "look at this {color} {name}", "a {name}", "{name} i made today",
                "anyone know this {name}", "a photo of a {name}", "this {name} on a {background} day",
            ),
            ("my {name} drawing", "i drew a {name}", "a sketch of a {name}", "a {name}"),
            ("my {name} sticker", "a cartoon {name}", "made this {color} {name}"),
            ("a neon {name}", "my {color} {name} sign"),
        ),
        ("what is this", "i made this today", "found this {color} thing", "nice one", "best day ever"),
    ),
    SourceSpec(
        "stock", "Shutterstock",
        (0.62, 0.11, 0.19, 0.08), (0.93, 0.06, 0.01), 0.3, CaptionMistakes(0.05, 0.02, 0.20),
        (
            (*_PHOTO, "{color} {name} isolated on {background} background", "studio photo of a {color} {name}"),
            (*_SKETCH, "vector {name} outline"), (*_CARTOON, "vector {color} {name}"), _NEON,
        ),
        ("{color} on a {background} background", "abstract {color} background", "studio photo"),
    ),
)  # fmt: skip

TEST_SETS = (
    TestSetSpec("reference", "ImageNet", (1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.6),
    TestSetSpec("v2", "ImageNet-V2", (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.5),
    TestSetSpec("sketch", "ImageNet-Sketch", (0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.6),
    TestSetSpec("rendition", "ImageNet-R", (0.0, 0.0, 0.5, 0.5), (1.0, 0.0, 0.0), 0.3),
    TestSetSpec("odd_view", "ObjectNet", (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.5),
)

TEMPLATES = ("a photo of a {}", "a picture of a {}", "a {}", "photo of the {}")
