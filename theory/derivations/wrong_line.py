r"""Accuracy on the wrong line: label noise, the turning point of a family, and interpolators in closed form."""

from theory.derivations.step import Derivation, Equation, Expression, Inequality, Step, held, ratio, sp

_eps, _g = sp.symbols(r"\epsilon g", real=True)
_e, _n, _A, _B, _a, _c = sp.symbols("e n A B a c", positive=True)
_i, _j, _k = (
    sp.Symbol("i", integer=True),
    sp.Symbol("j", integer=True),
    sp.Symbol("k", integer=True, positive=True),
)
_X, _Y = sp.IndexedBase("X"), sp.IndexedBase("Y")

_P1, _P2, _N1, _N2, _s2 = sp.symbols(r"P_1 P_2 N_1 N_2 s^2", positive=True)
_Pi, _Ni, _Q = sp.IndexedBase("P"), sp.IndexedBase("N"), sp.IndexedBase("Q")
_mean, _CP, _CN = sp.symbols(r"\bar{Q} C_P C_N", real=True)

_m, _q, _qr = sp.symbols("m q q_r", real=True)
_Lam, _kappa, _lam, _tau, _gamma, _v, _T = sp.symbols(
    r"\Lambda \kappa \lambda \tau \gamma v T", positive=True
)
_V, _D, _kk, _M2, _L = sp.symbols("V D k M^2 L", positive=True)
_solved = _e * _Lam / (1 + _Lam)
_core = _kk * _v * _kappa / (_kappa + _v) ** 2 + _gamma / _kappa
_noise = 1 + _qr + (1 / _e**2 - 1) * (1 + _Lam) ** 2


def _over(term: Expression, *indices: Expression) -> Expression:
    for index in indices:
        term = sp.Sum(term, (index, 1, _k))
    return term


