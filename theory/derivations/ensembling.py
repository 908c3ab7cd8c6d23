r"""Theorem 2b: averaged logits, heads on their share or on n each, and normalised heads."""

from theory.derivations.step import Derivation, Equation, Expression, Inequality, Step, held, ratio, sp

_S, _s = sp.Symbol("S", integer=True, positive=True), sp.Symbol("s", integer=True)
_alpha, _a, _v, _N, _sums = (sp.IndexedBase(name) for name in (r"\alpha", "a", "v", "n", "X"))
_ref, _shift, _length = (sp.IndexedBase(name) for name in (r"w^{ref}", r"w^{shift}", r"\ell"))
_n, _c = sp.symbols("n c", positive=True)
_theta = sp.Symbol(r"\theta", real=True)
_a1, _a2, _v1, _v2, _l1, _l2 = sp.symbols(r"\alpha_1 \alpha_2 v_1 v_2 \ell_1 \ell_2", positive=True)
_heads = _alpha[_s] * _a[_s] * _theta


def _sum(term: Expression) -> Expression:
    return sp.Sum(term, (_s, 1, _S))


ENSEMBLING = Derivation(
    number="Theorem 2b",
    title="output mixing follows the mixture",
    key="T2b",
    assumptions=(
        r"Heads $\hat w_s$, averaging classifiers of source $s$ on $n_s$ samples each, and their ensemble $w = \sum_s "
        r"\alpha_s\hat w_s$ with "
        r"$\alpha_s \ge 0$, $\sum_s \alpha_s = 1$: the classifier whose logits are the weighted mean of the heads' logits.",
        r"Notation and covariances as in Theorem 2.",
    ),
    steps=(
        Step(
            r"**Same samples, $\alpha_s = n_s/n$.** With $X_s$ the sum of $y_i x_i$ over the samples of source $s$, "
            r"the ensemble is",
            Equation(_sum(held(_N[_s] / _n) * held(_sums[_s] / _N[_s])), _sum(_sums[_s]) / _n),
            r"the input-mixed classifier itself, sample path by sample path.",
        ),
        Step(
            r"**Independent samples.** The log generating functions of the heads, at $\alpha_s\theta$, add up to",
            Equation(
                _sum(
                    _a[_s] * held(_alpha[_s] * _theta) + _v[_s] / _N[_s] * held(_alpha[_s] * _theta) ** 2 / 2
                ),
                _theta * _sum(_alpha[_s] * _a[_s]) + _theta**2 / 2 * _sum(_alpha[_s] ** 2 * _v[_s] / _N[_s]),
            ),
            r"so $w \sim N(\sum_s \alpha_s\nu_s, \sum_s \alpha_s^2\Gamma_s/n_s)$: the mean, and with it the slope of "
            r"Theorem 2, has $\alpha$ in place of $p$.",
        ),
        Step(
            r"Heads on their share, $n_s = \alpha_s n$: the noise is that of the mixture.",
            Equation(
                _sum(ratio(_alpha[_s] ** 2 * _v[_s], _alpha[_s] * _n)),
                _sum(_alpha[_s] * _v[_s]) / _n,
            ),
            "Equal in law to input mixing.",
        ),
        Step(
            r"Heads on $n$ samples each have less noise: the mixture's noise $\sum_s \alpha_s v_s$ minus $\sum_s "
            r"\alpha_s^2 v_s$ is, for two heads "
            r"($\alpha_1 + \alpha_2 = 1$ may be multiplied in),",
            Inequality(
                (_a1 + _a2) * (_a1 * _v1 + _a2 * _v2),
                ">",
                _a1**2 * _v1 + _a2**2 * _v2,
                _a1 * _a2 * (_v1 + _v2),
            ),
            r"in general $\sum_s \alpha_s(1 - \alpha_s)v_s \ge 0$: the same ray, further up.",
        ),
        Step(
            r"**Normalised heads.** Write $w^t_s = \hat w_s\cdot\mu_t$ and $\ell_s^2 = \hat w_s^\top\Sigma_{ref}\hat "
            r"w_s$. The head's measured margins are "
            r"$w^{ref}_s/\ell_s$ and, with $\Sigma_{shift} = c^2\Sigma_{ref}$, $w^{shift}_s/(c\ell_s)$. By T1.18 the "
            r"ensemble of $\hat w_s/\ell_s$ has "
            r"the ratio on the left:",
            Equation(
                _sum(_alpha[_s] * _shift[_s] / _length[_s])
                / (_c * _sum(_alpha[_s] * _ref[_s] / _length[_s])),
                ratio(
                    _sum(_alpha[_s] * held(_shift[_s] / (_c * _length[_s]))),
                    _sum(_alpha[_s] * held(_ref[_s] / _length[_s])),
                ),
            ),
            r"On the right stands the mediant of *measured* margins with weights $\alpha_s$: exact for every draw of "
            r"the heads, at every $n$.",
        ),
        Step(
            r"Normalising multiplies the weight of a head by $1/\ell_s$: relative to plain averaging, head 1 gains "
            r"over head 2 by",
            Equation(ratio(ratio(_a1 / _l1, _a2 / _l2), _a1 / _a2), _l2 / _l1),
            r"the shorter head gets more say. (Its noise does not enter: shorter, not less noisy.)",
        ),
    ),
    conclusion=r"An ensemble lies on the ray of the mixture with shares $\alpha$; trained on $n$ samples per head it stands "
    r"further up. With normalised "
    r"heads $m_{shift}/m_{ref} = \sum_s \alpha_s m_{s,shift}/\sum_s \alpha_s m_{s,ref}$ exactly.",
)
