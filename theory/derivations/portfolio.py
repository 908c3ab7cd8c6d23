r"""Section 5: the best mixture is a portfolio: its stationary point, that it is the best, and two cases that are not convex."""

from theory.derivations.step import Derivation, Equation, Inequality, Step, held, product, ratio, sp

_S = sp.Symbol("S", integer=True, positive=True)
_R = sp.MatrixSymbol("R", _S, _S)  # M = RᵀR: symmetric and positive definite for an invertible R
_M = product(_R.T, _R)
_inverse = product(_R.I, _R.T.I)
_a, _p = sp.MatrixSymbol("a", _S, 1), sp.MatrixSymbol("p", _S, 1)
_x, _z, _c = sp.symbols("X Z c", positive=True)
_y, _lam = sp.symbols(r"Y \lambda", real=True)

# Two sources written out.
_p1, _p2, _a1, _a2 = sp.symbols("p_1 p_2 a_1 a_2", real=True)
_m11, _m12, _m22 = sp.symbols("M_{11} M_{12} M_{22}", real=True)
_T, _n, _t = sp.symbols("T n t", positive=True)
_form = _m11 * _p1**2 + 2 * _m12 * _p1 * _p2 + _m22 * _p2**2
_two = (_a1 * _p1 + _a2 * _p2) / sp.sqrt(_form)
_best = {_p1: _m22 * _a1 - _m12 * _a2, _p2: _m11 * _a2 - _m12 * _a1}

PORTFOLIO = Derivation(
    number="Best mixture",
    title="a portfolio",
    key="BM",
    assumptions=(
        r"$\Sigma_{shift} = c^2I$, common $\Gamma$, $T = \mathrm{tr}\Gamma$, $n$ samples in all, $G_{st} = \nu_s\cdot\nu_t$, "
        r"$a_s = \nu_s\cdot\mu_{shift}$.",
        r"$m(p) = a\cdot p/(c\sqrt{p^\top Gp + T/n})$ on $\sum_s p_s = 1$. With $M = G + "
        r"(T/n)\mathbf{1}\mathbf{1}^\top$ the root is "
        r"$\sqrt{p^\top Mp}$ there, and $m$ no longer depends on the length of $p$.",
    ),
    steps=(
        Step(
            r"$p^\top Mp = p^\top Gp + T/n$ on the simplex: $p^\top\mathbf{1}\mathbf{1}^\top p = (\sum_s p_s)^2$; two "
            r"sources, $p_2 = 1 - p_1$:",
            Equation(_T / _n * (_p1 + held(1 - _p1)) ** 2, _T / _n),
        ),
        Step(
            r"**Scale does not matter**: $m(tp) = m(p)$ for $t \gt 0$.",
            Equation(_two.subs({_p1: _t * _p1, _p2: _t * _p2}, simultaneous=True), _two),
            r"So the constraint may be dropped and put back by scaling.",
        ),
        Step(
            r"**Stationary point.** The gradient of $a\cdot p/\sqrt{p^\top Mp}$ is a positive multiple of $(p^\top "
            r"Mp) a - (a\cdot p) Mp$. At "
            r"$p^{\ast} = M^{-1}a$ (here $M = R^\top R$ with $R$ invertible) the vector $Mp^{\ast}$ is",
            Equation(product(_M, product(_inverse, _a)), _a),
        ),
        Step(
            r"and both numbers in front are the same, $p^{\ast\top}Mp^{\ast} = a^\top M^{-1}a = a\cdot p^{\ast}$: the "
            r"gradient vanishes.",
            Equation(
                product(product(_inverse, _a).T, _M, product(_inverse, _a)), product(_a.T, _inverse, _a)
            ),
            "For any number of sources.",
        ),
        Step(
            r"The gradient itself, two sources, first entry:",
            Equation(
                sp.Derivative(_two, _p1),
                (_form * _a1 - (_a1 * _p1 + _a2 * _p2) * (_m11 * _p1 + _m12 * _p2))
                / _form ** sp.Rational(3, 2),
            ),
        ),
        Step(
            r"**It is the best.** The squared length of $p - \lambda M^{-1}a$ in $M$ is never negative; multiplied out it is",
            Equation(
                product((_p - _lam * product(_inverse, _a)).T, _M, _p - _lam * product(_inverse, _a)),
                product(_p.T, _M, _p)
                - _lam * product(_p.T, _a)
                - _lam * product(_a.T, _p)
                + _lam**2 * product(_a.T, _inverse, _a),
            ),
        ),
        Step(
            r"With $X = p^\top Mp$, $Y = a\cdot p$, $Z = a^\top M^{-1}a$ and $\lambda = Y/Z$ this reads",
            Equation(_x - 2 * ratio(_y, _z) * _y + ratio(_y, _z) ** 2 * _z, _x - _y**2 / _z),
            r"so $Y^2/X \le Z$ for every $p$: the squared margin is at most $Z/c^2$, with equality at $p^{\ast}$ (Cauchy "
            r"and Schwarz). It belongs to a mixture "
            r"if $\mathbf{1}^\top M^{-1}a \gt 0$, and to one without negative shares if all entries have one sign.",
        ),
        Step(
            r"Two sources: $p^{\ast} \propto (M_{22}a_1 - M_{12}a_2, M_{11}a_2 - M_{12}a_1)$; $Mp^{\ast}$ is "
            r"proportional to $a$, for",
            Equation(
                (_m11 * held(_best[_p1]) + _m12 * held(_best[_p2])) * _a2,
                (_m12 * held(_best[_p1]) + _m22 * held(_best[_p2])) * _a1,
            ),
        ),
        Step(
            r"**Not convex when noise differs.** $G = 0$, $n = c = 1$, $a = (1, 2)$, $T = (1, 4)$: the squared margin "
            r"at share $p$ of source 1 is "
            r"$(2 - p)^2/(4 - 3p)$, which falls below the common value 1 of both ends by",
            Inequality(
                sp.S.One,
                ">",
                ratio((2 - held(1 / (1 + _t))) ** 2, 4 - 3 * held(1 / (1 + _t))),
                _t / ((1 + _t) * (1 + 4 * _t)),
            ),
            r"with $p = 1/(1 + t)$, any $t \gt 0$: every mixture is worse than either source.",
        ),
        Step(
            r"In the middle:",
            Equation(
                ratio((held(sp.Rational(1, 2)) + 1) ** 2, held(sp.Rational(1, 2)) + 2), sp.Rational(9, 10)
            ),
            r"$m = .949$.",
        ),
    ),
    conclusion=r"Without a sign constraint $p^{\ast} \propto M^{-1}a$ maximises the margin at $\sqrt{a^\top M^{-1}a}/c$.",
)
