r"""Section 4: when more, worse data are worth adding: the stationary amount, the four regions, the break-even and the bar."""

from theory.derivations.step import Derivation, Equation, Inequality, Step, held, ratio, sp

# Positive unless the text says otherwise: only a₂, β and the inner product may be negative.
_n1, _T, _c, _A, _kappa, _alpha = sp.symbols(r"n_1 T c A \kappa \alpha", positive=True)
_a1, _g11, _g22 = sp.symbols("a_1 G_{11} G_{22}", positive=True)
_a2, _beta, _g12 = sp.symbols(r"a_2 \beta G_{12}", real=True)
_x = sp.Symbol("n_2", nonnegative=True)
_up, _down, _gap = sp.symbols("b e g", positive=True)
_D_nonneg = sp.Symbol("D_0", nonnegative=True)
_B_nonneg = sp.Symbol("b", nonnegative=True)
_e_nonneg = sp.Symbol("e", nonnegative=True)

_length = _kappa + _beta * _x + _alpha * _x**2
_margin = (_A + _a2 * _x) / (_c * sp.sqrt(_length))
_first = _a2 * _kappa - _A * _beta / 2
_second = _A * _alpha - _a2 * _beta / 2
_bar = (_n1 * _g12 + _T / 2) / (_n1 * _g11 + _T)
_example = {_A: 5, _a2: sp.Rational(2, 5), _alpha: 1, _beta: 1005, _kappa: 5025}


