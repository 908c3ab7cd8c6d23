r"""φ, Φ and the hazard h of the standard normal as symbols that print as such and unfold by `doit`."""

from typing import Any

from theory.derivations.step import sp


class _Named(sp.Function):
    """A function of one variable that prints as a letter until `doit` unfolds it."""

    nargs = 1
    letter = ""

    def explicit(self) -> Any:
        """The formula behind the letter."""
        raise NotImplementedError

    def doit(self, **hints: Any) -> Any:
        """Unfold."""
        return self.explicit().doit(**hints)

    def fdiff(self, argindex: int = 1) -> Any:
        """Derivatives go through the formula."""
        t = sp.Dummy("t")
        return type(self)(t).explicit().diff(t).subs(t, self.args[0])

    def _latex(self, printer: Any, exp: Any = None) -> str:
        power = f"^{{{exp}}}" if exp is not None else ""
        return f"{self.letter}{power}({printer._print(self.args[0])})"


class Density(_Named):
    r"""$\varphi(t)$."""

    letter = r"\varphi"

    def explicit(self) -> Any:
        """exp(−t²/2)/√(2π)."""
        return sp.exp(-(self.args[0] ** 2) / 2) / sp.sqrt(2 * sp.pi)


class Cumulative(_Named):
    r"""$\Phi(t)$."""

    letter = r"\Phi"

    def explicit(self) -> Any:
        """erfc(−t/√2)/2."""
        return sp.erfc(-self.args[0] / sp.sqrt(2)) / 2


class Survival(_Named):
    r"""$\bar\Phi(t) = 1-\Phi(t)$."""

    letter = r"\bar\Phi"

    def explicit(self) -> Any:
        """erfc(t/√2)/2."""
        return sp.erfc(self.args[0] / sp.sqrt(2)) / 2


class Hazard(_Named):
    r"""$h(t) = \varphi(t)/\bar\Phi(t)$."""

    letter = "h"

    def explicit(self) -> Any:
        """φ(t)/(1 − Φ(t))."""
        t = self.args[0]
        return Density(t).explicit() / Survival(t).explicit()
