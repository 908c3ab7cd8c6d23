r"""Section 8: d′ of K prototypes with simplex means, and what class noise does to the signal."""

from theory.derivations.step import Derivation, Equation, Step, held, ratio, sp

_K, _n, _d, _s = sp.symbols("K n d s", positive=True)
_eps = sp.Symbol(r"\epsilon", real=True)
_mu = sp.Symbol(r"\mu_k", real=True)
_gain = _s**2 * _K / (_K - 1)
_var = _gain + _d * _K / _n + _s**2 * _K / _n
_dprime = _gain / sp.sqrt(_var)

CLASSES = Derivation(
    number="K classes",
    title="prototypes with simplex means",
    key="KC",
    assumptions=(
        r"Class means $\mu_1, \dots, \mu_K$ form a simplex: length $s$, equal inner products, $\sum_k \mu_k = 0$. "
        r"Noise is $I$ in training and test.",
        r"Every class gives $n/K$ samples; its prototype $w_k$ is their mean, $w_k \sim N(\mu_k, \frac{K}{n}I)$ "
        r"(T1.3). A test image $x$ of class $k$ "
        r"gets scores $x\cdot w_j$; only their differences decide.",
    ),
    steps=(
        Step(
            r"Inner products of a simplex: with $\mu_k\cdot\mu_l = -s^2/(K - 1)$, $\mu_k\cdot\sum_l\mu_l$ is",
            Equation(_s**2 + (_K - 1) * held(-(_s**2) / (_K - 1)), sp.S.Zero),
            r"as it must be.",
        ),
        Step(
            r"**Signal**: the mean of the difference $x\cdot(w_k - w_l)$ is $\mu_k\cdot(\mu_k - \mu_l)$.",
            Equation(_s**2 - held(-(_s**2) / (_K - 1)), _gain),
        ),
        Step(
            r"**Noise of the image**: given the prototypes the difference has variance $\Vert w_k - w_l\Vert^2$, in the mean "
            r"$\Vert\mu_k - \mu_l\Vert^2 + 2dK/n$,",
            Equation(
                (_s**2 - 2 * held(-(_s**2) / (_K - 1)) + _s**2) + _d * (_K / _n + _K / _n),
                2 * _gain + 2 * _d * _K / _n,
            ),
            r"(with fluctuations that vanish relative to it as $d$ grows).",
        ),
        Step(
            r"**Noise of the prototypes** along the image's mean: $\mu_k\cdot(w_k - w_l)$ has variance $2s^2K/n$. "
            r"Together, in units in which the difference of "
            r"two independent scores of variance 1 has variance 2:",
            Equation(
                ratio(sp.sqrt(2) * _gain, sp.sqrt((2 * _gain + 2 * _d * _K / _n) + 2 * _s**2 * _K / _n)),
                _dprime,
            ),
            r"$d' = \frac{s^2K/(K-1)}{\sqrt{s^2K/(K-1) + dK/n + s^2K/n}}$. By symmetry all differences have this mean "
            r"and variance and correlation one half, as "
            r"independent scores do, so that $A_K$ is the right link.",
        ),
        Step(
            r"Two classes: it is $\sqrt{2}$ times Theorem 1's margin (the classifier $(w_1 - w_2)/2$ averages $n$ "
            r"samples of $\nu = \mu_1$), with the variance "
            r"$s^2/n$ of the projection counted in.",
            Equation(_dprime.subs(_K, 2), sp.sqrt(2) * _s**2 / sp.sqrt(_s**2 + _d / _n + _s**2 / _n)),
            r"as LK.5 demands.",
        ),
        Step(
            r"Plenty of data:",
            Equation(sp.Limit(_dprime**2, _n, sp.oo), _gain),
            r"$d'$ ends at the length of the signal.",
        ),
        Step(
            r"**Wrong class.** With probability $\epsilon$ the label names one of the other classes. The mean of what "
            r"is labelled $k$ is "
            r"$(1 - \epsilon)\mu_k + \frac{\epsilon}{K-1}\sum_{l \ne k}\mu_l$, and the sum is $-\mu_k$:",
            Equation((1 - _eps) * _mu + _eps / (_K - 1) * held(-_mu), (1 - _eps * _K / (_K - 1)) * _mu),
            r"the signal shrinks by $1 - \epsilon K/(K-1)$, to 0 at $\epsilon = (K-1)/K$: random labels. Two classes: "
            r"by $1 - 2\epsilon$. A caption that names no class adds 0 and shrinks it by $1 - \epsilon$.",
        ),
    ),
    conclusion=r"The formula of the K-class setting; wrong classes scale its signal by $1 - \epsilon K/(K-1)$, missing ones by "
    r"$1 - \epsilon$.",
)
