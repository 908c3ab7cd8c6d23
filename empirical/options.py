"""Options that commands share: the types of repeated ones, and the check of numbers. Loads neither torch nor jax."""

from typing import Annotated, TypeAlias

import tyro

from empirical.errors import StudyError

Repeated: TypeAlias = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
"""An option that is given once for each value; a metavar comes on top where the values have a form."""
NamedPaths: TypeAlias = Annotated[Repeated, tyro.conf.arg(metavar="NAME=PATH")]
NamedShards: TypeAlias = Annotated[Repeated, tyro.conf.arg(metavar="NAME=SHARDS")]
Mixtures: TypeAlias = Annotated[Repeated, tyro.conf.arg(metavar="A:SHARE+B:SHARE")]
TestSetNames: TypeAlias = Annotated[Repeated, tyro.conf.arg(metavar="TEST_SET")]
Device: TypeAlias = Annotated[str, tyro.conf.arg(help="cpu, cuda, or auto (a GPU where there is one).")]
"""Of a command that does one thing on one device; `checkpoints.default_device` understands it."""


def check_at_least(arguments: object, **least: int) -> None:
    """Refuse options below what they need: `check_at_least(arguments, batch_size=1)`.

    Raises: StudyError that names the option, its value and what is allowed.
    """
    for name, low in least.items():
        value = getattr(arguments, name)
        if not value >= low:
            raise StudyError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
