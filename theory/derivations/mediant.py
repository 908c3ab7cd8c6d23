r"""The mediant inequality, for any number of ratios: the arithmetic behind every theorem on mixing."""

from theory.derivations.step import Derivation, Equation, Expression, Inequality, Step, sp

_w1, _w2, _y1, _y2 = sp.symbols("w_1 w_2 y_1 y_2", positive=True)
_r1, _r2 = sp.symbols("r_1 r_2", real=True)
_W1, _W2 = sp.symbols("W_1 W_2", positive=True)
_g, _k = sp.symbols("g k", nonnegative=True)
_gp, _kp = sp.symbols("g k", positive=True)
# Induction: what S terms have gathered, and the term that joins them.
_M, _low, _high, _r = sp.symbols(r"M_S r_{\min} r_{\max} r_{S+1}", real=True)
_B, _w, _y, _W = sp.symbols("B_S w_{S+1} y_{S+1} W_{S+1}", positive=True)
_s, _S = sp.Symbol("s", integer=True), sp.Symbol("S", integer=True, positive=True)
_Wi, _ri = sp.IndexedBase("W"), sp.IndexedBase("r")


def _sum(term: Expression) -> Expression:
    return sp.Sum(term, (_s, 1, _S))


_two = (_W1 * _r1 + _W2 * (_r1 + _g)) / (_W1 + _W2)

MEDIANT = Derivation(
    number="Lemma",
    title="the mediant inequality",
    key="L",
    assumptions=(
        r"Ratios $r_s = x_s/y_s$ with $y_s \gt 0$, weights $w_s \gt 0$, $s = 1, \dots, S$. Their weighted mediant is "
        r"$M = \sum_s w_s x_s / \sum_s w_s y_s$.",
        r"Write $W_s = w_s y_s \gt 0$.",
    ),
    steps=(
        Step(
            r"The mediant is a weighted mean of the ratios, with weights $W_s = w_s y_s$ (two terms, $x_s = r_s y_s$).",
            Equation(
                (_w1 * _r1 * _y1 + _w2 * _r2 * _y2) / (_w1 * _y1 + _w2 * _y2),
                _r1 * (_w1 * _y1) / (_w1 * _y1 + _w2 * _y2) + _r2 * (_w2 * _y2) / (_w1 * _y1 + _w2 * _y2),
            ),
            "Split the fraction.",
        ),
        Step(
            r"Base of the induction, lower side. For two ratios $r_1$ and $r_2 = r_1 + g$, $g \ge 0$: the mediant is "
            r"at least $r_1$.",
            Inequality(_two, ">=", _r1, _W2 * _g / (_W1 + _W2)),
            "Subtract and put over one denominator.",
        ),
        Step(
            r"Base of the induction, upper side: it is at most $r_2$.",
            Inequality(_r1 + _g, ">=", _two, _W1 * _g / (_W1 + _W2)),
            "The same.",
        ),
        Step(
            r"Mediants nest: with $A_S = \sum_{s \le S} w_s x_s$, $B_S = \sum_{s \le S} w_s y_s$, $M_S = A_S/B_S$ and "
            r"$x_{S+1} = r_{S+1} y_{S+1}$, the mediant of $S+1$ ratios is the weighted mean of $M_S$, with weight "
            r"$B_S$, and the last.",
            Equation(
                (_M * _B + _w * _r * _y) / (_B + _w * _y),
                _M * _B / (_B + _w * _y) + _r * (_w * _y) / (_B + _w * _y),
            ),
            r"Split the fraction; $A_S = M_S B_S$.",
        ),
        Step(
            r"Induction step, lower side. Suppose $M_S = r_{\min} + g$ and $r_{S+1} = r_{\min} + k$ with $g, k \ge 0$.",
            Inequality(
                (_B * (_low + _g) + _W * (_low + _k)) / (_B + _W),
                ">=",
                _low,
                (_B * _g + _W * _k) / (_B + _W),
            ),
            r"So $M_{S+1} \ge r_{\min}$ whenever $M_S$ and the last ratio are.",
        ),
        Step(
            r"Induction step, upper side. Suppose $M_S = r_{\max} - g$ and $r_{S+1} = r_{\max} - k$ with $g, k \ge 0$.",
            Inequality(
                _high,
                ">=",
                (_B * (_high - _g) + _W * (_high - _k)) / (_B + _W),
                (_B * _g + _W * _k) / (_B + _W),
            ),
            r"So $M_{S+1} \le r_{\max}$. By induction on $S$ both hold for every $S$.",
        ),
        Step(
            r"The same for all $S$ at once: the distance from $r_{\min}$ is a weighted mean of the distances.",
            Equation(
                _sum(_Wi[_s] * _ri[_s]) / _sum(_Wi[_s]) - _low,
                _sum(_Wi[_s] * (_ri[_s] - _low)) / _sum(_Wi[_s]),
            ),
            r"Every $W_s (r_s - r_{\min})$ is non-negative, and so is their sum.",
        ),
        Step(
            r"More weight on the second of two ratios moves the mediant towards it, $r_2 = r_1 + g$.",
            Inequality(sp.Derivative(_two, _W2), ">=", sp.S.Zero, _W1 * _g / (_W1 + _W2) ** 2),
            r"Strictly if $g \gt 0$.",
        ),
        Step(
            r"Positive denominators are needed. Let $y_2 \lt 0$, so that the second weight is $-W_2$, with $W_1 = W_2 "
            r"+ k$, $k \gt 0$ and "
            r"$r_1 = r_2 + g$: the mediant exceeds the larger ratio.",
            Inequality(
                ((_W2 + _kp) * (_r2 + _gp) - _W2 * _r2) / ((_W2 + _kp) - _W2),
                ">",
                _r2 + _gp,
                _W2 * _gp / _kp,
            ),
            r"As $k \to 0$ it is unbounded.",
        ),
    ),
    conclusion=r"$\min_s r_s \le M \le \max_s r_s$ for positive weights and denominators, whatever their number.",
)
