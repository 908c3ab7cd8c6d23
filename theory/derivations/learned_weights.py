r"""Theorem 4: learners that whiten, by Stein's identity, and when least squares gives a source negative weight."""

from theory.derivations.step import Derivation, Equation, Expression, Inequality, Step, held, product, sp

_u, _v, _nu, _w, _rest = sp.symbols(r"u_i v \nu_i w_i r", real=True)
_gamma, _lam = sp.symbols(r"\gamma \lambda", positive=True)

_g = sp.Function("g")
_density = sp.exp(-((_u - _nu) ** 2) / (2 * _gamma**2)) / sp.sqrt(2 * sp.pi * _gamma**2)

_S, _s = sp.Symbol("S", integer=True, positive=True), sp.Symbol("s", integer=True)
_p, _F, _kappa, _nui, _var, _a, _b, _rho = (
    sp.IndexedBase(name) for name in ("p", "F", r"\kappa", r"\nu", r"\gamma^2", "a", "b", r"\rho")
)
_c, _total = sp.symbols("c D", positive=True)

# Least squares on two sources of the same noise: w = x₁ν₁ + x₂ν₂.
_p1, _p2, _g2 = sp.symbols(r"p_1 p_2 \gamma^2", positive=True)
_G11, _G12, _G22 = sp.symbols("G_{11} G_{12} G_{22}", real=True)
_l1, _l2 = sp.symbols("G_{11} G_{22}", nonnegative=True)
_gram = sp.Symbol(r"\Delta", nonnegative=True)
_det = (_g2 + _p1 * _G11) * (_g2 + _p2 * _G22) - _p1 * _p2 * _G12**2
_x1 = _p1 * (_g2 + _p2 * (_G22 - _G12)) / _det
_x2 = _p2 * (_g2 + _p1 * (_G11 - _G12)) / _det
_z = sp.Symbol("u", real=True)

_d = sp.Symbol("d", integer=True, positive=True)
_R = sp.MatrixSymbol("R", _d, _d)
_weights, _sample = sp.MatrixSymbol("w", _d, 1), sp.MatrixSymbol("u", _d, 1)


def _sum(term: Expression) -> Expression:
    return sp.Sum(term, (_s, 1, _S))


