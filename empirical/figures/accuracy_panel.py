"""The upper panels of `draw_predictions_vs_measurements`: accuracy under shift against accuracy on the reference set.

Use `AccuracyPanel` for one shift, `shown_mixtures` for which mixtures a panel has room for, and `places_on_axes` for a
table of predictions with its places in probit.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    RULE_STYLE,
    OpenEnded,
    finite_bars,
    line_between,
    mixture_marker,
    probit_of,
)
from empirical.prediction import PRIMARY_RULE, mixture_shares
from theory.counts import clopper_pearson
from theory.links import dprime_inverse
from theory.source_looks import source_looks

_MAX_MIXTURES = 14
_COUNTS = ["x_num_correct", "x_num_images", "y_num_correct", "y_num_images"]
PIE_SIZES = (4.6, 6.8)
"""Points across: pies of the smaller and of the largest n that a figure shows."""


def shown_mixtures(table: pd.DataFrame) -> list[tuple[str, int]]:
    """(sources, n_train) of the mixtures drawn in the upper panels, smaller n first.

    All of up to 4; all shares of one pair of sources at their two largest n; else the largest n of at most 14 mixtures,
    evenly picked.
    """
    mixed = table[table["kind"] == "input_mixing"]
    groups = sorted({(int(n), str(s)) for s, n in zip(mixed["sources"], mixed["n_train"], strict=True)})
    if one_pair([s for _, s in groups]):
        sizes = sorted({n for n, _ in groups})[-2:]
        groups = [(n, s) for n, s in groups if n in sizes]
        if len(groups) <= _MAX_MIXTURES:
            return [(s, n) for n, s in groups]
    if len(groups) <= 4:
        return [(s, n) for n, s in groups]
    largest = mixed.groupby("sources", sort=False)["n_train"].max()
    picked = np.unique(np.linspace(0, len(largest) - 1, min(len(largest), _MAX_MIXTURES)).round().astype(int))
    return [(str(largest.index[i]), int(largest.iloc[i])) for i in picked]


def one_pair(mixtures: list[str]) -> tuple[str, str] | None:
    """The two sources of all these mixtures, if they are all of the same two at several shares."""
    pairs = {tuple(sorted(mixture_shares(sources))) for sources in mixtures}
    pair = pairs.pop() if len(pairs) == 1 and len(set(mixtures)) > 1 else ()
    return (pair[0], pair[1]) if len(pair) == 2 else None


def places_on_axes(predictions: pd.DataFrame, accuracies: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Predictions with their places and 95% ends in probit: {x, y}_{predicted, measured, low, high}, x the reference."""
    table = predictions.copy()
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    for axis, name in (("x", "ref"), ("y", "shift")):
        sets = pd.Series(reference, index=table.index) if axis == "x" else table["shift"]
        table[f"{axis}_num_classes"] = sets.map(classes).astype(float)
        measured, stderr = table[f"dprime_{name}_measured"], table[f"dprime_{name}_measured_stderr"]
        values = {
            "predicted": table[f"dprime_{name}_predicted"], "measured": measured,
            "low": measured - 1.96 * stderr, "high": measured + 1.96 * stderr,
        }  # fmt: skip
        for key, value in values.items():
            accuracy = dprime_inverse(value.to_numpy(float), table[f"{axis}_num_classes"].to_numpy(float))
            table[f"{axis}_{key}"] = probit_of(np.asarray(accuracy))
    return table


