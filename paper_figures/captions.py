r"""Captions whose numbers come from the records, as LaTeX macros, so that a paper never retypes a number.

Use `Caption` in a figure's module and `write_captions` for the file. A figure `first_pair` with the number `rms mediant`
gives `\FirstPairRmsMediant` and the whole caption as `\FirstPairCaption`; `\input` the file in the preamble.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from empirical.records import write_text
from theory.trial_statistics import agreement, is_judged

_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "′": r"$'$", "ρ": r"$\rho$", "−": r"$-$", "√": r"$\surd$", "λ": r"$\lambda$", "η": r"$\eta$", "×": r"$\times$",
    "→": r"$\to$", "±": r"$\pm$", "²": r"$^2$", "≤": r"$\le$",
}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """What a figure shows, in words.

    Attributes:
        text: the caption in plain text; `{name of a number}` stands for a number.
        numbers: name -> number in plain text, as it shall be printed.
    """

    text: str
    numbers: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> str:
        """The caption with its numbers, for people without LaTeX.

        Raises KeyError where the text names a number that is not there.
        """
        return re.sub(r"\{([^{}]+)\}", lambda found: self.numbers[found[1]], self.text)


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A measured number in plain text, with the given number of decimals."""
    return f"{value:{'+' if sign else ''}.{digits}f}"


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A number with the ends of its 95% interval: `0.63 [0.59, 0.67]`; alone where there is no interval."""
    text = number(value, digits)
    return (
        f"{text} [{number(low, digits)}, {number(high, digits)}]" if np.isfinite([low, high]).all() else text
    )


def agreement_numbers(tables: Mapping[str, pd.DataFrame], names: tuple[str, ...]) -> dict[str, str]:
    """How many simulated rows of these tables lie within 4 standard errors of theory: numbers `rows agreeing`, `rows`."""
    judged = [agreement(tables[name]) for name in names if is_judged(tables[name])]
    return {"rows agreeing": str(sum(int(j.sum()) for j in judged)), "rows": str(sum(len(j) for j in judged))}


def macro(*words: str) -> str:
    r"""A LaTeX macro's name from words: letters only, digits spelled, as in `\FirstPairRmsVTwo`."""
    spelled = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit[0])]} ", " ".join(words))
    return "\\" + "".join(part[0].upper() + part[1:] for part in re.split(r"[^A-Za-z]+", spelled) if part)


def latex(text: str) -> str:
    """Plain text as LaTeX: special characters escaped, Greek letters and signs in math."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def write_captions(path: Path, captions: Mapping[str, tuple[Caption, str]]) -> Path:
    """Write figure -> (caption, what its records are) as macros, atomically; returns the path.

    Raises ValueError where two numbers would have the same macro.
    """
    lines = [
        "% Captions and measured numbers of the figures, written by python -m paper_figures.make_all --captions.",
        r"% In the preamble: \input{captions}; in a figure: \caption{\FirstPairCaption}.",
    ]
    seen: dict[str, str] = {}
    for name, (caption, source) in captions.items():
        lines += ["", f"% {name}: {source}"]
        for key, value in caption.numbers.items():
            own = macro(name, key)
            if own in seen:
                raise ValueError(f"{name}: the number {key!r} and {seen[own]} have the same macro {own}")
            seen[own] = f"{name} {key!r}"
            lines.append(f"\\newcommand{{{own}}}{{{latex(value)}}}")
        parts = re.split(r"(\{[^{}]+\})", caption.text)
        # {} after a macro keeps the space that follows it.
        words = "".join(macro(name, p[1:-1]) + "{}" if p.startswith("{") else latex(p) for p in parts)
        lines.append(f"\\newcommand{{{macro(name, 'caption')}}}{{{words}}}")
    write_text(path, "\n".join(lines) + "\n")
    return path
