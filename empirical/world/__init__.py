"""The embedded testbed: a rendered image-text world with six sources and five test sets.

Use `render_source` for training pairs, `render_test_set` for test sets, `class_names`, `templates` and `vocabulary` for the
text side; `WORLD_HASH` identifies the world and belongs into every record made with it.
"""

from empirical.world.atlas import world_hash
from empirical.world.captions import class_names, templates, vocabulary
from empirical.world.sources import SOURCE_NAMES, TEST_SET_NAMES, render_source, render_test_set

WORLD_HASH = world_hash()

__all__ = [
    "SOURCE_NAMES",
    "TEST_SET_NAMES",
    "WORLD_HASH",
    "class_names",
    "render_source",
    "render_test_set",
    "templates",
    "vocabulary",
]