BREAK_EVEN = Derivation(
    number="Break-even",
    title="when is more, worse data worth adding?",
    key="BE",
    assumptions=(
        r"$\Sigma_{shift} = c^2I$, common $\Gamma$ with $T = \mathrm{tr}\Gamma$; $n_1$ samples of source 1 are kept, "
        r"$n_2$ of source 2 are added. "
        r"$G_{st} = \nu_s\cdot\nu_t$, $a_s = \nu_s\cdot\mu_{shift}$, $a_1 \gt 0$.",
        r"$A = n_1a_1$, $\alpha = G_{22}$, $\beta = 2n_1G_{12} + T$, $\kappa = n_1^2G_{11} + n_1T$.",
        r"$B_0 = a_2\kappa - A\beta/2$ and $D_0 = A\alpha - a_2\beta/2$.",
    ),
    steps=(
        Step(
            r"By Theorem 2 the mixture has margin $m = (n_1a_1 + n_2a_2)/(c\sqrt{\Vert n_1\nu_1 + n_2\nu_2\Vert^2 + "
            r"(n_1 + n_2)T})$. The squared length is",
            Equation(
                (_n1**2 * _g11 + 2 * _n1 * _x * _g12 + _x**2 * _g22) + (_n1 + _x) * _T,
                held(_n1**2 * _g11 + _n1 * _T) + held(2 * _n1 * _g12 + _T) * _x + _g22 * _x**2,
            ),
            r"$\kappa + \beta n_2 + \alpha n_2^2$.",
        ),
        Step(
            r"**Derivative.** $dm/dn_2$ has the sign of $B_0 - n_2D_0$:",
            Equation(
                sp.Derivative(_margin, _x),
                (held(_first) - _x * held(_second)) / (_c * _length ** sp.Rational(3, 2)),
            ),
            r"Quotient rule; the terms in $n_2^2$ cancel, so there is at most one stationary point.",
        ),
        Step(
            r"**Stationary amount** $n_2^{\ast} = B_0/D_0$:",
            Equation(held(_first) - ratio(_first, _second) * held(_second), sp.S.Zero),
        ),
        Step(
            r"**Region 1**, $B_0 \gt 0$, $D_0 \gt 0$. Below $n_2^{\ast}$, at $n_2 = n_2^{\ast} - g$, more data help:",
            Inequality(_up - (_up / _down - _gap) * _down, ">", sp.S.Zero, _down * _gap),
            r"(here $b = B_0$, $e = D_0$). At $n_2^{\ast} + g$ the sign is opposite: add exactly $n_2^{\ast}$.",
        ),
        Step(
            r"**Region 2**, $B_0 = b \gt 0$, $D_0 = -e \le 0$: more is always better.",
            Inequality(_up - _x * (-_e_nonneg), ">", sp.S.Zero, _up + _x * _e_nonneg),
        ),
        Step(
            r"**Region 3**, $B_0 = -b \le 0$, $D_0 \ge 0$: every sample hurts, as $-(B_0 - n_2D_0)$ is",
            Inequality(_B_nonneg + _x * _D_nonneg, ">=", sp.S.Zero, _B_nonneg + _x * _D_nonneg),
            "Add nothing.",
        ),
        Step(
            r"**Region 4**, $B_0 = -b \lt 0$, $D_0 = -e \lt 0$: beyond $n_2^{\ast} = b/e$, at $n_2 = b/e + g$, more "
            r"data help,",
            Inequality(-_up - (_up / _down + _gap) * (-_down), ">", sp.S.Zero, _down * _gap),
        ),
        Step(
            r"and before it, at $n_2 = b/e - g$, they hurt: $-(B_0 - n_2D_0)$ is",
            Inequality(_up - (_up / _down - _gap) * _down, ">", sp.S.Zero, _down * _gap),
            r"Hurts first, helps later.",
        ),
        Step(
            r"**Break-even** in region 4. The margin is back at $m(0)$ where its square is, $(A + a_2n_2)^2\kappa = "
            r"A^2(\kappa + \beta n_2 + \alpha n_2^2)$, and the "
            r"sign is right, $A + a_2n_2 \gt 0$:",
            Equation(
                (_A + _a2 * _x) ** 2 * _kappa - _A**2 * _length,
                _x * (_x * (_a2**2 * _kappa - _A**2 * _alpha) - _A * (_A * _beta - 2 * _a2 * _kappa)),
            ),
            r"so $n_{be} = A(A\beta - 2a_2\kappa)/(a_2^2\kappa - A^2\alpha)$; its numerator is $-2AB_0 \gt 0$.",
        ),
        Step(
            r"With $a_2 \gt 0$ there is such a point iff $a_2^2\kappa \gt A^2\alpha$, that is, iff the end $m(\infty) "
            r"= a_2/(c\sqrt{\alpha})$ lies above "
            r"$m(0) = A/(c\sqrt{\kappa})$.",
            Equation(
                sp.Limit(_margin**2, _x, sp.oo) - _margin.subs(_x, 0) ** 2,
                (_a2**2 * _kappa - _A**2 * _alpha) / (_c**2 * _alpha * _kappa),
            ),
            r"With $a_2 \le 0$ the end is not positive and the data never pay: there the root of the squares is a "
            r"point where $m = -m(0)$.",
        ),
        Step(
            r"**The bar.** The first added sample helps iff $B_0 \gt 0$, that is, iff $a_2/a_1$ exceeds $(n_1G_{12} + "
            r"T/2)/(n_1G_{11} + T)$:",
            Equation(
                _a2 * held(_n1**2 * _g11 + _n1 * _T) - _n1 * _a1 * held(2 * _n1 * _g12 + _T) / 2,
                _n1 * _a1 * (_n1 * _g11 + _T) * (_a2 / _a1 - _bar),
            ),
            r"The factors in front are positive.",
        ),
        Step(
            r"Scarce data lower the bar to one half,",
            Equation(sp.Limit(_bar, _n1, 0), sp.Rational(1, 2)),
            r"because even data half as good reduce the noise;",
        ),
        Step(
            r"with plenty it is the overlap of the means.",
            Equation(sp.Limit(_bar, _n1, sp.oo), _g12 / _g11),
            r"",
        ),
        Step(
            r"**Example.** $n_1 = 5$, $T = 1000$, $\Vert\nu_s\Vert = 1$, $G_{12} = 1/2$, $a_2/a_1 = 2/5$: the margin "
            r"is lowest at",
            Equation(ratio(_first, _second).subs(_example), sp.Rational(1005, 392)),
            r"$n_2 = 2.56$,",
        ),
        Step(
            r"and back at its start at",
            Equation(
                ratio((_A + _a2 * _x) ** 2, _length).subs(_example).subs(_x, held(sp.Rational(5025, 779))),
                ratio(_A**2, _kappa).subs(_example),
            ),
            r"$n_2 = 5025/779 = 6.45$ (squared margins, $c = 1$).",
        ),
    ),
    conclusion=r"One stationary amount and four regions by the signs of $B_0$ and $D_0$; hurts first, helps later where both are "
    r"negative, and then it pays "
    r"from $n_{be}$ on iff $a_2 \gt 0$ and $a_2^2\kappa \gt A^2\alpha$.",
)
