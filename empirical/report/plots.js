"use strict";
/* How the page's plots look and behave: colours, ticks that follow the zoom, error bars, size on paper, words for screen readers.
   Nothing here knows what a study is. */

const Plots = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function isDark() {
    const theme = document.documentElement.dataset.theme;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  /* The page works offline and keeps what it is told: no button sends a chart to a server. */
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"] };

  /* Sizes on paper in CSS pixels: style.css has the same; the width fits A4 and Letter. */
  const PAPER = { width: 690, height: 400, low: 340 };
  let isPrinting = false;
  const isNarrow = () => !isPrinting && innerWidth < 600;
  const heightOf = (element) => (!isPrinting ? element.clientHeight : element.classList.contains("low") ? PAPER.low : PAPER.height);
  const widthOf = (element) => (isPrinting ? PAPER.width : element.clientWidth);
  function layout(xTitle, yTitle, more = {}) {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--soft"), ticks: "outside", automargin: true };
    return {
      paper_bgcolor: css("--paper"), plot_bgcolor: css("--paper"), font: { color: css("--ink"), size: 13 },
      margin: { l: 60, r: 12, t: 30, b: isNarrow() ? 190 : 120 }, hovermode: "closest", showlegend: true,
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", font: { size: isNarrow() ? 11 : 12 }, bgcolor: "rgba(0,0,0,0)" },
      ...more,
      xaxis: { ...axis, title: { text: xTitle }, ...(more.xaxis || {}) }, yaxis: { ...axis, title: { text: yTitle }, ...(more.yaxis || {}) },
    };
  }

  /* --- ticks --------------------------------------------------------------------------------------------------- */
  /* An axis of percentages on another scale: where a share lies on the axis, which share lies at a place, what Plotly calls it,
     and the round percentages of a wide view, the most telling first. */
  const WIDE = [50, 10, 90, 1, 99, 30, 70, 5, 95, 20, 80, 40, 60, 2, 98, 0.5, 99.5, 0.1, 99.9];
  const STEPS = Array.from({ length: 21 }, (_, i) => [5, 2, 1][i % 3] / 10 ** Math.floor(i / 3));
  const known = new Map();
  const scales = {
    probit: () => ({ place: Theory.normalQuantile, share: Theory.normalCdf, value: Theory.normalQuantile, wide: WIDE }),
    dprime: (numClasses) => {
      const place = (p) => {
        const key = `${numClasses} ${p}`;
        if (!known.has(key)) known.set(key, Theory.dprimeOfAccuracy(p, numClasses));
        return known.get(key);
      };
      return { place, share: (d) => Theory.accuracyOfDprime(d, numClasses), value: place, wide: WIDE };
    },
    log: () => ({ place: Math.log10, share: (x) => 10 ** x, value: (p) => p, wide: [100, 10, 1, 50, 20, 5, 2, 0.5, 0.2, 0.1] }),
  };
  /* Percentages to mark between two places of an axis that has room for so many labels: a wide view's round ones, or the multiples
     of the largest step that gives enough. */
  function percentTicks(scale, range, room) {
    const low = Math.min(...range), high = Math.max(...range), from = 100 * scale.share(low), to = 100 * scale.share(high);
    const enough = Math.min(4, Math.max(2, Math.floor(room / 2)));
    const inside = (p) => p >= from - 1e-9 && p <= to + 1e-9 && Number.isFinite(scale.place(p / 100));
    let found = scale.wide.filter(inside);
    for (const step of STEPS) {
      if (found.length >= enough) break;
      const first = Math.ceil(from / step - 1e-9), count = Math.floor(to / step + 1e-9) - first + 1;
      found = Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toFixed(7))).filter(inside);
    }
    const apart = (high - low) / Math.max(1, room), kept = [];
    for (const p of found) {
      const at = scale.place(p / 100);
      if (kept.every((other) => Math.abs(other.at - at) >= apart)) kept.push({ p, at });
    }
    kept.sort((one, other) => one.at - other.at);
    return { tickvals: kept.map(({ p }) => scale.value(p / 100)), ticktext: kept.map(({ p }) => `${p}%`) };
  }
  /* Labels that an axis of this plot has room for: one takes so many pixels. */
  const rooms = { xaxis: (element) => (widthOf(element) - 80) / 46, yaxis: (element) => (heightOf(element) - (isNarrow() ? 220 : 150)) / 24 };
  function tidy(element) {
    const change = {};
    for (const [axis, scale] of Object.entries(element.scales)) {
      const now = element.layout[axis], ticks = percentTicks(scale, now.range, rooms[axis](element));
      if (JSON.stringify([now.tickvals, now.ticktext]) !== JSON.stringify([ticks.tickvals, ticks.ticktext]))
        Object.assign(change, { [`${axis}.tickmode`]: "array", [`${axis}.tickvals`]: ticks.tickvals, [`${axis}.ticktext`]: ticks.ticktext });
    }
    if (Object.keys(change).length) Plotly.relayout(element, change);
    // Buttons that a mouse alone can use, since they show under it: the keyboard passes them.
    element.querySelectorAll(".modebar-btn").forEach((button) => { button.tabIndex = -1; });
  }

  /* --- drawing ------------------------------------------------------------------------------------------------- */
  /* axisScales: xaxis and yaxis -> one of `scales`; words: what a screen reader says. */
  function draw(id, traces, look, axisScales, words) {
    const element = document.getElementById(id), isNew = !element.scales;
    element.scales = axisScales;
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", words);
    const size = isPrinting ? { autosize: false, width: widthOf(element), height: heightOf(element) } : { autosize: true };
    Plotly.react(element, traces, { ...look, ...size }, config);
    if (isNew) element.on("plotly_relayout", () => tidy(element));
    tidy(element);
  }
  const isInterval = ([, low, high]) => typeof low === "number" && typeof high === "number";
  /* Bars of [value, low, high]; an end that is not known is NaN, for which Plotly draws nothing (null would be 0). */
  function whiskers(intervals) {
    const length = (interval, end) => (isInterval(interval) ? Math.abs(interval[end] - interval[0]) : NaN);
    return { type: "data", symmetric: false, array: intervals.map((i) => length(i, 2)), arrayminus: intervals.map((i) => length(i, 1)),
      thickness: 1.2, width: 4, color: css("--soft") };
  }
  function intervalWords(intervals) {
    const count = intervals.filter(isInterval).length;
    if (!count) return "no 95% intervals: too few models";
    return count < intervals.length ? "95% intervals where there are models enough" : "95% intervals";
  }

  /* On paper everything is light, unfolded and as wide as the sheet; `redraw` draws all plots again. */
  function printWell(redraw) {
    let theme, closed = [];
    addEventListener("beforeprint", () => {
      if (isPrinting) return;
      [theme, closed, isPrinting] = [document.documentElement.dataset.theme, [...document.querySelectorAll("details:not([open])")], true];
      document.documentElement.dataset.theme = "light";
      closed.forEach((each) => { each.open = true; });
      redraw();
    });
    addEventListener("afterprint", () => {
      if (!isPrinting) return;
      isPrinting = false;
      if (theme === undefined) delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      closed.forEach((each) => { each.open = false; });
      redraw();
    });
  }

  return { css, isDark, layout, scales, percentTicks, draw, isInterval, whiskers, intervalWords, printWell };
})();

if (typeof module !== "undefined") module.exports = Plots;
