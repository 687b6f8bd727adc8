// The charts of a report.

/** A number of the data: infinities and NaN came as text. */
function number(x) {
  if (typeof x !== "string") return x ?? null;
  return {inf: Infinity, "-inf": -Infinity}[x] ?? NaN;
}

/** A logarithmic scale: value -> position. Zero and what is below `low` is at the beginning, infinity and NaN at the end. */
function logScale(low, high, start, end) {
  const [a, b] = [Math.log10(low), Math.log10(high)];
  return (x) => {
    const t = x === Infinity || Number.isNaN(x) ? 1 : x > 0 ? (Math.log10(x) - a) / (b - a) : 0;
    return start + Math.min(1, Math.max(0, t)) * (end - start);
  };
}

/** Powers of ten from low to high, not more than `most`. */
function decades(low, high, most = 7) {
  const [a, b] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  const step = Math.max(1, Math.ceil((b - a) / most));
  return Array.from({length: Math.floor((b - a) / step) + 1}, (_, i) => a + i * step);
}

function powerText(exponent) {
  const raised = String(exponent).replace(/[-0-9]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
  return exponent === 0 ? "1" : `10${raised}`;
}

/** A share of something that is allowed: as a percentage, and from twice on as a factor. */
function shareText(x) {
  if (x === null || x === undefined) return "–";
  if (!Number.isFinite(x)) return "∞";
  if (x < 2) return x !== 0 && x < .01 ? "< 1 %" : `${(100 * x).toFixed(x > 1 && x < 1.01 ? 1 : 0)} %`;
  return `${x < 10 ? x.toPrecision(2) : x < 1e5 ? countText(Math.round(x)) : shortNumber(x)}×`;
}

/** Bars of shares on a logarithmic scale, with a line where 1 is. rows: [{label, value}]. */
function shareBars(rows, width) {
  const [left, right, step] = [52, 58, 30];
  const known = rows.map((row) => row.value).filter((x) => Number.isFinite(x) && x > 0);
  const high = 10 ** Math.max(1, Math.ceil(Math.log10(Math.max(1, ...known))));
  const x = logScale(1e-3, high, left, width - right), height = rows.length * step + 20;
  const said = rows.map((row) => `${row.label} ${shareText(row.value)}`).join(", ");
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Share of the budget: ${said}`});
  rows.forEach((row, i) => {
    const y = i * step + 6, outside = row.value > 1;
    svg.append(
      draw("text", {x: 0, y: y + 13}, row.label),
      draw("rect", {x: left, y, width: width - right - left, height: 18, rx: 3, class: "track"}),
      draw("rect", {x: left, y, width: Math.max(0, x(row.value ?? 0) - left), height: 18, rx: 3, class: outside ? "bar outside" : "bar"}),
      draw("text", {x: width - right + 6, y: y + 13, class: outside ? "outside" : ""}, shareText(row.value)),
    );
  });
  const bottom = rows.length * step + 2;
  svg.append(draw("line", {class: "limit", x1: x(1), x2: x(1), y1: 2, y2: bottom}));
  for (const e of decades(1e-3, high, 5)) {
    if (e !== 0 && Math.abs(x(10 ** e) - x(1)) < 34) continue;
    svg.append(draw("text", {x: x(10 ** e), y: bottom + 14, "text-anchor": "middle"}, e > 0 ? `${countText(10 ** e)}×` : `${100 * 10 ** e} %`));
  }
  return svg;
}

/** A histogram over bins that are even in the logarithm of base ten; red beyond 1. Heights are logarithmic too. */
function logHistogram(counts, first, last, width, label) {
  const [left, top, height] = [4, 16, 118], plot = width - left - 4, base = height - 18;
  const most = Math.log10(1 + Math.max(1, ...counts)), x = (e) => left + ((e - first) / (last - first)) * plot;
  const beyond = counts.filter((_, i) => first + ((last - first) * i) / counts.length >= -1e-9).reduce((a, b) => a + b, 0);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${label}; ${beyond} elements beyond 1`});
  counts.forEach((count, i) => {
    const from = first + ((last - first) * i) / counts.length, tall = ((base - top) * Math.log10(1 + count)) / most;
    if (!count) return;
    const bar = draw("rect", {
      x: x(from) + .5, width: plot / counts.length - 1, y: base - Math.max(1.5, tall), height: Math.max(1.5, tall),
      class: from >= -1e-9 ? "bar outside" : "bar",
    });
    bar.append(draw("title", {}, `${countText(count)} elements`));
    svg.append(bar);
  });
  svg.append(
    draw("line", {class: "axis", x1: left, x2: left + plot, y1: base, y2: base}),
    draw("line", {class: "limit", x1: x(0), x2: x(0), y1: 2, y2: base}),
    draw("text", {x: x(0) + 5, y: 11, class: beyond ? "outside" : ""}, beyond ? `${countText(beyond)} outside` : "none outside"),
  );
  for (let e = first; e <= last; e++) {
    const text = {"-2": "1 %", "-1": "10 %", 0: "100 %", 1: "10×", 2: "100×"}[e];
    if (text) svg.append(draw("text", {x: x(e), y: height - 4, "text-anchor": "middle"}, text));
  }
  svg.append(
    draw("text", {x: left, y: height - 4}, "less"),
    draw("text", {x: left + plot, y: height - 4, "text-anchor": "end"}, "more"),
  );
  return svg;
}

