"""What captions say: filled templates with their deliberate mistakes, and the world's vocabulary; use `write_captions`."""

import re

import numpy as np

from empirical.world.constants import WORLD
from empirical.world.render import Scenes
from empirical.world.specs import SourceSpec

_VOWEL_ARTICLE = re.compile(r"\ba (?=[aeiou]|hour)")


def _fill(template: str, name: str, color: str, background: str) -> str:
    return _VOWEL_ARTICLE.sub("an ", template.format(name=name, color=color, background=background))


def write_captions(source: SourceSpec, scenes: Scenes, rng: np.random.Generator) -> list[str]:
    """A caption per scene in the source's voice: omits the class, names a wrong one or uses the synonym at its shares."""
    n, num_classes = len(scenes), len(WORLD.classes)
    uniform = rng.random((n, 4))
    other_class = (scenes.classes + rng.integers(1, num_classes, n)) % num_classes
    mistakes = source.mistakes
    captions = []
    for i in range(n):
        omitted, wrong, synonym = uniform[i, :3] < (mistakes.omitted, mistakes.wrong, mistakes.synonym)
        templates = source.empty_captions if omitted else source.captions[scenes.styles[i]]
        named = WORLD.classes[other_class[i] if wrong else scenes.classes[i]]
        captions.append(
            _fill(
                templates[int(uniform[i, 3] * len(templates))],
                named.synonym if synonym else named.name,
                WORLD.colors[scenes.colors[i]].name,
                WORLD.backgrounds[scenes.backgrounds[i]].name,
            )
        )
    return captions


def class_names() -> list[str]:
    """The classes' names in the order of their labels."""
    return [c.name for c in WORLD.classes]


def templates() -> list[str]:
    """Zero-shot prompts, `{}` standing for the class name."""
    return list(WORLD.templates)


def vocabulary() -> list[str]:
    """Every word that a caption or prompt of the world can hold, sorted."""
    texts = [*WORLD.templates, "an"]
    for source in WORLD.sources:
        texts += [template for per_style in source.captions for template in per_style] + list(
            source.empty_captions
        )
    words = {word for text in texts for word in re.sub(r"\{\w*\}", " ", text).split()}
    words |= {word for c in WORLD.classes for word in (c.name, c.synonym)}
    words |= {c.name for c in WORLD.colors} | {b.name for b in WORLD.backgrounds}
    return sorted(words)
