r"""Theorem 2: the law of a mixture, its slope as a mediant, random counts, and where the mediant fails."""

from theory.derivations.step import (
    Derivation,
    Equation,
    Expression,
    Inequality,
    Step,
    held,
    product,
    ratio,
    sp,
)

_S, _s = sp.Symbol("S", integer=True, positive=True), sp.Symbol("s", integer=True)
_p, _ai, _bi, _vi, _gi = (sp.IndexedBase(name) for name in "pabvg")
_rho = sp.IndexedBase(r"\rho")
_n, _c = sp.symbols("n c", positive=True)
_theta = sp.Symbol(r"\theta", real=True)

_p1, _p2, _b1, _b2 = sp.symbols("p_1 p_2 b_1 b_2", positive=True)
_r1, _r2, _r = sp.symbols(r"\rho_1 \rho_2 \rho", real=True)
_gap = sp.Symbol("g", nonnegative=True)
_v, _g1, _g2, _delta = sp.symbols(r"v g_1 g_2 \delta", real=True)
_beta = sp.Symbol(r"\beta", positive=True)
_a1, _a2 = sp.symbols("a_1 a_2", real=True)


def _sum(term: Expression) -> Expression:
    return sp.Sum(term, (_s, 1, _S))


def _slope(p: Expression) -> Expression:
    """Slope of two sources at share p of the first."""
    return ratio(p * _b1 * _r1 + (1 - p) * _b2 * _r2, p * _b1 + (1 - p) * _b2)


# The counterexample: same mean on both targets, Σ_shift = diag(1, 4).
_mu, _first, _second = sp.Matrix([1, 0]), sp.Matrix([1, 1]), sp.Matrix([1, -1])
_wide = sp.diag(1, 4)


def _limit_slope_squared(mean: Expression) -> Expression:
    """ρ² = (νᵀν)/(νᵀΣ_shiftν) for equal signals."""
    return sp.Trace(product(mean.T, mean)) / sp.Trace(product(mean.T, _wide, mean))


def _third(distance: Expression) -> Expression:
    """Third moment of N(distance, v) around 0."""
    return distance**3 + 3 * _v * distance


_mixture = (_p1 * _b1 * _r1 + _p2 * _b2 * (_r1 + _gap)) / (_p1 * _b1 + _p2 * _b2)