@dataclass
class AccuracyPanel:
    """Everything that one upper panel shows, in probit accuracies.

    models: `models_of_shift`; trends: lines of single sources on this shift; predictions: `places_on_axes` of this shift;
    shown: `shown_mixtures`. Call `draw`, set the axes' limits to hold what it returns, then call `draw_open_ended`.
    """

    ax: Axes
    models: pd.DataFrame
    trends: pd.DataFrame
    predictions: pd.DataFrame
    shown: list[tuple[str, int]]
    colours: dict[str, str]
    open_ended: OpenEnded = field(default_factory=OpenEnded)
    _window: list[np.ndarray] = field(default_factory=list)

    def draw(self) -> np.ndarray:
        """Draw what has a place; returns the (x, y) that the limits must hold as an array (2, points).

        With mixtures these are the mixtures and all that is predicted for them: a closer look, into which the lines lead
        from the smaller models outside. A few mixtures leave room for the single-source models of at least half the largest
        n, a crowd for half its own extent below and to the left.
        """
        pair, crowded = one_pair([sources for sources, _ in self.shown]), self._crowded()
        self._single_sources(keep_in_window=not crowded)
        if pair:
            for n in dict.fromkeys(n for _, n in self.shown):
                for rule in ("mediant", PRIMARY_RULE):
                    self._curve_over_share(rule, pair, n)
        for sources, n in self.shown:
            self._mixture(sources, n, crowded=crowded, pair=pair is not None)
        places = np.concatenate(self._window, axis=1)
        places = places[:, np.all(np.isfinite(places), axis=0)]
        if crowded and places.size:
            low, high = places.min(axis=1), places.max(axis=1)
            places = np.concatenate([places, (low - 0.5 * (high - low))[:, None]], axis=1)
        return places

    def _crowded(self) -> bool:
        """More than four mixtures, not all of one pair, of which this shift has at least one."""
        there = set(self.models.loc[self.models["kind"] == "input_mixing", "group"])
        mixtures = [sources for sources, _ in self.shown]
        return len(mixtures) > 4 and one_pair(mixtures) is None and not there.isdisjoint(mixtures)

    def _single_sources(self, keep_in_window: bool) -> None:
        single = self.models[self.models["kind"] == "single"]
        least = max((n for _, n in self.shown), default=0) / 2
        lines = self._lines("probit")
        for source, (colour, marker) in source_looks(self.colours).items():
            points = single[single["group"] == source]
            x, y = (_finite(points[f"{axis}_probit"]) for axis in "xy")
            self.ax.plot(x, y, marker, ms=3.0, mfc=colour, mec="none", alpha=0.6, zorder=3)
            if source in lines.index and np.isfinite(x).any():
                fit = lines.loc[source]
                line_between(
                    self.ax, fit["intercept"], fit["slope"], x, color=colour, lw=1.2, alpha=0.9, zorder=2
                )
            large = (points["n_train"] >= least).to_numpy(bool)
            # A large model at 0 or 1 is worth a wider view even in a crowd.
            self._window += [
                np.stack([x, y])[:, large & keep_in_window],
                self.open_ended.add(points[large], colour),
            ]
            self.open_ended.add(points[~large], colour)

    def _curve_over_share(self, rule: str, pair: tuple[str, str], n: int) -> None:
        """What a rule predicts at every share of a pair, from one source to the other through the shares there are.

        The curve starts and ends at the sources' own models of size n, which is what the rule says of a mixture that is one
        source alone: their mean d' for the mediant, the line at their mean reference d' for the primary rule.
        """
        lines = self._lines("dprime")
        single = self.models[(self.models["kind"] == "single") & (self.models["n_train"] == n)]
        rows = self.predictions[(self.predictions["rule"] == rule) & (self.predictions["n_train"] == n)]
        if rows.empty:
            return
        at = [mixture_shares(str(sources))[pair[1]] for sources in rows["sources"]]
        places = [rows[["x_predicted", "y_predicted"]].to_numpy(float)[np.argsort(at)].T]
        for i, source in enumerate(pair):
            own = single[single["group"] == source]
            if own.empty or (rule == PRIMARY_RULE and source not in lines.index):
                continue
            x, y = float(own["x_dprime"].mean()), float(own["y_dprime"].mean())
            if rule == PRIMARY_RULE:
                y = float(lines.loc[source, "intercept"] + lines.loc[source, "slope"] * x)
            classes = own[["x_num_classes", "y_num_classes"]].to_numpy(float)[0]
            end = np.stack(
                [_probit_of_dprime(np.array([d]), k) for d, k in zip((x, y), classes, strict=True)]
            )
            places.insert(0 if i == 0 else len(places), end)
        curve = np.concatenate(places, axis=1)
        curve = curve[:, np.all(np.isfinite(curve), axis=0)]
        self.ax.plot(*curve, color=RULE_STYLE[rule][0], lw=0.8, ls=(0, (3.5, 1.6)), zorder=3.8)
        self._window.append(curve)

    def _mixture(self, sources: str, n: int, crowded: bool, pair: bool) -> None:
        models, ax = self.models, self.ax
        mixed = models[
            (models["kind"] == "input_mixing") & (models["group"] == sources) & (models["n_train"] == n)
        ]
        if mixed.empty:
            return
        shares = mixture_shares(sources)
        own = (self.predictions["sources"] == sources) & (self.predictions["n_train"] == n)
        rows = self.predictions[own].set_index("rule")
        (x, x_bar), (y, y_bar) = _measured(mixed, rows)
        ensemble = models[(models["group"] == f"{sources} [heads each]") & (models["n_train"] == n)]
        if len(ensemble):
            place = np.array([[np.mean(ensemble[f"{axis}_probit"])] for axis in "xy"])
            if not np.all(np.isfinite(place)):
                place = self.open_ended.add(_pooled(ensemble), INK, 0.6)
            else:
                ax.plot(
                    *place,
                    "x",
                    ms=3.4 if crowded else 4.2,
                    mew=0.8 if crowded else 1.0,
                    color=INK,
                    zorder=4.5,
                )
            self._window.append(place)
        if "mediant" in rows.index and not crowded:
            place = rows.loc["mediant", ["x_predicted", "y_predicted"]].to_numpy(float)
            colour, marker, _, _ = RULE_STYLE["mediant"]
            ax.plot(*place, marker, ms=3.4, mfc="white", mec=colour, mew=0.8, zorder=4.8)
            self._window.append(place[:, None])
        lines = self._lines("dprime")
        if PRIMARY_RULE in rows.index and set(shares) <= set(lines.index):
            curve = _predicted_line(rows.loc[PRIMARY_RULE], shares, lines)
            at_end = rows.loc[PRIMARY_RULE, "x_predicted"] > x
            if not pair:  # a pair's curves over the share leave no room for it
                style = (
                    {"color": PALE, "lw": 0.6} if crowded else {"color": DARK, "lw": 0.9, "ls": (0, (3, 1.2))}
                )
                ax.plot(*curve, zorder=3.6, **style)
                self._window.append(curve)
            ax.plot(*curve[:, -1 if at_end else 0], "D", ms=2.2 if crowded else 2.8, color=DARK, zorder=4.6)
            self._window.append(curve[:, -1:] if at_end else curve[:, :1])
        if np.isfinite(x) and np.isfinite(y):
            ax.errorbar(
                x, y, xerr=x_bar, yerr=y_bar, fmt="none", ecolor=INK, elinewidth=0.5, capsize=0,
                alpha=0.45 if crowded else 0.6, zorder=3.4,
            )  # fmt: skip
            largest = n == max(size for _, size in self.shown)
            size = PIE_SIZES[int(largest)] - (1.3 if crowded else 0.0)
            mixture_marker(ax, x, y, shares, self.colours, size=size, zorder=5.5 + 0.01 * n / (1 + n))
            bars = np.array([[x - x_bar[0, 0], x + x_bar[1, 0]], [y - y_bar[0, 0], y + y_bar[1, 0]]])
            # The bars of a crowd may leave the panel: its pies would shrink into a corner otherwise.
            self._window.append(np.array([[x], [y]]) if crowded else bars)
        else:
            end = self.open_ended.add(_pooled(mixed), DARK)
            # The pie stands on the interval's finite end, from which the bar leaves it open.
            mixture_marker(ax, float(end[0, 0]), float(end[1, 0]), shares, self.colours, size=PIE_SIZES[0])
            self._window.append(end)

    def _lines(self, link: str) -> pd.DataFrame:
        return self.trends[self.trends["link"] == link].set_index("sources")


