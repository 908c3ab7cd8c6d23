r"""What a proof is made of: claims that SymPy proves or refuses, steps that state and justify them, derivations of steps.

Use `Equation` and `Inequality` as claims, `Step` for one line of a proof and `Derivation` for a whole one. A claim is proved
when SymPy turns it into something evident, for all values of its symbols: an equation when the difference of its sides
reduces to 0, an inequality when that difference equals a certificate whose sign follows from the signs of the symbols alone
(sums, products and squares of non-negative terms). Nothing is evaluated at numbers. A step without a claim is a cited fact
and says so; there are few of them (the law of a sum of Gaussians, say).
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import sympy
from sympy.printing.precedence import PRECEDENCE

#: A scalar, a symbolic matrix of any size, or an explicit one.
Expression: TypeAlias = Any
#: SymPy, unannotated: its partial annotations refuse most of algebra.
sp: Any = sympy


class ProofError(Exception):
    """A step does not follow."""


_INDEX = sp.Symbol("index", integer=True)


def _released(expression: Expression) -> Expression:
    """Everything that was kept as written (`held`, `ratio`) let go, and products of matrices out of their brackets."""

    def flatten(whole: Expression) -> Expression:
        return product(*[factor for part in whole.args for factor in sp.MatMul.make_args(part)])

    free = expression.replace(lambda part: isinstance(part, _Held | _Ratio), lambda part: part.explicit())
    return free.replace(lambda part: isinstance(part, sp.MatMul), flatten)


def _over_terms(total: Expression) -> Expression:
    """A sum over its terms, with what does not depend on the index in front, and every index under one name."""
    result = total.function
    for index, low, high in total.limits:
        parts = []
        for term in sp.Add.make_args(sp.expand(result)):
            constant, inner = term.as_independent(index, as_Add=False)
            if inner == 1:
                parts.append(constant * (high - low + 1))
                continue
            name = index if inner.has(sp.Sum) else _INDEX
            parts.append(constant * sp.Sum(inner.subs(index, name), (name, low, high)))
        result = sp.Add(*parts)
    return result


def _standard_turn(trace: Expression) -> tuple[Expression, ...]:
    """The factors of a trace, rotated to one standard order: tr(AB) = tr(BA)."""
    factors: list[Any] = []
    for factor in sp.MatMul.make_args(trace.arg.doit()):
        base, power = (factor.base, factor.exp) if isinstance(factor, sp.MatPow) else (factor, 1)
        factors += sp.MatMul.make_args(base) * int(power)
    turns = [(*factors[k:], *factors[:k]) for k in range(len(factors))]
    return min(turns, key=lambda turn: [str(factor) for factor in turn])


def _opaque(expression: Expression) -> Expression:
    """Sums over an index and traces of symbolic matrices as unknowns, equal ones (by linearity, by rotation) as the same.

    SymPy would try to evaluate them, in vain and not always to an end.
    """
    unknowns: dict[Any, Any] = {}

    def name(key: Any) -> Expression:
        return unknowns.setdefault(key, sp.Dummy())

    def trace(part: Expression) -> Expression:
        return name(_standard_turn(part)) if part.has(sp.MatrixSymbol) else part.doit()

    expression = expression.replace(lambda part: isinstance(part, sp.Trace), trace)
    expression = expression.replace(lambda part: isinstance(part, sp.Sum), _over_terms)
    return expression.replace(lambda part: isinstance(part, sp.Sum), name)


def is_zero(expression: Expression) -> bool:
    """Whether SymPy reduces an expression to 0 by steps that keep its value: it never errs on the side of yes."""
    if isinstance(expression, sp.MatrixBase):
        return all(is_zero(entry) for entry in expression)
    expression = _released(expression)
    if isinstance(expression, sp.MatrixExpr):
        return bool(expression.doit().expand().doit().is_ZeroMatrix)
    expression = _opaque(expression).doit()
    for simplify in (sp.expand, lambda e: sp.expand(sp.fraction(sp.together(e))[0]), sp.simplify):
        if expression == 0:
            return True
        expression = simplify(expression)
    return expression == 0


def product(*factors: Expression) -> Expression:
    """A product of matrices as it stands, neither shortened nor multiplied out before the proof does so."""
    return sp.MatMul(*factors, evaluate=False)


class _Held(sp.Function):
    """Kept as written until a proof lets go, in brackets where its own signs could be misread."""

    nargs = 1
    precedence = PRECEDENCE["Atom"]

    def explicit(self) -> Expression:
        """Let go."""
        return self.args[0]

    def _latex(self, printer: Any, exp: Any = None) -> str:
        inner = self.args[0]
        text = printer._print(inner)
        if isinstance(inner, sp.Add) or inner.could_extract_minus_sign() or exp is not None:
            text = rf"\left({text}\right)"
        return text if exp is None else f"{text}^{{{exp}}}"


class _Ratio(sp.Function):
    """A fraction that is not shortened until a proof lets go."""

    nargs = 2
    precedence = PRECEDENCE["Atom"]

    def explicit(self) -> Expression:
        """Shorten."""
        return self.args[0] / self.args[1]

    def _latex(self, printer: Any, exp: Any = None) -> str:
        text = rf"\frac{{{printer._print(self.args[0])}}}{{{printer._print(self.args[1])}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def held(expression: Expression) -> Expression:
    """An expression kept as written until the proof releases it, so that a step shows what it starts from."""
    return _Held(expression)


def ratio(numerator: Expression, denominator: Expression) -> Expression:
    """A fraction kept as written until the proof shortens it."""
    return _Ratio(numerator, denominator)


@dataclass(frozen=True)
class Equation:
    """The claim left = right. Integrals, derivatives, limits and sums stand there unevaluated and are worked out by the proof."""

    left: Expression
    right: Expression

    def holds(self) -> bool:
        """Whether SymPy proves it."""
        return is_zero(_released(self.left) - _released(self.right))

    def to_latex(self) -> str:
        """The equation in LaTeX."""
        return f"{latex(self.left)} = {latex(self.right)}"


@dataclass(frozen=True)
class Inequality:
    """The claim left > right or left ≥ right, with left − right written as an expression whose sign is evident.

    Attributes:
        left: larger side.
        relation: ">" or ">=".
        right: smaller side.
        certificate: equals left − right and has its sign by the signs of its symbols alone.
    """

    left: Expression
    relation: Literal[">", ">="]
    right: Expression
    certificate: Expression

    def holds(self) -> bool:
        """Whether the certificate equals the difference and SymPy's rules for signs give it the sign claimed."""
        sign = self.certificate.is_positive if self.relation == ">" else self.certificate.is_nonnegative
        return bool(sign) and is_zero(self.left - self.right - self.certificate)

    def to_latex(self) -> str:
        """The inequality in LaTeX, as difference = certificate > 0."""
        sign = r"\gt" if self.relation == ">" else r"\ge"
        taken = latex(self.right)
        taken = rf"\left({taken}\right)" if isinstance(self.right, sp.Add) else taken
        difference = latex(self.left) if self.right == 0 else f"{latex(self.left)} - {taken}"
        if self.right == 0 and self.left == self.certificate:
            return f"{difference} {sign} 0"
        return f"{difference} = {latex(self.certificate)} {sign} 0"