/**
 * Errors over depth, on a logarithmic axis. points: [{place, band, values: {name: error}, outside, label}] in order; series:
 * [{name, style: "line" | "dots"}]. A band (the application) is a stripe with its number. Returns {svg, nearest(x)}.
 */
function depthChart(points, places, series, width, height, selected) {
  const [left, right, top, bottom] = [46, 8, 10, 34];
  const all = points.flatMap((p) => series.map((s) => p.values[s.name])).filter((v) => Number.isFinite(v) && v > 0);
  const low = 10 ** Math.floor(Math.log10(Math.min(1, ...all))), top10 = Math.ceil(Math.log10(Math.max(low * 10, ...all)));
  const high = 10 ** top10, y = logScale(low, high, height - bottom, top);
  const x = (place) => left + ((place + .5) / places.length) * (width - left - right);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": true});
  let from = 0, stripe = true;
  for (let i = 1; i <= places.length; i++) {
    if (i < places.length && places[i] === places[from]) continue;
    const [a, b] = [x(from - .5), x(i - .5)], band = places[from];
    if (band !== null && stripe) svg.append(draw("rect", {class: "band", x: a, y: top, width: b - a, height: height - bottom - top}));
    if (band !== null && (b - a > 17 || band % 4 === 0)) {
      svg.append(draw("text", {x: (a + b) / 2, y: height - bottom + 14, "text-anchor": "middle"}, band));
    }
    if (band !== null) stripe = !stripe;
    from = i;
  }
  for (const e of decades(low, high)) {
    const at = y(10 ** e);
    svg.append(draw("line", {class: "axis", x1: left, x2: width - right, y1: at, y2: at}), draw("text", {x: left - 6, y: at + 4, "text-anchor": "end"}, powerText(e)));
  }
  svg.append(draw("text", {x: left + (width - left - right) / 2, y: height - 4, "text-anchor": "middle"}, "application of the shared layer"));
  const chosen = points.find((p) => p.label === selected);
  if (chosen) svg.append(draw("line", {class: "cursor", x1: x(chosen.place), x2: x(chosen.place), y1: top, y2: height - bottom}));
  for (const s of series) {
    const there = points.filter((p) => p.values[s.name] !== null && p.values[s.name] !== undefined);
    if (s.style === "line") {
      const path = there.map((p, i) => `${i ? "L" : "M"}${x(p.place).toFixed(1)} ${y(p.values[s.name]).toFixed(1)}`).join("");
      svg.append(draw("path", {class: `line ${s.name}`, d: path}));
    } else {
      const r = there.length > 150 ? 1.9 : 2.8;
      for (const p of there) if (!p.outside) svg.append(draw("circle", {class: `dot ${s.name}`, cx: x(p.place), cy: y(p.values[s.name]), r}));
      for (const p of there) {
        if (p.outside) svg.append(draw("path", {class: `dot outside ${p.outside}`, d: cross(x(p.place), y(p.values[s.name]))}));
      }
    }
    if (chosen && chosen.values[s.name] !== null) svg.append(draw("circle", {class: "ring", cx: x(chosen.place), cy: y(chosen.values[s.name]), r: 7}));
  }
  const nearest = (px) => points.reduce((best, p) => (Math.abs(x(p.place) - px) < Math.abs(x(best.place) - px) ? p : best), points[0]);
  return {svg, nearest};
}

function cross(x, y, r = 4.5) {
  return `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;
}
