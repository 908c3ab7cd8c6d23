r"""Theorem 1: the law of the averaging classifier, its moments, the line and how it bends."""

from theory.derivations.normal import Density
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

_n, _q, _c, _v = sp.symbols("n q c v", positive=True)
_theta, _z = sp.symbols(r"\theta z", real=True)
_a, _u = sp.symbols("a u", real=True)
_y = sp.Symbol("y")

# The classifier in coordinates in which its noise is white and the target's covariance is diagonal.
_d = sp.Symbol("d", integer=True, positive=True)
_i = sp.Symbol("i", integer=True)
_m, _lam, _mu = sp.IndexedBase("m"), sp.IndexedBase(r"\lambda"), sp.IndexedBase("u")
_m0 = sp.Symbol("m", real=True)
_T, _Sigma = sp.MatrixSymbol("T", _d, _d), sp.MatrixSymbol("Sigma", _d, _d)
_nu_v, _mu_v = sp.MatrixSymbol("nu", _d, 1), sp.MatrixSymbol("mu", _d, 1)
_mu_w = sp.MatrixSymbol(r"\mu'", _d, 1)
_noise = product(_T, _T.T)
_white_mean, _diagonal = product(_T.I, _nu_v), product(_T.T, _Sigma, _T)

# Signal and noise lengths on the two targets: A = νᵀΣν, B = tr ΓΣ.
_Ar, _Br, _As, _Bs = sp.symbols(r"A_{ref} B_{ref} A_{shift} B_{shift}", positive=True)
_ar, _as = sp.symbols(r"a_{ref} a_{shift}", positive=True)
_wr, _ws = sp.symbols(r"w_{ref} w_{shift}", real=True, nonzero=True)
_A, _B, _at = sp.symbols("A B a", positive=True)
_square = (_as / _ar) ** 2 * (_n * _Ar + _Br) / (_n * _As + _Bs)
_cov, _var = sp.symbols("K V", real=True)
_place = _at / sp.sqrt(_A + _B / _n)


def _over_features(term: Expression) -> Expression:
    return sp.Sum(term, (_i, 1, _d))


def _moment(function: Expression) -> Expression:
    """Expectation over one coordinate x = m + z."""
    return sp.Integral(function * Density(_z), (_z, -sp.oo, sp.oo))


def _diag(*entries: int) -> Expression:
    return sp.diag(*entries)