Claim: TypeAlias = Equation | Inequality


@dataclass(frozen=True)
class Step:
    """One line of a proof.

    Attributes:
        statement: what it says, Markdown with inline LaTeX.
        claim: what SymPy proves; None for a cited fact.
        because: why, in words: the operation that leads from one side to the other, or the source of a cited fact.
    """

    statement: str
    claim: Claim | None = None
    because: str = ""

    @property
    def is_proved(self) -> bool:
        """Whether the step carries a claim (otherwise it is a cited fact)."""
        return self.claim is not None

    def check(self) -> None:
        """Prove the claim.

        Raises:
            ProofError: SymPy does not prove it.
        """
        if self.claim is not None and not self.claim.holds():
            raise ProofError(f"not proved: {self.statement}\n  {self.claim.to_latex()}")


@dataclass(frozen=True)
class Derivation:
    """A theorem with its assumptions, steps and conclusion.

    Attributes:
        number: how it is called everywhere ("Theorem 1").
        title: what it is about.
        assumptions: Markdown, one sentence each.
        steps: in order.
        conclusion: what has been shown, Markdown.
        key: prefix of the step numbers.
    """

    number: str
    title: str
    assumptions: tuple[str, ...]
    steps: tuple[Step, ...]
    conclusion: str
    key: str

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"{self.number}: {self.title}"

    def label(self, index: int) -> str:
        """Number of a step, from 0: T1.1, T1.2, ..."""
        return f"{self.key}.{index + 1}"

    def check(self) -> None:
        """Prove every step.

        Raises:
            ProofError: naming the first step that SymPy does not prove.
        """
        for index, step in enumerate(self.steps):
            try:
                step.check()
            except ProofError as error:
                raise ProofError(f"{self.number}, step {self.label(index)} {error}") from None

    def to_markdown(self) -> str:
        """The derivation as a section of a Markdown document with LaTeX."""
        lines = [f"## {self.heading}", "", "**Setting.**", ""]
        lines += [f"- {assumption}" for assumption in self.assumptions]
        for index, step in enumerate(self.steps):
            kind = "" if step.is_proved else " *(cited)*"
            lines += ["", f"**{self.label(index)}**{kind} {step.statement}"]
            if step.claim is not None:
                lines += ["", "$$", step.claim.to_latex(), "$$"]
            if step.because:
                lines += ["", step.because]
        return "\n".join([*lines, "", f"**So:** {self.conclusion}", ""])


# Markdown eats a backslash before punctuation, also inside formulas on some sites: only letters may follow one.
_SAFE = (
    (r"\\", r"\cr "),
    (r"\,", r"\thinspace "),
    (r"\;", r"\thickspace "),
    (r"\left\{", r"\left\lbrace "),
    (r"\right\}", r"\right\rbrace "),
    ("+ - ", "- "),
    ("<", r"\lt "),
    (">", r"\gt "),
)


def latex(expression: Expression) -> str:
    """An expression in LaTeX that survives Markdown."""
    text = sp.latex(expression)
    for old, new in _SAFE:
        text = text.replace(old, new)
    return text
