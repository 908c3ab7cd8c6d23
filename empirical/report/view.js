"use strict";
(() => {
  // The inverse of empirical/report/packing.py: tables written column by column become lists of objects again.
  const unpack = (value) => {
    if (Array.isArray(value)) return value.map(unpack);
    if (value === null || typeof value !== "object") return value;
    const keys = value["§columns"];
    if (!keys) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpack(item)]));
    const columns = value["§values"].map(unpack);
    return columns[0].map((_, row) => Object.fromEntries(keys.map((key, i) => [key, columns[i][row]])));
  };
  const data = unpack(JSON.parse(document.getElementById("payload").textContent));
  window.studyData = data;
  const $$ = (id) => document.getElementById(id);
  const words = (name) => String(name).replaceAll("_", " ");
  const colour = Object.fromEntries(data.sources.map((s) => [s.name, s.colour]));
  const symbol = Object.fromEntries(data.sources.map((s) => [s.name, s.symbol]));
  const fixed = (value, digits = 3) => (value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits));
  const chosen = { sources: new Set(data.sources.map((s) => s.name)) };

  /* --- controls ------------------------------------------------------------------------------------------------ */
  function fill(select, values, text = words) {
    const before = select.value;
    select.replaceChildren(...values.map((value) => new Option(text(value), value)));
    if (values.map(String).includes(before)) select.value = before;
  }
  const names = data.sources.map((s) => s.name);
  const meanOf = (kind, sources, n, heads = "") =>
    data.means.find((m) => m.kind === kind && m.sources === sources && m.n_train === n && m.heads === heads);
  const sizesOf = (name) => data.means.filter((m) => m.kind === "single" && m.sources === name).map((m) => m.n_train);
  const pairMixtures = (a, b) => (a === b ? [] : data.ratios.filter((r) => r.kind === "input_mixing" &&
    Object.keys(r.shares).length === 2 && a in r.shares && b in r.shares));

  function start() {
    const kinds = new Set(data.models.map((m) => m.kind)), hasMixtures = kinds.has("input_mixing");
    const title = `${hasMixtures ? "mixtures" : "training data"}, measured and predicted`;
    document.title = `${data.title}: ${title}`;
    $$("title").textContent = `${words(data.title)}: ${title}`;
    const runs = new Set(data.models.map((m) => m.run)).size;
    const of = [counted(names.length, "source"), hasMixtures && "their mixtures", kinds.has("filtered") && "filtered pools"].filter(Boolean);
    $$("lead").textContent = `${counted(runs, "model")} of ${of.join(", ").replace(/, ([^,]*)$/, " and $1")} on ${counted(data.shifts.length, "shift")}.`;
    document.querySelectorAll("[data-mixtures]").forEach((e) => { e.hidden = (e.dataset.mixtures === "some") !== hasMixtures; });
    fill($$("shift"), data.shifts);
    fill($$("first"), names);
    fill($$("second"), names);
    const counts = new Map();
    for (const r of data.ratios) {
      const pair = Object.keys(r.shares);
      if (r.kind === "input_mixing" && pair.length === 2) {
        const key = JSON.stringify([...pair].sort());
        counts.set(key, (counts.get(key) || new Set()).add(r.sources));
      }
    }
    const best = [...counts].sort((x, y) => y[1].size - x[1].size)[0];
    const [a, b] = best ? JSON.parse(best[0]) : [names[0], names[1] || names[0]];
    $$("first").value = a;
    $$("second").value = b;
    for (const source of data.sources) {
      const label = document.createElement("label"), box = document.createElement("input"), dot = document.createElement("span");
      box.type = "checkbox"; box.checked = true; box.value = source.name;
      dot.className = "swatch"; dot.style.background = source.colour;
      label.append(box, dot, words(source.name));
      $$("sources").append(label);
      box.addEventListener("change", () => { chosen.sources[box.checked ? "add" : "delete"](source.name); draw(); });
    }
    $$("provenance").textContent = JSON.stringify(data.provenance, null, 1);
    const p = data.provenance, made = (p.environments || [p.environment || {}]);
    const torch = [...new Set(made.map((each) => (each.versions || {}).torch || "?"))].join(", ");
    $$("provenance-summary").textContent = `${p.runs ?? runs} runs, seeds ${(p.seeds || []).join(", ")}, ` +
      `${(p.devices || []).join(", ") || "device unknown"}, torch ${torch}: settings, seeds, versions, data`;
    fillSizes();
    fillFilters();
    for (const id of ["shift", "link", "size"]) $$(id).addEventListener("change", draw);
    let pair = [$$("first").value, $$("second").value];
    for (const id of ["first", "second"]) $$(id).addEventListener("change", () => {
      // A source does not mix with itself: choosing the other one swaps the two.
      if ($$("first").value === $$("second").value) [$$("second").value, $$("first").value] = pair;
      pair = [$$("first").value, $$("second").value];
      fillSizes();
      draw();
    });
    $$("shift").addEventListener("change", fillFilters);
    $$("share").addEventListener("input", moveShare);
    $$("filter").addEventListener("change", drawFilter);
    for (const id of ["threshold", "alignment"]) $$(id).addEventListener("input", drawFilter);
    $$("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = Plots.isDark() ? "light" : "dark";
      draw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    Plots.printWell(draw);
    draw();
  }

  function fillSizes() {
    const second = new Set(sizesOf($$("second").value));
    const sizes = sizesOf($$("first").value).filter((n) => second.has(n)).sort((x, y) => x - y);
    const before = $$("size").value;
    fill($$("size"), sizes, (n) => Number(n).toLocaleString("en"));
    if (sizes.map(String).includes(before) && before) return;
    // The largest size at which this pair was mixed: a curve without a measurement beside it is a poor first sight.
    const mixed = new Set(pairMixtures($$("first").value, $$("second").value).map((r) => r.n_train));
    $$("size").value = sizes.filter((n) => mixed.has(n)).at(-1) ?? sizes.at(-1);
  }

  /* Pools with every quantity measured come first; the others need an assumed agreement of filter and pool. */
  function filterChoices() {
    const assumed = data.filters.filter((f) => f.shift === $$("shift").value);
    return [...data.pools.map((pool) => ({ pool, text: `CLIP of ${mixtureWords(pool.filter)} on ${poolWords(pool.pool)}` })),
      ...assumed.map((own) => ({ own, text: `CLIP of ${mixtureWords(own.filter)} on ${poolWords(own.pool)}, keeping ${Math.round(100 * own.keptShare)}% (agreement assumed)` }))];
  }
  function fillFilters() {
    const choices = filterChoices();
    fill($$("filter"), choices.map((_, i) => i), (i) => choices[i].text);
    $$("filtering").hidden = !choices.length;
  }
  function poolWords(name) {
    const [sources, junk] = name.split("+junk:");
    return mixtureWords(sources) + (Number(junk) ? `, ${Math.round(100 * junk)}% shuffled` : "");
  }

  /* --- look ---------------------------------------------------------------------------------------------------- */
  const { css, layout, whiskers, intervalWords } = Plots;
  function ruleColour(rule) { return Plots.isDark() && /^#(222222|A0174B|5B4FC4)$/i.test(rule.colour)
    ? { "#222222": "#f0f0f0", "#A0174B": "#ff7aa8", "#5B4FC4": "#a89cff" }[rule.colour] : rule.colour; }
  const dashes = { mediant: "solid", quadrature: "dashdot", lines: "dash", interpolated: "dot", best_source: "longdash" };
  /* "0.512 [0.498, 0.526]", or the value alone where it has no interval. */
  const within = (interval, digits = 3) => fixed(interval[0], digits) + (Plots.isInterval(interval) ? ` [${fixed(interval[1], digits)}, ${fixed(interval[2], digits)}]` : "");
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const axisOf = (testSet, link) => Plots.scales[link](data.classes[testSet]);

  /* --- mixing -------------------------------------------------------------------------------------------------- */
  function setting() {
    const shift = $$("shift").value, link = $$("link").value, n = Number($$("size").value), share = Number($$("share").value);
    const pair = [$$("first").value, $$("second").value];
    const ends = pair.map((name) => meanOf("single", name, n));
    const pairOf = (m) => [m.dprime[data.reference][0], m.dprime[shift][0]];
    const lines = pair.map((name) => data.lines.find((l) => l.kind === "single" && l.sources === name && l.shift === shift &&
      l.link === "dprime" && l.fit === "line")).map((l) => l && [l.intercept, l.slope]);
    return { shift, link, n, share, pair, ends, lines, dprime: pair[0] !== pair[1] && ends.every(Boolean) ? ends.map(pairOf) : null };
  }
  function place(dprime, testSet, link) {
    return link === "dprime" ? dprime : Theory.probitOfDprime(dprime, data.classes[testSet]);
  }
  const usable = (rule, s) => s.dprime && s.dprime.flat().every((v) => v !== null) && (rule.name !== "lines" || s.lines.every(Boolean));
  function predicted(rule, s, share) {
    const [ratio, x] = Theory.predictRatio(rule.name, [1 - share, share], s.dprime, s.lines);
    return { ratio, x, y: ratio * x };
  }
  const grid = Array.from({ length: 41 }, (_, i) => i / 40);

  function hover(model) {
    const lines = [`<b>${model.run}</b>`, `${words(model.kind)}, n = ${model.n_train.toLocaleString("en")}, seed ${model.seed}`];
    if (model.filter) lines.push(`filter: CLIP of ${words(model.filter)}, kept ${Math.round(100 * model.kept_share)}%`);
    if (model.heads) lines.push(`heads trained on ${model.heads === "each" ? "n samples each" : "their share of n"}`);
    for (const [set, [correct, images]] of Object.entries(model.sets))
      lines.push(`${words(set)}: ${(100 * correct / images).toFixed(1)}% (${correct} of ${images})`);
    if (model.seconds !== undefined) lines.push(`${model.seconds} s`);
    return lines.join("<br>");
  }
  function points(models, s, style, name) {
    const at = s.link === "dprime" ? 3 : 2;
    const shown = models.filter((m) => m.sets[data.reference] && m.sets[s.shift] && m.sets[s.shift][at] !== null && m.sets[data.reference][at] !== null);
    return { type: "scatter", mode: "markers", name, x: shown.map((m) => m.sets[data.reference][at]), y: shown.map((m) => m.sets[s.shift][at]),
      text: shown.map(hover), hoverinfo: "text", marker: style };
  }
  function mixtureWords(sources) {
    const parts = sources.split("+").map((part) => part.split(":"));
    if (parts.length === 1) return words(parts[0][0]);
    const equal = new Set(parts.map((part) => part[1])).size === 1;
    if (parts.length > 3 && equal) return `${parts.map((part) => words(part[0])).join(", ")} (equal shares)`;
    return parts.map(([name, share]) => `${words(name)} ${(100 * share).toFixed(0)}%`).join(" + ");
  }
  function mixtureShown(model) {
    return model.sources.split("+").every((part) => chosen.sources.has(part.split(":")[0]));
  }

  function planeTraces(s) {
    const traces = [];
    for (const source of data.sources.filter((x) => chosen.sources.has(x.name))) {
      const own = data.models.filter((m) => m.kind === "single" && m.sources === source.name);
      const trace = points(own, s, { color: source.colour, symbol: source.symbol, size: 6, opacity: 0.75 }, words(source.name));
      trace.legendgroup = source.name;
      traces.push(trace);
      const fit = data.lines.find((l) => l.kind === "single" && l.sources === source.name && l.shift === s.shift && l.link === s.link && l.fit === "line");
      if (fit && trace.x.length) {
        const ends = [Math.min(...trace.x), Math.max(...trace.x)];
        traces.push({ type: "scatter", mode: "lines", x: ends, y: ends.map((x) => fit.intercept + fit.slope * x), legendgroup: source.name,
          showlegend: false, hoverinfo: "skip", line: { color: source.colour, width: 1.5 } });
      }
    }
    const mixtures = data.models.filter((m) => m.kind === "input_mixing" && mixtureShown(m));
    // Hundreds of mixtures would hide the few that the curves are about.
    const ofPair = new Set(pairMixtures(...s.pair).map((r) => r.sources));
    const own = mixtures.filter((m) => ofPair.has(m.sources)), others = mixtures.filter((m) => !ofPair.has(m.sources));
    if (others.length) traces.push(points(others, s, { color: css("--soft"), symbol: "diamond", size: 5, opacity: others.length > 100 ? 0.25 : 0.6 }, "other mixtures"));
    // Curves and stars are of one n: the pair's mixtures of other sizes belong to other curves.
    const mark = { color: css("--ink"), symbol: "diamond", line: { color: css("--paper"), width: 1 } };
    const [here, elsewhere] = [true, false].map((wanted) => own.filter((m) => (m.n_train === s.n) === wanted));
    if (elsewhere.length) traces.push(points(elsewhere, s, { ...mark, symbol: "diamond-open", size: 7, opacity: 0.6, line: { width: 1 } }, "this pair at other n"));
    if (here.length) traces.push(points(here, s, { ...mark, size: 9 }, `this pair at n = ${s.n.toLocaleString("en")}`));
    const ensembles = data.models.filter((m) => m.kind === "output_mixing" && m.heads === "each" && mixtureShown(m));
    traces.push({ ...points(ensembles, s, { color: css("--soft"), symbol: "x-thin", size: 6, line: { color: css("--soft"), width: 1.2 } }, "ensembles, n each"), visible: "legendonly" });
    for (const rule of data.rules.filter((r) => !r.baseline && usable(r, s))) {
      const curve = grid.map((share) => predicted(rule, s, share));
      traces.push({ type: "scatter", mode: "lines", x: curve.map((c) => place(c.x, data.reference, s.link)), y: curve.map((c) => place(c.y, s.shift, s.link)),
        name: rule.words, legendgroup: rule.name, hoverinfo: "skip", line: { color: ruleColour(rule), dash: dashes[rule.name], width: 1.6 } });
    }
    return traces;
  }
  function planeMarks(s) {
    return data.rules.filter((r) => !r.baseline && usable(r, s)).map((rule) => {
      const now = predicted(rule, s, s.share);
      return { type: "scatter", mode: "markers", x: [place(now.x, data.reference, s.link)], y: [place(now.y, s.shift, s.link)], legendgroup: rule.name,
        showlegend: false, meta: rule.name, text: [`${rule.words}<br>d′ ratio ${fixed(now.ratio)} at share ${fixed(s.share)}`], hoverinfo: "text",
        marker: { symbol: "star", size: 13, color: ruleColour(rule), line: { color: css("--paper"), width: 1 } } };
    });
  }
  const measuredRatio = (row) => [row.ratio, row.ratio_low, row.ratio_high];
  function ratioTraces(s) {
    const traces = data.rules.filter((r) => r.name !== "best_source" && usable(r, s)).map((rule) => ({ type: "scatter", mode: "lines", x: grid,
      y: grid.map((share) => predicted(rule, s, share).ratio), name: rule.words, hoverinfo: "skip",
      line: { color: ruleColour(rule), dash: dashes[rule.name], width: 1.8 } }));
    const rows = data.ratios.filter((r) => r.n_train === s.n && r.shift === s.shift);
    const ends = s.pair.map((name, i) => ({ row: rows.find((r) => r.kind === "single" && r.sources === name), share: i, name })).filter((e) => e.row);
    const mixed = pairMixtures(...s.pair).filter((r) => r.n_train === s.n && r.shift === s.shift).map((row) => ({ row, share: row.shares[s.pair[1]], name: row.sources }));
    for (const [list, label, mark] of [[ends, "sources, measured", "circle"], [mixed, "mixtures, measured", "diamond"]]) {
      traces.push({ type: "scatter", mode: "markers", name: label, x: list.map((e) => e.share), y: list.map((e) => e.row.ratio),
        error_y: whiskers(list.map((e) => measuredRatio(e.row))),
        text: list.map((e) => `${e.name.includes(":") ? mixtureWords(e.name) : words(e.name)}<br>d′ ratio ${within(measuredRatio(e.row))}, ${counted(e.row.num_seeds, "seed")}`), hoverinfo: "text",
        marker: { size: 10, symbol: mark, color: list.map((e) => colour[e.name] || css("--ink")), line: { color: css("--paper"), width: 1 } } });
    }
    $$("ratio-intervals").textContent = intervalWords([...ends, ...mixed].map((e) => measuredRatio(e.row)));
    return traces;
  }
  function shareLine(s) {
    return [{ type: "line", x0: s.share, x1: s.share, yref: "paper", y0: 0, y1: 1, line: { color: css("--accent"), width: 1.5, dash: "dot" } }];
  }
  function atShare(s) {
    $$("share-value").textContent = `${(100 * s.share).toFixed(1)}%`;
    const head = ["rule", "d′ ratio", "d′ on reference", `d′ on ${words(s.shift)}`, "reference accuracy", "accuracy under shift"];
    const rows = data.rules.filter((r) => usable(r, s)).map((rule) => {
      const now = predicted(rule, s, s.share);
      const percent = (d, set) => `${(100 * Theory.accuracyOfDprime(d, data.classes[set])).toFixed(1)}%`;
      return { primary: rule.primary, ratio: now.ratio, rule: rule.name,
        cells: [rule.words, fixed(now.ratio, 4), fixed(now.x), fixed(now.y), percent(now.x, data.reference), percent(now.y, s.shift)] };
    });
    const [first, second] = s.pair.map(words);
    table($$("at-share"), s.dprime ? `Predicted on ${words(s.shift)} at n = ${s.n.toLocaleString("en")}: ${(100 * (1 - s.share)).toFixed(1)}% ${first} and ${(100 * s.share).toFixed(1)}% ${second}`
      : "No prediction: it takes two sources that were trained at one size", head, rows);
    return rows;
  }
  function table(element, caption, head, rows) {
    const made = (tag, text, more = {}) => Object.assign(document.createElement(tag), text === null ? more : { textContent: text, ...more });
    const heads = made("tr", null), body = made("tbody", null), above = made("thead", null);
    heads.append(...head.map((text) => made("th", text, { scope: "col" })));
    above.append(heads);
    body.append(...rows.map((row) => {
      const line = made("tr", null, { className: row.primary ? "primary" : "" });
      if (row.rule) line.dataset.rule = row.rule;
      if (row.ratio !== undefined) line.dataset.ratio = row.ratio;
      line.append(...row.cells.map((text) => made("td", text)));
      return line;
    }));
    element.replaceChildren(made("caption", caption), above, body);
  }

  let numCurves = 0;
  function moveShare() {
    const s = setting();
    const marks = planeMarks(s);
    marks.forEach((mark, i) => Plotly.restyle("plane", { x: [mark.x], y: [mark.y], text: [mark.text] }, [numCurves + i]));
    Plotly.relayout("ratio", { shapes: shareLine(s) });
    atShare(s);
  }
  function draw() {
    const s = setting(), curves = planeTraces(s);
    numCurves = curves.length;
    const [first, second] = s.pair.map(words), size = s.n.toLocaleString("en");
    Plots.draw("plane", [...curves, ...planeMarks(s)], layout(`accuracy on ${words(data.reference)}`, `accuracy on ${words(s.shift)}`),
      { xaxis: axisOf(data.reference, s.link), yaxis: axisOf(s.shift, s.link) },
      `Accuracy on ${words(s.shift)} against accuracy on ${words(data.reference)}: models of every source, and predictions for mixtures of ${first} and ${second} at n = ${size}. The table below has their numbers.`);
    Plots.draw("ratio", ratioTraces(s), layout(`share of ${second}`, "d′ ratio", { shapes: shareLine(s), xaxis: { tickformat: ".3~%", range: [-0.04, 1.04] } }), {},
      `d′ ratio of ${words(s.shift)} against the share of ${second} mixed into ${first} at n = ${size}, predicted and measured.`);
    atShare(s);
    drawTables(s);
    drawFilter();
  }

  /* --- filtering ----------------------------------------------------------------------------------------------- */
  const keptAxis = { type: "log", range: [-2, 0.03] };
  function plotFilter(traces, yTitle, name, intervals) {
    Plots.draw("filtered", traces, layout("share of the pool kept", yTitle, { xaxis: keptAxis }), { xaxis: Plots.scales.log() },
      `${yTitle} against the share kept of ${name}, predicted and measured. The text below has the numbers at this threshold.`);
    $$("filter-intervals").textContent = intervalWords(intervals);
  }
  function drawFilter() {
    const choice = filterChoices()[Number($$("filter").value)];
    if (!choice) return;
    $$("agreement").hidden = Boolean(choice.pool);
    document.querySelectorAll("[data-told]").forEach((p) => { p.hidden = (p.dataset.told === "measured") !== Boolean(choice.pool); });
    if (choice.pool) drawMeasured(choice.pool);
    else drawAssumed(choice.own);
  }
  /* Theorem 3 told measured quantities alone: single-source models, their overlaps and the filter's scores of the pool. */
  function drawMeasured(pool) {
    const shift = $$("shift").value, threshold = Number($$("threshold").value), sets = [data.reference, shift];
    const at = (z, read) => { const found = Theory.filteredPools(pool, sets, z, read); return { ...found, ratio: found.dprime[shift] / found.dprime[data.reference] }; };
    const curve = (read) => Array.from({ length: 101 }, (_, i) => at(-6 + i * 0.1, read)).filter((c) => c.kept > 0.005);
    const readings = [["signal", "Theorem 3 at equal signal (matched)", "solid"], ["filter", `Theorem 3 at n = ${pool.trainedOn.toLocaleString("en")} (plain)`, "dot"]]
      .filter(([read]) => pool.curves || read === "filter");
    const now = at(threshold, readings[0][0]), plain = at(threshold, "filter"), own = pool.filterDprime[shift] / pool.filterDprime[data.reference];
    const rows = pool.measured.filter((m) => m.shift === shift && m.ratio[0] !== null);
    plotFilter([
      ...readings.map(([read, name, dash]) => [curve(read), name, dash]).map(([c, name, dash]) => (
        { type: "scatter", mode: "lines", x: c.map((p) => p.kept), y: c.map((p) => p.ratio), name, line: { color: css("--accent"), dash, width: 2 }, hoverinfo: "skip" })),
      { type: "scatter", mode: "lines", x: [0.005, 1], y: [own, own], name: `CLIP of ${mixtureWords(pool.filter)} itself`, line: { color: colour[pool.filter] || css("--soft"), dash: "dash", width: 1.4 }, hoverinfo: "skip" },
      ...[[true, "raw pool", css("--soft"), "circle"], [false, "kept, measured", css("--ink"), "square"]].map(([raw, name, tone, symbol]) => {
        const part = rows.filter((m) => m.raw === raw);
        return { type: "scatter", mode: "markers", name, x: part.map((m) => m.keptShare), y: part.map((m) => m.ratio[0]),
          error_y: whiskers(part.map((m) => m.ratio)),
          text: part.map((m) => `${name}, ${Math.round(100 * m.keptShare)}%: d′ ratio ${within(m.ratio)}, ${counted(m.numSeeds, "seed")}`), hoverinfo: "text", marker: { size: 9, symbol, color: tone } };
      }),
      { type: "scatter", mode: "markers", name: "at this threshold", x: [now.kept], y: [now.ratio], text: [`kept ${(100 * now.kept).toFixed(1)}%: d′ ratio ${fixed(now.ratio)}`], hoverinfo: "text",
        marker: { symbol: "star", size: 14, color: css("--accent"), line: { color: css("--paper"), width: 1 } } },
    ], `d′ ratio of ${words(shift)}`, poolWords(pool.pool), rows.map((m) => m.ratio));
    const percent = (set) => `${(100 * Theory.accuracyOfDprime(now.dprime[set], data.classes[set])).toFixed(1)}% on ${words(set)}`;
    const kept = rows.filter((m) => !m.raw).sort((a, b) => b.keptShare - a.keptShare).map((m) => `${Math.round(100 * m.keptShare)}% kept ${within(m.ratio)}`);
    tellFilter(threshold, now.kept, now.ratio, `At threshold ${threshold.toFixed(2)} the filter keeps ${(100 * now.kept).toFixed(1)}% of ${pool.poolSize.toLocaleString("en")} pairs and Theorem 3 expects a d′ ratio of ` +
      `${fixed(now.ratio)}` + (pool.curves ? ` (its sources read at ${Math.round(now.size).toLocaleString("en")} samples, where the signal is equal; ${fixed(plain.ratio)} at the filter's ${pool.trainedOn.toLocaleString("en")})` : "") +
      `, with accuracies of ${percent(data.reference)} and ${percent(shift)}. Measured: ${kept.join("; ")}.`);
  }
  function tellFilter(threshold, kept, slope, text) {
    $$("threshold-value").textContent = threshold.toFixed(2);
    $$("filter-words").textContent = text;
    $$("filter-words").dataset.slope = slope;
    $$("filter-words").dataset.kept = kept;
  }
  function drawAssumed(own) {
    const threshold = Number($$("threshold").value), alignment = Number($$("alignment").value);
    const pool = { poolSlope: own.poolSlope[0], filterSlope: own.filterSlope[0], dprimeFilter: own.dprimeFilter, numClasses: own.numClasses, junk: own.junk, alignment };
    const curve = Array.from({ length: 81 }, (_, i) => Theory.filteredSlope(pool, -3 + i * 0.1));
    const now = Theory.filteredSlope(pool, threshold);
    const band = (slopes, name, dash, tone) => ({ type: "scatter", mode: "lines", x: [0.005, 1], y: [slopes[0], slopes[0]], name, line: { color: tone, dash, width: 1.4 }, hoverinfo: "skip" });
    const measured = [[1, own.poolSlope, "raw pool"], [own.keptShare, own.keptSlope, "filtered pool"]];
    plotFilter([
      { type: "scatter", mode: "lines", x: curve.map((c) => c.kept), y: curve.map((c) => c.slope), name: "Theorem 3", line: { color: css("--accent"), width: 2 }, hoverinfo: "skip" },
      band(own.filterSlope, `${words(own.filter)} itself`, "dash", colour[own.filter] || css("--soft")),
      { type: "scatter", mode: "markers", name: "measured", x: measured.map((m) => m[0]), y: measured.map((m) => m[1][0]),
        error_y: whiskers(measured.map((m) => m[1])),
        text: measured.map((m) => `${m[2]}: ${within(m[1])}`), hoverinfo: "text", marker: { size: 9, color: css("--ink") } },
      { type: "scatter", mode: "markers", name: "at this threshold", x: [now.kept], y: [now.slope], text: [`kept ${(100 * now.kept).toFixed(1)}%: slope ${fixed(now.slope)}`], hoverinfo: "text",
        marker: { symbol: "star", size: 14, color: css("--accent"), line: { color: css("--paper"), width: 1 } } },
    ], `slope on ${words(own.shift)}`, poolWords(own.pool), measured.map((m) => m[1]));
    $$("alignment-value").textContent = alignment.toFixed(2);
    tellFilter(threshold, now.kept, now.slope, `At threshold ${threshold.toFixed(2)} and with the assumed agreement the filter keeps ${(100 * now.kept).toFixed(1)}% of the pool and Theorem 3 expects slope ` +
      `${fixed(now.slope)}: ${(100 * now.pullWeight).toFixed(0)}% of its weight is the filter's own slope (${fixed(own.filterSlope[0])}), the rest the pool's (${fixed(own.poolSlope[0])}). ` +
      `Measured at ${Math.round(100 * own.keptShare)}% kept: ${within(own.keptSlope)}.`);
  }

  /* --- tables -------------------------------------------------------------------------------------------------- */
  function drawTables(s) {
    const shown = Object.fromEntries(data.rules.map((r) => [r.name, r]));
    const cell = (row, name) => within(["", "_low", "_high"].map((end) => row[name + end]));
    table($$("scores"), `Error of the predicted d′ ratio by rule on ${words(s.shift)} and over all shifts`, ["rule", "shift", "rms error", "bias", "noise floor", "minus interpolated", "minus best source"],
      data.scores.filter((r) => r.shift === s.shift || !data.shifts.includes(r.shift)).map((r) => ({ primary: shown[r.rule].primary, cells: [shown[r.rule].words, words(r.shift),
        cell(r, "rms"), fixed(r.bias), fixed(r.noise_floor), cell(r, "difference_to_interpolated"), cell(r, "difference_to_best_source")] })));
    table($$("predictions"), `Predicted and measured d′ ratio of every mixture on ${words(s.shift)}`, ["mixture", "n", "rule", "predicted", "± s.e.", "measured", "± s.e.", "error", "inside its sources' range"],
      data.predictions.filter((r) => r.shift === s.shift && mixtureShown(r)).map((r) => ({ primary: shown[r.rule].primary, cells: [mixtureWords(r.sources), r.n_train.toLocaleString("en"), shown[r.rule].words,
        fixed(r.ratio_predicted), fixed(r.ratio_predicted_stderr), fixed(r.ratio_measured), fixed(r.ratio_measured_stderr),
        r.ratio_predicted === null || r.ratio_measured === null ? "–" : fixed(r.ratio_predicted - r.ratio_measured), r.inside_range] })));
  }
  start();
})();