_labels = (
    Step(
        r"**Label noise is two components.** A flipped label turns $yx$ into a sample of $N(-\nu, \Gamma)$. With "
        r"probability $\epsilon$, "
        r"on any direction with $\nu$ projecting to $g$, the mean is",
        Equation((1 - _eps) * _g + _eps * held(-_g), (1 - 2 * _eps) * _g),
        r"Write $e = 1 - 2\epsilon$: the signal shrinks by $e$.",
    ),
    Step(
        r"With random flips the variance gains",
        Equation(
            ((1 - _eps) * _g**2 + _eps * held(-_g) ** 2) - ((1 - 2 * _eps) * _g) ** 2,
            4 * _eps * (1 - _eps) * _g**2,
        ),
        r"as in T2.7; with $\epsilon n$ flips exactly, nothing.",
    ),
    Step(
        r"**Averaging** on noisy labels: by Theorem 1 with $A = \nu^\top\Sigma\nu$, $B = \mathrm{tr}\Gamma\Sigma$,",
        Equation(ratio(_e**2 * _A + _B / _n, (_e * _a) ** 2), ratio(_A + _B / (_n * _e**2), _a**2)),
        r"is $1/m^2$: flips cost samples, $n$ counts as $ne^2$, on every target alike. All margins rise with $n$ "
        r"(T1.28) and fall with $\epsilon$.",
    ),
    Step(
        r"**Models ordered alike are correlated positively.** For $k$ models with margins $X_i$, $Y_i$ on two targets:",
        Equation(
            _over((_X[_i] - _X[_j]) * (_Y[_i] - _Y[_j]), _i, _j) / (2 * _k**2),
            _over(_X[_i] * _Y[_i], _i) / _k - _over(_X[_i], _i) * _over(_Y[_i], _i) / _k**2,
        ),
        r"the covariance is a mean over pairs (Chebyshev's association). If every pair is ordered alike on both "
        r"targets no term is negative. So "
        r"averaging classifiers of one source, whatever their $n$ and $\epsilon$, never lie on a wrong line.",
    ),
)
_criterion = (
    Step(
        r"**Criterion.** The shift has covariance $\Sigma_0 + s^2\Pi$, so $1/m_{shift}^2 = P + s^2N$ with $P = "
        r"w^\top\Sigma_0w/(w\cdot\mu)^2$ and "
        r"$N = w^\top\Pi w/(w\cdot\mu)^2$. Two models, the second better on the reference:",
        Equation(
            (_P1 + _s2 * _N1) - (_P2 + _s2 * _N2),
            (_N2 - _N1) * (ratio(_P1 - _P2, _N2 - _N1) - _s2),
        ),
        r"If it leans more on the nuisance ($N_2 \gt N_1$) it is the better one under shift, too, iff $s^2 \lt (P_1 - "
        r"P_2)/(N_2 - N_1)$.",
    ),
    Step(
        r"For a whole family, with $Q = 1/m_{ref}^2$, the covariance of $Q$ and $1/m_{shift}^2$ is linear in $s^2$:",
        Equation(
            _over((_Q[_i] - _mean) * (_Pi[_i] + _s2 * _Ni[_i]), _i),
            _over((_Q[_i] - _mean) * _Pi[_i], _i) + _s2 * _over((_Q[_i] - _mean) * _Ni[_i], _i),
        ),
        r"$C_P + s^2C_N$, with $C_P = \mathrm{Cov}(Q, P)$ and $C_N = \mathrm{Cov}(Q, N)$.",
    ),
    Step(
        r"**Turning point**: the correlation changes sign exactly at $s^2 = -C_P/C_N$.",
        Equation(_CP + ratio(-_CP, _CN) * _CN, sp.S.Zero),
        r"It does so iff $C_P \gt 0 \gt C_N$. For the margins themselves WL.4 and WL.5 put it between the smallest "
        r"and the largest "
        r"$(P_i - P_j)/(N_j - N_i)$ over pairs.",
    ),
)
_law = (
    Step(
        r"**Ridge and interpolation.** Let $n, d \to \infty$ at fixed $n/d$ and take the square loss with the two "
        r"components $\pm\nu$, shares "
        r"$1 - \epsilon$, $\epsilon$. The limit is a fixed point in $m = \nu\cdot w$, $q = w^\top\Gamma w$ and $V$: "
        r"$R = (\lambda I + \Gamma/(1 + V))^{-1}$, "
        r"$F_\pm = (1 \mp m)/(1 + V)$, $m = \nu^\top Rc$, $V = \mathrm{tr}(\Gamma R)/n$, $q = c^\top R\Gamma Rc + "
        r"\frac{X}{n}\mathrm{tr}(\Gamma R)^2$.",
        because=r"The fixed point of the exact asymptotics (convex Gaussian min-max theorem), with $c = \sum_s p_sF_s\nu_s$ "
        r"and $X = \sum_s p_sEf^2$; "
        r"`theory.asymptotics` solves it for any mixture and is held against simulation.",
    ),
    Step(
        r"Components together, $c(1 + V)$ is along $\nu$ with factor",
        Equation((1 - _eps) * (1 - _m) - _eps * (1 + _m), (1 - 2 * _eps) - _m),
        r"$e - m$.",
    ),
    Step(
        r"With $\kappa = \lambda(1 + V)$, $R = (1 + V)(\kappa I + \Gamma)^{-1}$. Write $\tau = "
        r"\mathrm{tr}\Gamma(\kappa I + \Gamma)^{-1}$, so that "
        r"$V = (1 + V)\tau/n$, that is $\tau = nV/(1 + V)$:",
        Equation(_n * _V / (1 + _V), _n * (1 - ratio(_lam, held(_lam * (1 + _V))))),
        r"$\tau = n(1 - \lambda/\kappa)$: $\kappa$ depends on $\Gamma$, $n$ and $\lambda$ only, not on the labels.",
    ),
    Step(
        r"With $r = (\kappa I + \Gamma)^{-1}\nu$ and $\Lambda = \nu\cdot r$, $m = (e - m)\Lambda$ has the solution $m "
        r"= e\Lambda/(1 + \Lambda)$:",
        Equation((_e - ratio(_e * _Lam, 1 + _Lam)) * _Lam, _solved),
        r"so the mean of $w$ is $(e - m) r = \frac{e}{1 + \Lambda} r$.",
    ),
    Step(
        r"The squared error $Y = (1 + V)^2X$ of both components:",
        Equation(
            (1 - _eps) * ((1 - _m) ** 2 + _q) + _eps * ((1 + _m) ** 2 + _q),
            1 - 2 * (1 - 2 * _eps) * _m + _m**2 + _q,
        ),
        r"and $q = (\frac{e}{1 + \Lambda})^2 q_r + DY$ with $q_r = r^\top\Gamma r$, $D = \mathrm{tr}\Gamma^2(\kappa I "
        r"+ \Gamma)^{-2}/n$, so that $Y(1 - D)$ is",
    ),
    Step(
        r"(inserting $m$) $(\frac{e}{1 + \Lambda})^2 T$ with one number $T$ for the noise.",
        Equation(
            1 - 2 * _e * held(_solved) + held(_solved) ** 2 + (_e / (1 + _Lam)) ** 2 * _qr,
            (_e / (1 + _Lam)) ** 2 * held(_noise),
        ),
        r"Up to the scale $e/(1 + \Lambda)$, $w$ is $r$ plus noise of covariance $\frac{T}{n(1 - D)}\Gamma(\kappa I + "
        r"\Gamma)^{-2}$: "
        r"$1/m_t^2 = \frac{r^\top\Sigma_tr}{(r\cdot\mu_t)^2} + \frac{T}{n(1 - "
        r"D)}\frac{\mathrm{tr}\Sigma_t\Gamma(\kappa I + \Gamma)^{-2}}{(r\cdot\mu_t)^2}$.",
    ),
    Step(
        r"In terms of the flips, the label noise in $T$ has the factor",
        Equation(1 / (1 - 2 * _eps) ** 2 - 1, 4 * _eps * (1 - _eps) / (1 - 2 * _eps) ** 2),
        r"Label noise enters $T$ and nothing else.",
    ),
    Step(
        r"It rises with the noise rate, that is, falls with $e$:",
        Inequality(-sp.Derivative(1 / _e**2 - 1, _e), ">", sp.S.Zero, 2 / _e**3),
        r"so at fixed $n$ and $\lambda$ all margins fall together and models that differ in $\epsilon$ alone never "
        r"turn (WL.4).",
    ),
    Step(
        r"**Averaging is the limit** $\lambda \to \infty$ ($\kappa \to \infty$, $\Lambda, q_r, D \to 0$, $T \to "
        r"1/e^2$). A coordinate of $\kappa r$",
        Equation(sp.Limit(_kappa * _a / (_kappa + _v), _kappa, sp.oo), _a),
        r"tends to that of $\nu$,",
    ),
    Step(
        r"and its noise to that of WL.3.",
        Equation(
            sp.Limit(_kappa**2 * _v / (_n * _e**2 * (_kappa + _v) ** 2), _kappa, sp.oo), _v / (_n * _e**2)
        ),
    ),
)
_growth = (
    Step(
        r"**Many weak nuisance features.** $D_N$ features of variance $\gamma/D_N$ without signal, interpolation "
        r"($\lambda = 0$). As $D_N \to \infty$ they "
        r"add to $\tau$",
        Equation(sp.Limit(_D * ratio(_gamma / _D, _kappa + _gamma / _D), _D, sp.oo), _gamma / _kappa),
        r"With $k$ core features of variance $v$: $n = \frac{kv}{\kappa + v} + \frac{\gamma}{\kappa}$. The nuisance "
        r"acts as a penalty $\gamma/n$ on the core; "
        r"more data lower it, and $\kappa \to 0$.",
    ),
    Step(
        r"What is left of $n(1 - D)$ (the nuisance adds $\gamma^2/(D_N\kappa^2) \to 0$ to $nD$):",
        Equation(
            held(_kk * _v / (_kappa + _v) + _gamma / _kappa) - _kk * _v**2 / (_kappa + _v) ** 2,
            _core,
        ),
    ),
    Step(
        r"The nuisance weights have squared length $\frac{T}{n(1 - D)}\frac{\gamma}{\kappa^2}$. Divided by $n$, as "
        r"data grow:",
        Equation(
            sp.Limit(
                _T * _gamma / (_kappa**2 * _core) / (_kk * _v / (_kappa + _v) + _gamma / _kappa), _kappa, 0
            ),
            _T / _gamma,
        ),
        r"they grow like $nT/\gamma$: every noisy label is memorised in the nuisance features.",
    ),
    Step(
        r"The noise on the core meanwhile",
        Equation(sp.Limit(_T * _kk * _v / ((_kappa + _v) ** 2 * _core), _kappa, 0), sp.S.Zero),
        r"vanishes. On the reference, where the nuisance has variance $\gamma/D_N \to 0$, the margin tends to its "
        r"best, $\sqrt{\nu^\top\Gamma^{-1}\nu}$ for "
        r"$\Sigma = \Gamma$; on a shift with $s^2 \gt 0$ it falls to 0 as $n^{-1/2}$. **More data, better on the "
        r"reference, worse under shift.**",
    ),
    Step(
        r"**What clean labels change.** In the limit $\kappa \to 0$, $\Lambda = q_r = M^2 = \nu^\top\Gamma^{-1}\nu$ "
        r"and $N$ is $T/M^4$ times $n/\gamma$. With "
        r"clean labels, as the classes are better and better separated, $M^2N$ tends to $n/\gamma$ times",
        Equation(sp.Limit(_M2 * _noise.subs({_e: 1, _qr: _M2, _Lam: _M2}) / _M2**2, _M2, sp.oo), sp.S.One),
        r"so $N$ falls like $1/M^2$, as $P$ does: clean labels of overlapping classes are memorised, too, and the "
        r"turning point tends to a constant.",
    ),
    Step(
        r"With label noise $N$ does not fall:",
        Equation(sp.Limit(_noise.subs({_qr: _M2, _Lam: _M2}) / _M2**2, _M2, sp.oo), 1 / _e**2 - 1),
        r"times $n/\gamma$. Against $P \sim 1/M^2$ the turning point falls like $1/M^2$: the better the classes are "
        r"separated, the more label noise matters.",
    ),
    Step(
        r"Core features without noise in training ($v \to 0$: $r = \nu/\kappa$, $\Lambda = L/\kappa$ with $L = "
        r"\Vert\nu\Vert^2$, $q_r = 0$) give $N = T/(\Lambda^2\kappa)$:",
        Equation(
            _noise.subs({_qr: 0, _Lam: ratio(_L, _kappa)}) / (ratio(_L, _kappa) ** 2 * _kappa),
            _kappa / _L**2 + (1 / _e**2 - 1) * (_L + _kappa) ** 2 / (_L**2 * _kappa),
        ),
        r"Clean labels leave the first term, which falls as data grow: nothing is memorised and "
        r"the line stays. Any label noise adds the "
        r"second, which grows like $n$.",
    ),
    Step(
        r"Without nuisance features $N = 0$, and with $\Sigma_{shift} = c^2\Sigma_{ref}$ and the same mean $P = "
        r"c^2Q$. The sum behind $C_P$ is",
        Equation(
            _over((_Q[_i] - _mean) * held(_c**2 * _Q[_i]), _i), _c**2 * _over((_Q[_i] - _mean) * _Q[_i], _i)
        ),
        r"$c^2$ times the one behind the variance of $Q$: the correlation is 1.",
    ),
)

WRONG_LINE = Derivation(
    number="Wrong line",
    title="label noise, nuisance features and a negative correlation",
    key="WL",
    assumptions=(
        r"One source $N(y\nu, \Gamma)$; a training label is flipped with probability $\epsilon \lt 1/2$; $e = 1 - "
        r"2\epsilon$.",
        r"Reference and shift may differ in covariance: a shift turns up the variance of nuisance features, "
        r"$\Sigma_{shift} = \Sigma_0 + s^2\Pi$.",
        r"A family of models (sizes, penalties, noise rates) has margins $m_{ref}$ and $m_{shift}$, all positive.",
    ),
    steps=_labels + _criterion + _law + _growth,
    conclusion=r"Averaging stays on the line; interpolation leaves it at $s^2 = -\mathrm{Cov}(m_{ref}^{-2}, "
    r"P)/\mathrm{Cov}(m_{ref}^{-2}, N)$. Label noise "
    r"multiplies what is memorised by $T$ and so brings that point down.",
)
