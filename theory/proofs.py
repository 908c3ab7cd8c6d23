r"""The theorems derived step by step in SymPy: check every step, and render them as a document.

    python -m theory.proofs                              # prove all steps, print the document
    python -m theory.proofs --out docs/derivations.md    # prove all steps, write it

Use `DERIVATIONS` for the theorems in order, `check_all` to prove them, `document` for the Markdown. Each derivation lives in
`theory.derivations`, one family per module; `theory.derivations.step` says what counts as a proof. SymPy loads with this
module, which `import theory` therefore leaves out.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from theory.derivations.break_even import BREAK_EVEN
from theory.derivations.classes import CLASSES
from theory.derivations.ensembling import ENSEMBLING
from theory.derivations.filtering import FILTERING, TRUNCATION
from theory.derivations.learned_weights import LEARNED_WEIGHTS
from theory.derivations.links import LINKS
from theory.derivations.mediant import MEDIANT
from theory.derivations.mixing import MIXING
from theory.derivations.portfolio import PORTFOLIO
from theory.derivations.single_source import SINGLE_SOURCE
from theory.derivations.step import Derivation, ProofError
from theory.derivations.wrong_line import WRONG_LINE

#: In the order in which they build on each other.
DERIVATIONS: tuple[Derivation, ...] = (
    MEDIANT,
    SINGLE_SOURCE,
    MIXING,
    ENSEMBLING,
    TRUNCATION,
    FILTERING,
    BREAK_EVEN,
    PORTFOLIO,
    LINKS,
    CLASSES,
    LEARNED_WEIGHTS,
    WRONG_LINE,
)

_PREFACE = r"""# Derivations

The theorems of the linear dilution setting, derived step by step. Every displayed formula is a claim that SymPy proves for all
values of its symbols: an equation because the difference of its sides reduces to 0, an inequality because the difference of its
sides equals an expression whose sign follows from the signs of its symbols. Nothing is checked at numbers. Formulas are
printed from the very objects that are proved. Dimensions are arbitrary where matrices stand for themselves or sums run over an
index; where a step is written out for two sources, the Lemma (by induction) or the words beside it carry it to any number.
Steps marked *cited* rest on a fact that is named, not proved; there are {cited} of them among {total} steps.

`python -m theory.proofs --out docs/derivations.md` proves all steps and writes this page.

{contents}
"""


def check_all(progress: Callable[[str], None] = lambda _: None) -> None:
    """Prove every step of every derivation.

    Args:
        progress: told the number of each derivation once it is proved.

    Raises:
        ProofError: naming the first step that SymPy does not prove.
    """
    for derivation in DERIVATIONS:
        derivation.check()
        progress(f"{derivation.number}: {len(derivation.steps)} steps")


def document() -> str:
    """All derivations as one Markdown page with LaTeX (not checked here)."""
    steps = [step for derivation in DERIVATIONS for step in derivation.steps]
    contents = "\n".join(f"- [{d.heading}](#{_anchor(d.heading)})" for d in DERIVATIONS)
    cited = sum(not step.is_proved for step in steps)
    preface = _PREFACE.format(cited=cited, total=len(steps), contents=contents)
    return "\n".join([preface, *(derivation.to_markdown() for derivation in DERIVATIONS)])


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    kept = (letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


@dataclass(frozen=True)
class Arguments:
    """Prove the theorems step by step and render them."""

    out: Path | None = None
    """Markdown file to write; the page is printed if left out."""
    quiet: bool = False
    """Say nothing while proving."""


def main(arguments: Arguments) -> int:
    """Prove, then print or write; 1 if a step is not proved."""

    def say(message: str) -> None:
        if not arguments.quiet:
            print(f"proved {message}", file=sys.stderr, flush=True)

    try:
        check_all(say)
    except ProofError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.out is None:
        print(document(), end="")
        return 0
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(document(), encoding="utf-8")
    if not arguments.quiet:
        print(f"written {arguments.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Arguments)))
