"use strict";
/* Theory in the page: the expressions of theory.links, empirical.prediction and theory.filtering, in plain JavaScript.
   Nothing here touches the document, so that any JavaScript engine can run it beside the Python it mirrors. */

const Theory = (() => {
  const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

  /* Upper tail 1 - Φ(x): a Taylor series in the middle, a continued fraction where the tail is thin. */
  function upperTail(x) {
    if (x < 0) return 1 - upperTail(-x);
    if (x > 4) {
      let fraction = 0;
      for (let k = 80; k >= 1; k--) fraction = k / (x + fraction);
      return density(x) / (x + fraction);
    }
    let term = x, sum = x;
    for (let k = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && k < 300; k++) {
      term *= (x * x) / (2 * k + 1);
      sum += term;
    }
    return 0.5 - density(x) * sum;
  }
  const normalCdf = (x) => upperTail(-x);
  const hazard = (t) => density(t) / upperTail(t);

  /* Φ^-1 by Newton on log-probabilities of the smaller tail. */
  function normalQuantile(p) {
    if (!(p > 0 && p < 1)) return p === 0 ? -Infinity : p === 1 ? Infinity : NaN;
    const tail = Math.min(p, 1 - p);
    let x = Math.sqrt(Math.max(0, -2 * Math.log(2 * tail)));
    for (let i = 0; i < 60; i++) {
      const q = upperTail(x);
      const step = (Math.log(q) - Math.log(tail)) * (q / density(x));
      x += step;
      if (Math.abs(step) < 1e-14 * (1 + Math.abs(x))) break;
    }
    return p < 0.5 ? -x : x;
  }

  /* A_K(d'): accuracy among K classes of the margin d', by the trapezoid rule (theory.links). */
  function accuracyOfDprime(dprime, numClasses) {
    const step = 1 / 16;
    let sum = 0;
    for (let i = -144; i <= 144; i++) {
      const u = i * step;
      sum += density(u) * Math.pow(normalCdf(u + dprime), numClasses - 1);
    }
    return sum * step;
  }
  const probitOfDprime = (dprime, numClasses) => normalQuantile(accuracyOfDprime(dprime, numClasses));

  /* The inverse of A_K by the secant rule on probits, of which d' is nearly a linear function. */
  function dprimeOfAccuracy(accuracy, numClasses) {
    if (!(accuracy > 0 && accuracy < 1)) return normalQuantile(accuracy);
    const error = (d) => probitOfDprime(d, numClasses) - normalQuantile(accuracy);
    let before = 0, now = 1, errorBefore = error(before);
    for (let i = 0; i < 40 && Math.abs(now - before) > 1e-11; i++) {
      const errorNow = error(now);
      if (errorNow === errorBefore) break;
      [before, errorBefore, now] = [now, errorNow, now - (errorNow * (now - before)) / (errorNow - errorBefore)];
    }
    return now;
  }

  /* A rule's d' ratio and place at any shares, from the sources' own d' (empirical.prediction.predict_ratio).
     dprime: [[reference, shift], ...] per source; lines: [[intercept, slope], ...] for the rule "lines". */
  function predictRatio(rule, shares, dprime, lines) {
    const total = (f) => shares.reduce((sum, p, s) => sum + p * f(s), 0);
    const x = (s) => dprime[s][0], y = (s) => dprime[s][1];
    if (rule === "mediant") return [total(y) / total(x), total(x)];
    if (rule === "quadrature") {
      const root = (v) => Math.sign(v) * Math.sqrt(Math.abs(v));
      const place = root(total((s) => x(s) * Math.abs(x(s))));
      return [root(total((s) => y(s) * Math.abs(y(s)))) / place, place];
    }
    if (rule === "lines") {
      const place = total(x);
      return [total((s) => lines[s][0] + lines[s][1] * place) / place, place];
    }
    if (rule === "interpolated") return [total((s) => y(s) / x(s)), total(x)];
    if (rule === "best_source") {
      let best = 0;
      dprime.forEach((_, s) => { if (y(s) / x(s) > y(best) / x(best)) best = s; });
      return [y(best) / x(best), x(best)];
    }
    throw new Error(`no rule ${rule}`);
  }

  /* Theorem 3 for a pool with shuffled captions, isotropic noise of variance 1 (theory.filtering.filtered_slope).
     pool: { poolSlope, filterSlope, dprimeFilter, numClasses, junk, alignment }; threshold in standard deviations of the score.
     Right captions score N(a, 1), wrong ones N(-a/(K-1), 1), with a = d'_filter (K-1)/K; the pool's signal is (a/alignment)^2. */
  function filteredSlope(pool, threshold) {
    const k = pool.numClasses, wrong = (pool.junk * (k - 1)) / k;
    const a = (pool.dprimeFilter * (k - 1)) / k, b = (a / pool.alignment) ** 2;
    const parts = [[1 - wrong, a, b], [wrong, -a / (k - 1), -b / (k - 1)]];
    let kept = 0, signal = 0, pull = 0;
    for (const [weight, mean, own] of parts) {
      const mass = weight * upperTail(threshold - mean);
      kept += mass;
      signal += mass * own;
      pull += weight * density(threshold - mean) * a;
    }
    return { slope: (signal * pool.poolSlope + pull * pool.filterSlope) / (signal + pull), kept, pullWeight: pull / (signal + pull) };
  }

  /* Theorem 3 for one measured pool of a study (empirical.filtered_pool.FilteredPool.dprimes), cut at a threshold of the scores.
     pool: { poolSize, numClasses, trainedOn, filter, dprime: source -> set -> d', filterDprime: set -> d', overlaps: s -> u -> r,
     curves: source -> { sizes, dprime: set -> [d'] } }; parts: [{ source, clean, junk, cleanScore, junkScore, spread }].
     read: at which size the pool's sources are read, "filter" (n_0, trainedOn: plain Theorem 3) or "signal" (of equal signal to
     noise: the frozen rule "matched"). Gives the share kept, that size, and d' on each test set. */
  function filteredPool(pool, parts, sets, threshold, read = "filter") {
    const k = pool.numClasses, total = parts.reduce((sum, p) => sum + p.clean + p.junk, 0);
    const separation = (p) => (p.cleanScore - p.junkScore) / p.spread;
    const length = Object.fromEntries(parts.map((p) => [p.source, separation(p) / pool.overlaps[pool.filter][p.source]]));
    const weights = {};
    let kept = 0, kick = 0, along = 0, noise = 0;
    for (const p of parts) {
      const wrongScore = (k * p.junkScore - p.cleanScore) / (k - 1);
      for (const [count, score, sign] of [[p.clean + p.junk / k, p.cleanScore, 1], [p.junk * (1 - 1 / k), wrongScore, -1 / (k - 1)]]) {
        if (!count) continue;
        const t = (threshold - score) / p.spread, share = (count / total) * upperTail(t);
        kept += share;
        kick += (count / total) * density(t);
        weights[p.source] = (weights[p.source] || 0) + sign * share;
        along += sign * share * separation(p);
      }
      noise += ((p.clean + p.junk) / total) * pool.trainedOn * (1 - pool.overlaps[p.source][p.source]) * length[p.source] ** 2;
    }
    kick /= kept; along /= kept;
    const names = Object.keys(weights);
    for (const s of names) weights[s] /= kept;
    let clean = 0;
    for (const s of names) for (const u of names) clean += weights[s] * weights[u] * pool.overlaps[s][u] * length[s] * length[u];
    const square = clean + 2 * kick * along + kick * kick, scale = Math.sqrt(square + noise / (kept * pool.poolSize));
    const right = names.reduce((sum, s) => sum + weights[s], 0), equal = read === "signal";
    const size = !equal ? pool.trainedOn : Math.abs(right) < 1e-9 ? 0 : (kept * pool.poolSize * right ** 2 * square) / clean;
    const own = (s, set) => (equal ? readSource(pool, s, set, size) : pool.dprime[s][set]);
    const signal = (set) => names.reduce((sum, s) => sum + weights[s] * own(s, set) * length[s], 0) + kick * pool.filterDprime[set];
    return { kept, size, dprime: Object.fromEntries(sets.map((set) => [set, signal(set) / scale])) };
  }

  /* d_s(set; n) V_s(n) / L_s of one source: d' linear in log n between the measured sizes, at the nearest one outside. */
  function readSource(pool, source, set, n) {
    const { sizes, dprime } = pool.curves[source], r = pool.overlaps[source][source];
    const at = Math.min(Math.max(n, sizes[0]), sizes.at(-1)), up = Math.max(sizes.findIndex((size) => size >= at), 1);
    const [from, to] = [up - 1, Math.min(up, sizes.length - 1)], y = dprime[set];
    const step = to > from ? Math.log(at / sizes[from]) / Math.log(sizes[to] / sizes[from]) : 0;
    return (y[from] + step * (y[to] - y[from])) * Math.sqrt(r + ((1 - r) * pool.trainedOn) / at);
  }

  /* The mean over the seeds' pools, each cut `threshold` standard deviations above the mean score of its clean pairs. */
  function filteredPools(pool, sets, threshold, read = "filter") {
    const found = pool.seeds.map((parts) => {
      const clean = parts.reduce((sum, p) => sum + p.clean, 0);
      const over = (f) => parts.reduce((sum, p) => sum + (p.clean / clean) * f(p), 0);
      return filteredPool(pool, parts, sets, over((p) => p.cleanScore) + threshold * over((p) => p.spread), read);
    });
    const mean = (f) => found.reduce((sum, one) => sum + f(one), 0) / found.length;
    return { kept: mean((one) => one.kept), size: mean((one) => one.size), dprime: Object.fromEntries(sets.map((set) => [set, mean((one) => one.dprime[set])])) };
  }

  return { density, upperTail, normalCdf, normalQuantile, hazard, accuracyOfDprime, probitOfDprime, dprimeOfAccuracy, predictRatio,
    filteredSlope, filteredPool, filteredPools };
})();

if (typeof module !== "undefined") module.exports = Theory;
