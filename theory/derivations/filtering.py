r"""Truncated moments of the normal law, and Theorem 3: what a filter keeps and how it turns the line."""

from theory.derivations.normal import Density, Hazard, Survival
from theory.derivations.step import Derivation, Equation, Expression, Inequality, Step, held, sp

_t, _z = sp.symbols("t z", real=True)
_h = sp.Symbol("h", positive=True)
_phi, _survival = Density(_t), Survival(_t)


def _tail(function: Expression) -> Expression:
    return sp.Integral(function * Density(_z), (_z, _t, sp.oo))


TRUNCATION = Derivation(
    number="Truncated moments",
    title="a normal variable above a threshold",
    key="TM",
    assumptions=(
        r"$Z$ is standard normal with density $\varphi$ and survival function $\bar\Phi = 1 - \Phi$; it is kept when "
        r"$Z \ge t$.",
        r"$h(t) = \varphi(t)/\bar\Phi(t)$ is the hazard.",
    ),
    steps=(
        Step(r"What is kept:", Equation(_tail(sp.S.One), _survival)),
        Step(
            r"First moment:",
            Equation(_tail(_z), _phi),
            r"$\varphi'(z) = -z\varphi(z)$.",
        ),
        Step(
            r"Second moment:",
            Equation(_tail(_z**2), _survival + _t * _phi),
            "By parts.",
        ),
        Step(
            r"Hence the mean of what is kept is the hazard,",
            Equation(_tail(_z) / _tail(sp.S.One), Hazard(_t)),
        ),
        Step(
            r"and its variance is $1 - h(h - t)$.",
            Equation(_tail(_z**2) / _tail(sp.S.One) - Hazard(_t) ** 2, 1 - Hazard(_t) * (Hazard(_t) - _t)),
            r"Truncation removes the share $h(h - t)$ of the variance.",
        ),
        Step(
            r"The hazard grows at exactly that rate.",
            Equation(sp.Derivative(Hazard(_t), _t), Hazard(_t) * (Hazard(_t) - _t)),
            r"Quotient rule with $\varphi' = -t\varphi$ and $\bar\Phi' = -\varphi$.",
        ),
        Step(
            r"$0 \lt h(h - t) \lt 1$, so the hazard increases.",
            because=r"$h - t$ is the mean of $Z - t$ where that is positive, hence positive, and $1 - h(h - t)$ is the "
            r"variance of a law that is not a point.",
        ),
        Step(r"Ends: nothing is cut,", Equation(sp.Limit(Hazard(_t), _t, -sp.oo), sp.S.Zero)),
        Step(
            r"and almost everything is.",
            Equation(sp.Limit(Hazard(_t) - _t, _t, sp.oo), sp.S.Zero),
            r"What passes a high threshold lies just above it; $h \to \infty$.",
        ),
    ),
    conclusion=r"$E[Z | Z \ge t] = h$, $\mathrm{Var}[Z | Z \ge t] = 1 - h(h - t)$, $h' = h(h - t) \in (0, 1)$.",
)

# --- Theorem 3 --------------------------------------------------------------------------------------------------------

_tau, _m, _nu = sp.symbols(r"\tau m \nu_u", real=True)
_a, _r = sp.symbols("a r", real=True)
_k, _c, _b, _W = sp.symbols("k c b W", positive=True)
_rho_pool, _rho_f, _low = sp.symbols(r"\rho_{pool} \rho_f \rho_{\min}", real=True)
_J, _j = sp.Symbol("J", integer=True, positive=True), sp.Symbol("j", integer=True)
_pi, _bj, _rho, _gam, _hj = (sp.IndexedBase(name) for name in (r"\pi'", "b", r"\rho", r"\gamma", "h"))
_bf = sp.Symbol("b_f", real=True)
_K = sp.Symbol("K", integer=True, positive=True)
_W1, _W2, _Wf = sp.symbols("W_1 W_2 W_f", positive=True)
_g1, _g2, _gf = sp.symbols("g_1 g_2 g_f", nonnegative=True)
_gamma, _away = sp.symbols(r"\gamma s", positive=True)
_one = (_b * _rho_pool + _W * _h * _rho_f) / (_b + _W * _h)