MIXING = Derivation(
    number="Theorem 2",
    title="input mixing dilutes",
    key="T2",
    assumptions=(
        r"Sources $s = 1, \dots, S$ with shares $p_s$ of $n$ samples; $a_s = \nu_s\cdot\mu_{shift}$, $b_s = "
        r"\nu_s\cdot\mu_{ref}$.",
        r"Fixed counts: source $s$ gives exactly $p_s n$ samples. Random counts: every sample picks its source with "
        r"probability $p_s$.",
        r"Proportional covariances $\Sigma_{shift} = c^2\Sigma_{ref}$ where the slope is concerned; source $s$ alone "
        r"has slope $\rho_s = a_s/(c b_s)$.",
    ),
    steps=(
        Step(
            r"**Law, fixed counts.** On any direction let $\nu_s$ and $\Gamma_s$ project to $a_s$ and $v_s$. By step "
            r"T1.2 the log generating functions of "
            r"$n p_s$ samples, each divided by $n$, add up to",
            Equation(
                _sum(held(_n * _p[_s]) * (_ai[_s] * _theta / _n + _vi[_s] * _theta**2 / (2 * _n**2))),
                _theta * _sum(_p[_s] * _ai[_s]) + _theta**2 / (2 * _n) * _sum(_p[_s] * _vi[_s]),
            ),
            r"so $\hat w \sim N(\nu_p, \Gamma_p/n)$ with $\nu_p = \sum_s p_s\nu_s$, $\Gamma_p = \sum_s p_s\Gamma_s$: "
            r"the mixture is one more source, and "
            r"Theorem 1 applies to it.",
        ),
        Step(
            r"**Slope.** By T1.18 it is $\nu_p\cdot\mu_{shift}/(c \nu_p\cdot\mu_{ref})$. With $a_s = c\rho_s b_s$ it "
            r"is a weighted mediant.",
            Equation(
                _sum(_p[_s] * held(_c * _bi[_s]) * _rho[_s]) / (_c * _sum(_p[_s] * _bi[_s])),
                _sum(_p[_s] * _bi[_s] * _rho[_s]) / _sum(_p[_s] * _bi[_s]),
            ),
            r"The weight of a source is share times reference signal. No $\Gamma_s$ enters.",
        ),
        Step(
            r"**Dilution.** If all $b_s \gt 0$ the Lemma bounds it by the sources' slopes. For two, $\rho_2 = \rho_1 "
            r"+ g$, $g \ge 0$: from below",
            Inequality(_mixture, ">=", _r1, _p2 * _b2 * _gap / (_p1 * _b1 + _p2 * _b2)),
        ),
        Step(
            r"and from above.",
            Inequality(_r1 + _gap, ">=", _mixture, _p1 * _b1 * _gap / (_p1 * _b1 + _p2 * _b2)),
            r"No mixture beats the best source's slope or falls under the worst's.",
        ),
        Step(
            r"**Half-way share.** Two sources meet at the mean of their slopes at $p_1 = b_2/(b_1 + b_2)$.",
            Equation(_slope(ratio(_b2, _b1 + _b2)), (_r1 + _r2) / 2),
            r"Then $p_1b_1 = p_2b_2$: equal weights.",
        ),
        Step(
            r"**Share for a wanted slope** $\rho$: the mixture has it where its shift signal is $c\rho$ times its "
            r"reference signal. The difference "
            r"is linear in the share $p$ of the first source,",
            Equation(
                (_p1 * _a1 + (1 - _p1) * _a2) - _c * _r * (_p1 * _b1 + (1 - _p1) * _b2),
                _p1 * ((_a1 - _c * _r * _b1) + (_c * _r * _b2 - _a2)) - (_c * _r * _b2 - _a2),
            ),
            r"so that $p = (c\rho b_2 - a_2)/((a_1 - c\rho b_1) + (c\rho b_2 - a_2))$.",
        ),
        Step(
            r"**Random counts.** Now every sample is drawn from source $s$ with probability $p_s$. Its projection has "
            r"second moment "
            r"$\sum_s p_s(v_s + g_s^2)$, with $g_s$ the projection of $\nu_s$, and mean $\sum_s p_s g_s$; so its variance is",
            Equation(
                _sum(_p[_s] * (_vi[_s] + _gi[_s] ** 2)) - _sum(_p[_s] * _gi[_s]) ** 2,
                _sum(_p[_s] * _vi[_s]) + (_sum(_p[_s] * _gi[_s] ** 2) - _sum(_p[_s] * _gi[_s]) ** 2),
            ),
            r"As this holds in every direction, $n \mathrm{Cov}\hat w = \Gamma_p + \sum_s p_s\nu_s\nu_s^\top - "
            r"\nu_p\nu_p^\top$.",
        ),
        Step(
            r"The extra term is a variance, never negative. For two sources ($p_1 + p_2 = 1$ may be multiplied in):",
            Inequality(
                (_p1 + _p2) * (_p1 * _g1**2 + _p2 * _g2**2),
                ">=",
                (_p1 * _g1 + _p2 * _g2) ** 2,
                _p1 * _p2 * (_g1 - _g2) ** 2,
            ),
            r"Random counts lower the place and leave the slope (it depends on the mean alone).",
        ),
        Step(
            r"The law is no longer Gaussian: one sample has third central moment (two sources of equal noise $v$ at "
            r"distances $(1 - p_1)\delta$ "
            r"and $-p_1\delta$ from the common mean, $\delta = g_1 - g_2$; $N(g, v)$ has third moment $g^3 + 3vg$)",
            Equation(
                _p1 * _third((1 - _p1) * _delta) + (1 - _p1) * _third(-_p1 * _delta),
                _p1 * (1 - _p1) * (1 - 2 * _p1) * _delta**3,
            ),
            r"where a Gaussian has 0. (At $p_1 = 1/2$ the fourth cumulant, $-\delta^4/8$, takes its place.)",
        ),
        Step(
            r"**Where the mediant fails, 1.** With $b_2 = -\beta \lt 0$ the reference signal of a mixture vanishes at "
            r"$p = \beta/(b_1 + \beta)$:",
            Equation(ratio(_beta, _b1 + _beta) * _b1 - (1 - ratio(_beta, _b1 + _beta)) * _beta, sp.S.Zero),
            r"there the slope is unbounded unless the shift's signal vanishes too.",
        ),
        Step(
            r"**Where the mediant fails, 2.** Without proportional covariances: $\mu = (1, 0)$ on both targets, "
            r"$\Sigma_{ref} = I$, "
            r"$\Sigma_{shift} = \mathrm{diag}(1, 4)$. The sources $\nu = (1, 1)$",
            Equation(_limit_slope_squared(_first), sp.Rational(2, 5)),
            r"and",
        ),
        Step(
            r"$\nu = (1, -1)$ both have $\rho^2 = 2/5$, $\rho = 0.632$,",
            Equation(_limit_slope_squared(_second), sp.Rational(2, 5)),
        ),
        Step(
            r"and their equal mixture has $\rho = 1$, above both.",
            Equation(_limit_slope_squared((_first + _second) / 2), sp.Integer(1)),
            r"Averaging cancels the direction in which the shift is wide.",
        ),
    ),
    conclusion=r"$\rho_p = \sum_s p_sb_s\rho_s/\sum_s p_sb_s$, a weighted mediant: for $b_s \gt 0$ and proportional covariances "
    r"mixing dilutes the most "
    r"robust source. Random counts add $\frac{1}{n}(\sum_s p_s\nu_s\nu_s^\top - \nu_p\nu_p^\top)$ to the covariance "
    r"and change the place only.",
)