def _pooled(models: pd.DataFrame) -> pd.DataFrame:
    """One row with the counts of several models together."""
    return models[_COUNTS].sum().to_frame().T


def _predicted_line(row: pd.Series, shares: dict[str, float], lines: pd.DataFrame) -> np.ndarray:
    """Sources' d' lines averaged by share, from the mixture's measured place to the ensemble's: (2, points) in probit."""
    slope, intercept = (
        sum(p * lines.loc[name, key] for name, p in shares.items()) for key in ("slope", "intercept")
    )
    low, high = sorted([float(row["dprime_ref_measured"]), float(row["dprime_ref_predicted"])])
    dprime_ref = np.linspace(low, high, 12)
    return np.stack(
        [
            _probit_of_dprime(dprime_ref, row["x_num_classes"]),
            _probit_of_dprime(intercept + slope * dprime_ref, row["y_num_classes"]),
        ]
    )


def _finite(values: pd.Series) -> np.ndarray:
    """Infinite links have no place on the axes; they become nan here and are drawn by `OpenEnded`."""
    array = values.to_numpy(float)
    return np.where(np.isfinite(array), array, np.nan)


def _probit_of_dprime(dprime: np.ndarray, num_classes: float) -> np.ndarray:
    return probit_of(np.asarray(dprime_inverse(np.asarray(dprime, dtype=float), int(num_classes))))


def _measured(mixed: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[float, np.ndarray]]:
    """Place of a mixture and its 95% bars (2, 1) on both axes, from the predictions table if it has them."""
    out = []
    for axis in "xy":
        if len(rows) and np.isfinite(rows[f"{axis}_low"].iloc[0]):
            middle, low, high = (float(rows[f"{axis}_{key}"].iloc[0]) for key in ("measured", "low", "high"))
        else:
            correct, images = (int(mixed[f"{axis}_num_{key}"].sum()) for key in ("correct", "images"))
            low, high = (float(probit_of(np.asarray(end))) for end in clopper_pearson(correct, images))
            middle = float(probit_of(np.asarray(correct / images)))
        out.append((middle, finite_bars(np.array([low]), np.array([middle]), np.array([high]))))
    return out
