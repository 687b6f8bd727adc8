// Small charts of the explorer, and how it writes names and numbers.

/** A piece without its mark of a space, as it stands in a chart. */
function plainPiece(piece) {
  const text = piece.replace(/^▁/, "");
  return text === "" ? "␣" : text;
}

/** Thousandths as a percentage: what the data hold, without another rounding. */
function percentText(thousandths) {
  return thousandths === 0 ? "<\u00a00.1\u00a0%" : `${(thousandths / 10).toFixed(1)}\u00a0%`;
}

/** A large count in two or three digits: 5.9 million. */
function roundText(n) {
  for (const [size, name] of [
    [1e9, "billion"],
    [1e6, "million"],
    [1e3, "thousand"],
  ]) {
    if (n >= size) return `${(n / size).toPrecision(n / size >= 100 ? 3 : 2)} ${name}`;
  }
  return String(n);
}

function depthName(depth) {
  return depth === 0 ? "before the first application" : `after application ${depth}`;
}

/** Even ticks from 0 to the top of a scale. */
function ticks(top, most = 4) {
  const raw = top / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((x) => x * size).find((x) => x >= raw - 1e-12);
  return Array.from({length: Math.floor(top / step + 1e-9) + 1}, (_, i) => i * step);
}

/**
 * Lines over depth. lines: [{label, values, className}], one value for each depth from `first` on. Returns an svg; `at` is the
 * depth of the cursor, and onPick(depth) is called by a click.
 */
function lineChart({lines, first, last, at, top, low = 0, unit, width, height, said, onPick}) {
  const left = 40;
  const right = 92;
  const up = 10;
  const down = 30;
  const base = height - down;
  const x = (depth) => left + ((depth - first) / Math.max(1, last - first)) * (width - left - right);
  const y = (value) => base - ((value - low) / (top - low)) * (base - up);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": said});
  for (const tick of ticks(top)) {
    svg.append(
      draw("line", {class: "axis", x1: left, x2: width - right, y1: y(tick), y2: y(tick)}),
      draw("text", {x: left - 6, y: y(tick) + 4, "text-anchor": "end"}, `${Number(tick.toPrecision(3))}${unit}`),
    );
  }
  const every = Math.ceil((last - first + 1) / Math.max(4, Math.floor((width - left - right) / 24)));
  for (let depth = first; depth <= last; depth++) {
    if ((depth - first) % every) continue;
    svg.append(draw("text", {x: x(depth), y: base + 15, "text-anchor": "middle"}, depth));
  }
  svg.append(
    draw("text", {x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle"}, "application of the layer"),
  );
  if (at >= first) svg.append(draw("line", {class: "cursor", x1: x(at), x2: x(at), y1: up, y2: base}));
  for (const line of lines) {
    const path = line.values
      .map((value, i) => `${i ? "L" : "M"}${x(first + i).toFixed(1)} ${y(value).toFixed(1)}`)
      .join("");
    svg.append(draw("path", {class: `line ${line.className}`, d: path}));
  }
  for (const line of lines) {
    const value = line.values[at - first];
    if (line.dot !== false && value !== undefined)
      svg.append(draw("circle", {class: `dot ${line.className}`, cx: x(at), cy: y(value), r: 4}));
  }
  endLabels(svg, lines, y, width - right + 8, up, base);
  svg.addEventListener("click", (event) => {
    const frame = svg.getBoundingClientRect();
    const px = ((event.clientX - frame.left) / frame.width) * width;
    onPick(between(first, Math.round(first + ((px - left) / (width - left - right)) * (last - first)), last));
  });
  return svg;
}

/** The names of lines at their ends, pushed apart where they would lie on one another. */
function endLabels(svg, lines, y, left, up, base) {
  const wanted = lines
    .filter((line) => line.label)
    .map((line) => ({line, y: y(line.values.at(-1))}))
    .sort((a, b) => a.y - b.y);
  const gap = 14;
  for (let i = 1; i < wanted.length; i++) wanted[i].y = Math.max(wanted[i].y, wanted[i - 1].y + gap);
  for (let i = wanted.length - 1, low = base + 4; i >= 0; i--, low -= gap) wanted[i].y = Math.min(wanted[i].y, low);
  for (const one of wanted) {
    const text = one.line.label.length > 10 ? `${one.line.label.slice(0, 9)}…` : one.line.label;
    svg.append(draw("text", {class: `label ${one.line.className}`, x: left, y: Math.max(up, one.y) + 4}, text));
  }
}

/** Arrow keys inside a grid of buttons: where to go from row, column. Undefined for another key. */
function arrowed(event, row, column, rows, columns) {
  const move = arrowMove(event);
  return move && [between(0, row + move[0], rows - 1), between(0, column + move[1], columns - 1)];
}

/** Makes `next` the one button of a box that is current, that the tab key finds, and that is in sight. Returns it. */
function currentIn(box, before, next) {
  before?.removeAttribute("aria-current");
  before?.setAttribute("tabindex", -1);
  next.setAttribute("aria-current", "true");
  next.setAttribute("tabindex", 0);
  keepInSight(box, next);
  return next;
}