_x = _m0 + _z
_even = sp.Matrix([1, 1])
_law = (
    Step(
        r"Project one sample on any direction; write $a$ and $v$ for the projections of $\nu$ and $\Gamma$. Given $y "
        r"= \pm 1$ the projection of "
        r"$x$ is $ya + \sqrt{v} z$, $z$ standard normal, and that of $yx$ is $a + y\sqrt{v} z$. Its moment generating "
        r"function for $y = -1$:",
        Equation(
            sp.Integral(sp.exp(_theta * (_a - sp.sqrt(_v) * _z)) * Density(_z), (_z, -sp.oo, sp.oo)),
            sp.exp(_a * _theta + _v * _theta**2 / 2),
        ),
        r"Completing the square; $y = +1$ differs in the sign of $z$ and gives the same. So $yx \sim N(\nu, \Gamma)$ "
        r"whatever $y$ is.",
    ),
    Step(
        r"The mean of $n$ independent samples has the generating function of one, at $\theta/n$, to the power $n$.",
        Equation(
            sp.exp(_a * (_theta / _n) + _v * (_theta / _n) ** 2 / 2) ** _n,
            sp.exp(_a * _theta + (_v / _n) * _theta**2 / 2),
        ),
        r"Every projection of $\hat w$ is normal with mean $a$ and variance $v/n$.",
    ),
    Step(
        r"Hence $\hat w \sim N(\nu, \Gamma/n)$ exactly, at every $n$.",
        because="A law is determined by its projections (Cramér and Wold), and a projection by its moment generating "
        "function near 0.",
    ),
)
_moments = (
    Step(
        r"Choose $T$ with $TT^\top = \Gamma/n$ and $T^\top\Sigma T = \Lambda$ diagonal, and write $\hat w = Tx$.",
        because=r"Two symmetric forms, one of them positive definite, are diagonal in a common basis (a singular $\Gamma$ is "
        r"a limit, and "
        r"all moments below are polynomials in $\Gamma$). Then $\hat w\cdot\mu = \sum_i u_i x_i$ with $u = T^\top\mu$, "
        r"$q = \hat w^\top\Sigma\hat w = \sum_i \lambda_i x_i^2$, and $x \sim N(m, I)$, $m = T^{-1}\nu$:",
    ),
    Step(
        r"The coordinates of $x$ are uncorrelated with variance 1.",
        Equation(product(_T.I, _noise, _T.T.I), sp.Identity(_d)),
        "Uncorrelated Gaussians are independent.",
    ),
    Step(
        r"One coordinate $x = m + z$: the mean of its square,",
        Equation(_moment(_x**2), _m0**2 + 1),
    ),
    Step(
        r"the variance of its square,",
        Equation(_moment((_x**2 - _m0**2 - 1) ** 2), 4 * _m0**2 + 2),
    ),
    Step(
        r"and the covariance of the coordinate with its square.",
        Equation(_moment((_x - _m0) * (_x**2 - _m0**2 - 1)), 2 * _m0),
        "Integrals of polynomials against the normal density.",
    ),
    Step(
        r"**Mean of $q$**, by linearity over the coordinates:",
        Equation(
            _over_features(_lam[_i] * (_m[_i] ** 2 + 1)),
            _over_features(_lam[_i] * _m[_i] ** 2) + _over_features(_lam[_i]),
        ),
        r"that is, $m^\top\Lambda m + \mathrm{tr}\Lambda$. Back in the old coordinates, for matrices of any size:",
    ),
    Step(
        r"the first term is $\nu^\top\Sigma\nu$,",
        Equation(product(_nu_v.T, _T.T.I, _diagonal, _white_mean), product(_nu_v.T, _Sigma, _nu_v)),
    ),
    Step(
        r"the second is $\mathrm{tr}(TT^\top\Sigma) = \mathrm{tr}(\Gamma\Sigma)/n$.",
        Equation(sp.Trace(_diagonal), sp.Trace(product(_noise, _Sigma))),
        r"So $E q = \nu^\top\Sigma\nu + \mathrm{tr}(\Gamma\Sigma)/n$.",
    ),
    Step(
        r"**Variance of $q$**: variances of independent terms add.",
        Equation(
            _over_features(_lam[_i] ** 2 * (4 * _m[_i] ** 2 + 2)),
            4 * _over_features(_lam[_i] ** 2 * _m[_i] ** 2) + 2 * _over_features(_lam[_i] ** 2),
        ),
        r"that is, $4 m^\top\Lambda^2 m + 2 \mathrm{tr}\Lambda^2$:",
    ),
    Step(
        r"the first term is $4 \nu^\top\Sigma (\Gamma/n) \Sigma\nu$,",
        Equation(
            product(_nu_v.T, _T.T.I, _diagonal, _diagonal, _white_mean),
            product(_nu_v.T, _Sigma, _noise, _Sigma, _nu_v),
        ),
    ),
    Step(
        r"the second is $2 \mathrm{tr}((\Gamma\Sigma)^2)/n^2$.",
        Equation(sp.Trace(product(_diagonal, _diagonal)), sp.Trace(product(_noise, _Sigma, _noise, _Sigma))),
        r"So $\mathrm{Var} q = 4 \nu^\top\Sigma\Gamma\Sigma\nu/n + 2\mathrm{tr}((\Gamma\Sigma)^2)/n^2$.",
    ),
    Step(
        r"**Covariance of a projection with $q$**: $\sum_i u_i\lambda_i \cdot 2m_i = 2 u^\top\Lambda m$, which is",
        Equation(product(_mu_v.T, _T, _diagonal, _white_mean), product(_mu_v.T, _noise, _Sigma, _nu_v)),
        r"So $\mathrm{Cov}(\hat w\cdot\mu, q) = 2\mu^\top\Gamma\Sigma\nu/n$. Different coordinates do not contribute: "
        r"they are independent.",
    ),
    Step(
        r"**Covariance of two projections**: $\sum_i u_i u_i'$, which is",
        Equation(product(product(_T.T, _mu_v).T, product(_T.T, _mu_w)), product(_mu_v.T, _noise, _mu_w)),
        r"So $\mathrm{Cov}(\hat w\cdot\mu, \hat w\cdot\mu') = \mu^\top\Gamma\mu'/n$.",
    ),
    Step(
        r"Second order: the mean of $f(a, q) = a/\sqrt{q}$ gains $f_{aq} K + \frac{1}{2} f_{qq} V$ with $K = "
        r"\mathrm{Cov}(\hat w\cdot\mu, q)$ and "
        r"$V = \mathrm{Var} q$ ($f_{aa} = 0$).",
        Equation(
            _cov * sp.Derivative(_at / sp.sqrt(_q), _at, _q)
            + _var / 2 * sp.Derivative(_at / sp.sqrt(_q), (_q, 2)),
            _at / sp.sqrt(_q) * sp.Rational(3, 8) * _var / _q**2 - _cov / (2 * _q ** sp.Rational(3, 2)),
        ),
        r"The delta method; $a/\sqrt{E q}$ itself is the leading order used from here on.",
    ),
)
_line = (
    Step(
        r"**Proportional covariances**, $\Sigma_{shift} = c^2\Sigma_{ref}$: $q_{shift} = c^2 q$ and the lengths "
        r"cancel, whatever $\hat w$ is. "
        r"Write $w_t$ for $\hat w\cdot\mu_t$.",
        Equation(ratio(_ws / sp.sqrt(held(_c**2 * _q)), _wr / sp.sqrt(_q)), _ws / (_c * _wr)),
        r"Exact at every $n$: the ratio of margins is a ratio of two correlated Gaussians.",
    ),
    Step(
        r"**The bend.** With $A_t = \nu^\top\Sigma_t\nu$ and $B_t = \mathrm{tr}(\Gamma\Sigma_t)$ the slope at $n$ is "
        r"$\rho(n) = m_{shift}/m_{ref}$.",
        Equation(
            ((_as / sp.sqrt(_As + _Bs / _n)) / (_ar / sp.sqrt(_Ar + _Br / _n))) ** 2,
            _square,
        ),
        "Squares, so that no root is in the way (for positive signals; signs go along).",
    ),
    Step(
        r"It is monotone in $n$: the derivative of $\log\rho^2$ has the sign of $A_{ref}B_{shift} - A_{shift}B_{ref}$ "
        r"at every $n$.",
        Equation(
            sp.Derivative(sp.log(_square), _n),
            (_Ar * _Bs - _As * _Br) / ((_n * _Ar + _Br) * (_n * _As + _Bs)),
        ),
        r"The denominator is positive.",
    ),
    Step(
        r"Scarce data:",
        Equation(sp.Limit(_square, _n, 0), (_as / _ar) ** 2 * _Br / _Bs),
        r"the noise decides the lengths.",
    ),
    Step(
        r"Plenty of data:",
        Equation(sp.Limit(_square, _n, sp.oo), (_as / _ar) ** 2 * _Ar / _As),
        r"the mean decides them.",
    ),
    Step(
        r"The two ends agree iff $A_{ref}B_{shift} = A_{shift}B_{ref}$, and then the line is straight.",
        Equation(_Br / _Bs - _Ar / _As, -(_Ar * _Bs - _As * _Br) / (_As * _Bs)),
        r"The bracket is the one that gives the derivative its sign.",
    ),
    Step(
        r"Proportional covariances suffice: $A_{shift} = c^2A_{ref}$, $B_{shift} = c^2B_{ref}$ give",
        Equation(
            _square.subs({_As: held(_c**2 * _Ar), _Bs: held(_c**2 * _Br)}, simultaneous=True),
            (_as / (_c * _ar)) ** 2,
        ),
        r"at every $n$: no bend.",
    ),
    Step(
        r"They are not necessary: $\nu = (1, 1)$, $\Gamma = I$, $\Sigma_{ref} = \mathrm{diag}(2, 3)$, $\Sigma_{shift} "
        r"= \mathrm{diag}(1, 4)$.",
        Equation(
            sp.Trace(product(_even.T, _diag(2, 3), _even)) * sp.Trace(_diag(1, 4)),
            sp.Trace(product(_even.T, _diag(1, 4), _even)) * sp.Trace(_diag(2, 3)),
        ),
        r"The same even mean sees only traces.",
    ),
    Step(
        r"**Growth.** The margin $m(n) = a/\sqrt{A + B/n}$ grows with exponent",
        Equation(_n * sp.Derivative(sp.log(_place), _n), (_B / _n) / (2 * (_A + _B / _n))),
        r"$d\log m/d\log n = n \cdot d\log m/dn$.",
    ),
    Step(
        r"which is at most one half,",
        Inequality(sp.Rational(1, 2), ">", (_B / _n) / (2 * (_A + _B / _n)), _A / (2 * (_A + _B / _n))),
        r"the square-root law of averaging.",
    ),
    Step(
        r"and falls as data grow.",
        Inequality(
            -sp.Derivative((_B / _n) / (2 * (_A + _B / _n)), _n),
            ">",
            sp.S.Zero,
            _A * _B / (2 * (_A * _n + _B) ** 2),
        ),
        r"It stays positive: more data of one source never lower the margin of an averaging classifier, on any target "
        r"with $a_t \gt 0$.",
    ),
)

SINGLE_SOURCE = Derivation(
    number="Theorem 1",
    title="a single source is a line",
    key="T1",
    assumptions=(
        r"Labels $y = \pm 1$; a source gives $x$ given $y$ as $N(y\nu, \Gamma)$; the averaging classifier is $\hat w "
        r"= \frac{1}{n}\sum_i y_i x_i$.",
        r"A target $t$ has mean $\mu_t$ and covariance $\Sigma_t$; its margin is $m_t = \hat w\cdot\mu_t/\sqrt{q_t}$, "
        r"$q_t = \hat w^\top\Sigma_t\hat w$; "
        r"$a_t = \nu\cdot\mu_t$.",
    ),
    steps=_law + _moments + _line,
    conclusion=r"$\hat w \sim N(\nu, \Gamma/n)$; with proportional covariances the model moves along one ray of slope "
    r"$\rho = a_{shift}/(c a_{ref})$, otherwise along a line that bends monotonically from "
    r"$\frac{a_{shift}}{a_{ref}}\sqrt{B_{ref}/B_{shift}}$ to "
    r"$\frac{a_{shift}}{a_{ref}}\sqrt{A_{ref}/A_{shift}}$; its margin grows no faster than $\sqrt{n}$.",
)
