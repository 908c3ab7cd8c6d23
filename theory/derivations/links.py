r"""Section 7: the link among K classes, its value at 0, and the closed form for two."""

from theory.derivations.normal import Cumulative, Density
from theory.derivations.step import Derivation, Equation, Step, ratio, sp

_m, _z = sp.symbols("m z", real=True)
_K = sp.Symbol("K", integer=True, positive=True)
_r = sp.Symbol("r", real=True)
_phi, _Phi = Density(_z), Cumulative(_z)
_F = sp.Function(r"\Phi")(_z)  # chain rule only: any function will do

LINKS = Derivation(
    number="Links",
    title="d′ among K classes, and the probit for two",
    key="LK",
    assumptions=(
        r"The right score is $N(m, 1)$, the $K - 1$ others are $N(0, 1)$, all independent. The accuracy of the "
        r"largest score is "
        r"$A_K(m) = \int \varphi(z - m)\Phi(z)^{K-1}dz$, and $d' = A_K^{-1}$(accuracy).",
    ),
    steps=(
        Step(
            r"**Chance.** $\Phi^K/K$ is an antiderivative of $\varphi\Phi^{K-1}$, for any function $\Phi$ with "
            r"derivative $\varphi$:",
            Equation(sp.Derivative(_F**_K / _K, _z), sp.Derivative(_F, _z) * _F ** (_K - 1)),
            r"and $\Phi$ runs from 0 to 1, so $A_K(0) = 1/K$ and $d'(1/K) = 0$.",
        ),
        Step(
            r"**Two classes.** With the right score as $z + m$, $A_2(m) = \int \varphi(z)\Phi(z + m)dz$. Its "
            r"derivative, taken under the integral, is",
            Equation(
                sp.Integral(_phi * Density(_z + _m), (_z, -sp.oo, sp.oo)),
                Density(_m / sp.sqrt(2)) / sp.sqrt(2),
            ),
            r"Complete the square: $z^2 + (z + m)^2 = 2(z + m/2)^2 + m^2/2$.",
        ),
        Step(
            r"That is also the derivative of $\Phi(m/\sqrt{2})$,",
            Equation(sp.Derivative(Cumulative(_m / sp.sqrt(2)), _m), Density(_m / sp.sqrt(2)) / sp.sqrt(2)),
        ),
        Step(
            r"and both are $1/2$ at $m = 0$.",
            Equation(sp.Integral(_phi * _Phi, (_z, -sp.oo, sp.oo)), Cumulative(sp.S.Zero)),
            r"So $A_2(m) = \Phi(m/\sqrt{2})$ for every $m$.",
        ),
        Step(
            r"Hence $d' = \sqrt{2}$ times the probit:",
            Equation(Cumulative(ratio(sp.sqrt(2) * _m, sp.sqrt(2))), Cumulative(_m)),
            r"ratios of margins are the same in either.",
        ),
        Step(
            r"**Common noise.** Scores that share noise of correlation $r$ differ by $N(m, 2(1 - r))$; in units in "
            r"which the difference of independent scores "
            r"has variance 2 the margin is",
            Equation(ratio(_m, sp.sqrt(2 * (1 - _r))) * sp.sqrt(2), _m / sp.sqrt(1 - _r)),
            r"Only differences of scores decide, so $d' = m/\sqrt{1 - r}$ for every $K$.",
        ),
    ),
    conclusion=r"$A_K(0) = 1/K$, $A_2(m) = \Phi(m/\sqrt{2})$, and common noise stretches $d'$ by $1/\sqrt{1 - r}$.",
)
