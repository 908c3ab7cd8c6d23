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

  return { density, upperTail, normalCdf, normalQuantile, hazard, accuracyOfDprime, probitOfDprime, predictRatio, filteredSlope };
})();

if (typeof module !== "undefined") module.exports = Theory;