def _over_components(term: Expression) -> Expression:
    return sp.Sum(term, (_j, 1, _J))


_hull = (_W1 * (_low + _g1) + _W2 * (_low + _g2) + _Wf * (_low + _gf)) / (_W1 + _W2 + _Wf)

FILTERING = Derivation(
    number="Theorem 3",
    title="filtering removes junk and hands on the filter's robustness",
    key="T3",
    assumptions=(
        r"A pool of components $j$ with weights $\pi_j$, $yx \sim N(\nu_j, \Gamma_j)$; a filter $f$ independent of "
        r"the pool scores a pair by "
        r"$s = y f\cdot x$ and keeps it when $s \ge \tau$.",
        r"$\Vert f\Vert_j^2 = f^\top\Gamma_jf$, $g_j = \Gamma_jf/\Vert f\Vert_j$, $t_j = (\tau - f\cdot\nu_j)/\Vert "
        r"f\Vert_j$, $h_j = h(t_j)$. "
        r"The index $j$ is dropped where one component is meant.",
    ),
    steps=(
        Step(
            r"**Kept share.** Within a component the score is normal with mean $m = f\cdot\nu$ and standard deviation "
            r"$k = \Vert f\Vert$, so that "
            r"$s = m + kZ \ge \tau$ has probability",
            Equation(sp.Integral(Density(_z), (_z, (_tau - _m) / _k, sp.oo)), Survival((_tau - _m) / _k)),
            r"So $\kappa = \sum_j \pi_j\bar\Phi(t_j)$, and by Bayes' rule the kept data have weights $\pi'_j = "
            r"\pi_j\bar\Phi(t_j)/\kappa$.",
        ),
        Step(
            r"**Split one component** on any direction $u$ into its score and the rest: $u\cdot yx = \nu_u + "
            r"\frac{r}{k}Z + \xi$, $Z = (s - m)/k$, "
            r"with $a = u^\top\Gamma u$ and $r = u^\top\Gamma f$. As $\mathrm{Cov}(u\cdot yx, Z) = r/k$, $\xi$ is "
            r"uncorrelated with $Z$ and has variance",
            Equation(_a - 2 * held(_r / _k) * _r / _k + (_r / _k) ** 2, _a - (_r / _k) ** 2),
            r"Jointly Gaussian and uncorrelated: independent. The filter sees $Z \ge t$ only. (No coordinates are "
            r"chosen: $u$ is any direction, and "
            r"$r/k = u\cdot g$.)",
        ),
        Step(
            r"**Kept mean** of a component,",
            Equation(
                sp.Integral((_nu + _r / _k * _z) * Density(_z), (_z, _t, sp.oo)) / Survival(_t),
                _nu + _r / _k * Hazard(_t),
            ),
            r"that is, $\nu + h g$.",
        ),
        Step(
            r"**Kept covariance**: the variance of $\xi$ stays, that of $Z$ shrinks by TM.5.",
            Equation(
                held(_a - (_r / _k) ** 2) + (_r / _k) ** 2 * (1 - Hazard(_t) * (Hazard(_t) - _t)),
                _a - Hazard(_t) * (Hazard(_t) - _t) * (_r / _k) ** 2,
            ),
            r"that is, $\Gamma - h(h - t) g g^\top$. The pool of all components adds the spread of their kept means, "
            r"as in T2.7.",
        ),
        Step(
            r"**The line turns.** Let $\Gamma_j = \gamma_j^2I$, so that $g_j = \gamma_jf/\Vert f\Vert$, and $b_f = "
            r"f\cdot\mu_{ref}/\Vert f\Vert$ with the "
            r"Euclidean norm. The averaging classifier of the kept data points to $\sum_j \pi'_j(\nu_j + h_jg_j)$; "
            r"its slope is",
            Equation(
                _over_components(
                    _pi[_j] * (held(_c * _rho[_j] * _bj[_j]) + _gam[_j] * _hj[_j] * held(_c * _rho_f * _bf))
                )
                / (_c * _over_components(_pi[_j] * (_bj[_j] + _gam[_j] * _hj[_j] * _bf))),
                (
                    _over_components(_pi[_j] * _bj[_j] * _rho[_j])
                    + _rho_f * _over_components(_pi[_j] * _gam[_j] * _hj[_j] * _bf)
                )
                / (
                    _over_components(_pi[_j] * _bj[_j]) + _over_components(_pi[_j] * _gam[_j] * _hj[_j] * _bf)
                ),
            ),
            r"a mediant of the components' slopes, weights $\pi'_jb_j$, and the filter's own, weight $\sum_j "
            r"\pi'_j\gamma_jh_jb_f$. (Its law is Gaussian "
            r"only asymptotically: the number kept is binomial.)",
        ),
        Step(
            r"With positive weights it stays in the hull of all $\rho_j$ and $\rho_f$; for two components, from below "
            r"(from above likewise, any number by "
            r"the Lemma):",
            Inequality(_hull, ">=", _low, (_W1 * _g1 + _W2 * _g2 + _Wf * _gf) / (_W1 + _W2 + _Wf)),
        ),
        Step(
            r"**One component**: with $W = \gamma b_f$ the slope as a function of the hazard moves one way,",
            Equation(sp.Derivative(_one, _h), _b * _W * (_rho_f - _rho_pool) / (_b + _W * _h) ** 2),
            r"towards $\rho_f$ if $b, W \gt 0$; and the hazard increases in $\tau$ (TM.6, TM.7): monotone in $\tau$,",
        ),
        Step(r"from the pool's slope", Equation(sp.Limit(_one, _h, 0), _rho_pool), r"at $\tau \to -\infty$"),
        Step(r"to the filter's", Equation(sp.Limit(_one, _h, sp.oo), _rho_f), r"at $\tau \to \infty$."),
        Step(
            r"**Several components** need not be monotone. Put the threshold a distance $s\Vert f\Vert$ below the "
            r"mean score of one component and above that "
            r"of another, $t = -s/\gamma$ and $s/\gamma$. As the noise $\gamma$ vanishes, the upper one alone is kept "
            r"(and its pull $\gamma h$ vanishes):",
            Equation(sp.Limit(Survival(_away / _gamma) / Survival(-_away / _gamma), _gamma, 0), sp.S.Zero),
            r"the slope is then that of the upper component, whatever pool and filter have: slopes $.4$ and $1$ in "
            r"equal parts with signals $1$ and $.4$ "
            r"have a pool at $.571$ and, with $\rho_f = .5$, go through values near $.4$ before they end at $.5$.",
        ),
        Step(
            r"**Shuffled captions** are right with probability $1/K$. The wrong ones have mean $-\nu/(K-1)$ "
            r"(simplex), and all together",
            Equation(1 / _K * _nu + (1 - 1 / _K) * held(-_nu / (_K - 1)), sp.S.Zero),
            r"they carry no signal, as a pool; but they are two components $\nu$ and $-\nu/(K - 1)$, not one of mean "
            r"0, and the filter tells them apart.",
        ),
    ),
    conclusion=r"Kept weight $\pi'_j \propto \pi_j\bar\Phi(t_j)$, kept mean $\nu_j + h_jg_j$, kept covariance $\Gamma_j - "
    r"h_j(h_j - t_j)g_jg_j^\top$; the slope is "
    r"a mediant that includes the filter's own, monotone in $\tau$ for one component only.",
)