LEARNED_WEIGHTS = Derivation(
    number="Theorem 4",
    title="learners that whiten: a mediant with learned weights",
    key="T4",
    assumptions=(
        r"$w$ minimises $\sum_s p_sE\ell(w\cdot u) + \frac{\lambda}{2}\Vert w\Vert^2$ over $u = yx \sim N(\nu_s, "
        r"\Gamma_s)$ in source $s$, with a convex loss "
        r"$\ell$ of the margin.",
        r"$F_s = -E\ell'(w\cdot u)$ and $\kappa_s = E\ell''(w\cdot u)$ in source $s$.",
        r"Isotropic noise, $\Gamma_s = \gamma_s^2I$; the $\gamma_s$ may differ.",
    ),
    steps=(
        Step(
            r"**Stein's identity, one coordinate.** For the density $q$ of $N(\nu_i, \gamma^2)$ and any differentiable $g$, "
            r"$(u_i - \nu_i)g$ and $\gamma^2g'$ differ by a total derivative:",
            Equation(
                (_u - _nu) * _g(_u) * _density,
                _gamma**2 * sp.Derivative(_g(_u), _u) * _density
                - _gamma**2 * sp.Derivative(_g(_u) * _density, _u),
            ),
            r"Product rule, $q' = -(u_i - \nu_i)q/\gamma^2$.",
        ),
        Step(
            r"Integrate over $u_i$: the total derivative contributes nothing, so $E(u_i - \nu_i)g(u_i) = \gamma^2Eg'(u_i)$.",
            because=r"Integration by parts; $gq$ vanishes at both ends as $g = \ell'$ grows at most linearly for the square, "
            r"logistic and hinge losses (for "
            r"the hinge $\ell''$ is a point mass and the identity holds for the expectation).",
        ),
        Step(
            r"The other coordinates are independent of $u_i$ and stay fixed in $r = \sum_{j \ne i}w_ju_j$. Chain rule "
            r"for $g(u_i) = \ell'(w_iu_i + r)$:",
            Equation(
                sp.Derivative(_g(_w * _u + _rest), _u),
                _w * sp.Subs(sp.Derivative(_g(_v), _v), _v, _w * _u + _rest),
            ),
            r"So $E u_i\ell' = \nu_iE\ell' + \gamma^2w_iE\ell''$ in every coordinate $i$, in any dimension.",
        ),
        Step(
            r"**Stationarity** in coordinate $i$, $\lambda w_i + \sum_s p_sEu_i\ell' = 0$, with $E\ell' = -F_s$:",
            Equation(
                _lam * _w + _sum(_p[_s] * (-_F[_s] * _nui[_s] + _var[_s] * _kappa[_s] * _w)),
                _w * (_lam + _sum(_p[_s] * _var[_s] * _kappa[_s])) - _sum(_p[_s] * _F[_s] * _nui[_s]),
            ),
            r"is zero for every $i$: $w (\lambda + \sum_s p_s\gamma_s^2\kappa_s) = \sum_s p_sF_s\nu_s$. The bracket "
            r"is one positive number, "
            r"so $w$ points along $\sum_s p_sF_s\nu_s$.",
        ),
        Step(
            r"**Slope** with $\Sigma_{shift} = c^2\Sigma_{ref}$ and $a_s = c\rho_sb_s$ (the number $D$ in brackets cancels):",
            Equation(
                (_sum(_p[_s] * _F[_s] * held(_c * _b[_s]) * _rho[_s]) / _total)
                / (_c * _sum(_p[_s] * _F[_s] * _b[_s]) / _total),
                _sum(_p[_s] * _F[_s] * _b[_s] * _rho[_s]) / _sum(_p[_s] * _F[_s] * _b[_s]),
            ),
            r"again a mediant, with learned weights $p_sF_sb_s$.",
        ),
        Step(
            r"**Decreasing losses** have $F_s \gt 0$. The logistic loss:",
            Equation(-sp.Derivative(sp.log(1 + sp.exp(-_z)), _z), 1 / (1 + sp.exp(_z))),
        ),
        Step(
            r"which is positive at every margin,",
            Inequality(1 / (1 + sp.exp(_z)), ">", sp.S.Zero, 1 / (1 + sp.exp(_z))),
            r"so its mean $F_s$ is, too; the hinge has $-\ell' = 1$ below the margin and 0 above, and $F_s$ is the "
            r"share of samples below. For these losses "
            r"the Lemma applies: dilution holds.",
        ),
        Step(
            r"**The square loss** has $-\ell'(u) = 1 - u$:",
            Equation(-sp.Derivative((1 - _z) ** 2 / 2, _z), 1 - _z),
            r"so $F_s = 1 - w\cdot\nu_s$, negative for a source that is fitted beyond its labels.",
        ),
        Step(
            r"**Two sources**, $\lambda = 0$, common $\gamma^2$: $\kappa_s = 1$ and $\gamma^2w = \sum_s p_s(1 - "
            r"w\cdot\nu_s)\nu_s$. With $w = x_1\nu_1 + x_2\nu_2$, "
            r"$G_{st} = \nu_s\cdot\nu_t$ and $D = (\gamma^2 + p_1G_{11})(\gamma^2 + p_2G_{22}) - p_1p_2G_{12}^2$, the "
            r"solution "
            r"$x_1 = p_1(\gamma^2 + p_2(G_{22} - G_{12}))/D$, $x_2$ likewise, satisfies it:",
            Equation(_g2 * _x1, _p1 * (1 - (_G11 * _x1 + _G12 * _x2))),
            r"(the first of two equations; the second follows by exchanging the sources).",
        ),
        Step(
            r"$D$ is positive: with $\Delta = G_{11}G_{22} - G_{12}^2 \ge 0$ (Cauchy and Schwarz)",
            Inequality(
                (_g2 + _p1 * _l1) * (_g2 + _p2 * _l2) - _p1 * _p2 * (_l1 * _l2 - _gram),
                ">",
                sp.S.Zero,
                _g2**2 + _g2 * (_p1 * _l1 + _p2 * _l2) + _p1 * _p2 * _gram,
            ),
            r"So source 1's weight $x_1$ is negative iff $p_2(\nu_1\cdot\nu_2 - \Vert\nu_2\Vert^2) \gt \gamma^2$: a "
            r"long, aligned source 1 is subtracted.",
        ),
        Step(
            r"**Common $\Gamma$**, $\lambda = 0$: with $\Gamma = RR^\top$, samples $R^{-1}u$ have noise $I$, and "
            r"weights $R^\top w$ on them give the same scores:",
            Equation(
                product(product(_R.T, _weights).T, product(_R.I, _sample)), product(_weights.T, _sample)
            ),
            r"so all of the above holds after whitening. With $\Gamma_s$ that are not proportional, $(\lambda + "
            r"\sum_s p_s\kappa_s\Gamma_s)w = \sum_s p_sF_s\nu_s$, "
            r"and mixing changes the whitening: there is no mediant.",
        ),
    ),
    conclusion=r"$w (\lambda + \sum_s p_s\gamma_s^2\kappa_s) = \sum_s p_sF_s\nu_s$ and $\rho = \sum_s p_sF_sb_s\rho_s/\sum_s "
    r"p_sF_sb_s$.",
)
