"use strict";
(() => {
  const data = pageData();
  const SIDE = new Set(["heads", "masked_scores", "mean", "variance"]); // ops that nothing else reads
  const SHARES = [["worst", "budget_share"], ["rms", "rms_share"], ["bias", "bias_share"]];
  const ERRORS = ["local", "inherited", "total"];
  const NUMBERS = [...ERRORS, ...ERRORS.map((name) => `${name}_rms`), "golden_rms", ...SHARES.map(([, key]) => key)];

  // --- what there is ------------------------------------------------------------------------------------------------

  const ops = data.ops.map((one) => {
    const op = {...one, part: partOf(one.name, one.application), outside: ["fail", "suspicious", "shape"].includes(one.verdict)};
    for (const key of NUMBERS) op[key] = number(one[key]);
    const known = SHARES.map(([, key]) => op[key]).filter((x) => x !== null && x !== undefined);
    op.share = known.length ? Math.max(...known.map((x) => (Number.isNaN(x) ? Infinity : x))) : null;
    return op;
  });
  const byName = new Map(ops.map((op) => [op.name, op]));
  const applications = [...new Set(ops.map((op) => op.application).filter((a) => a !== null))].sort((a, b) => a - b);
  const bad = ops.filter((op) => op.outside);
  let selected = byName.get(data.first_bad_op) ?? bad[0] ?? mostUsed() ?? null;

  function partOf(name, application) {
    return application === null ? name : name.replace(new RegExp(`^encoder\\.layer\\.${application}\\.`), "");
  }

  function mostUsed() {
    const judged = ops.filter((op) => op.share !== null);
    return judged.length ? judged.reduce((a, b) => (b.share > a.share ? b : a)) : ops[0];
  }

  function said(op) {
    if (op.message) return `${op.verdict}: ${op.message}`;
    if (op.verdict === "unjudged") return `not judged: ${op.reason}`;
    const how = op.outside ? (op.verdict === "suspicious" ? "suspicious" : "outside") : "inside";
    return `${how}, ${shareText(op.share)} of what is allowed`;
  }

  function select(op, from) {
    if (!op) return;
    selected = op;
    for (const [one, cell] of cells) {
      const here = one === op;
      cell.setAttribute("aria-pressed", here);
      cell.tabIndex = here ? 0 : -1;
      if (here && from === "map") cell.focus();
      if (here) keepInSight(find("map"), cell);
    }
    const status = find("status");
    status.replaceChildren(op.name, make("span", {class: op.outside ? `${op.verdict === "suspicious" ? "suspicious" : "outside"}-text` : "muted"}, ` · ${said(op)}`));
    showDetails(op);
    showDepth();
    for (const [one, row] of rows) row.setAttribute("aria-selected", one === op);
  }

  // --- the map: a row for each op of a layer, a column for each application ---------------------------------------------

  const cells = new Map();
  let grid = []; // rows of ops, as the arrow keys see them

  function cellOf(op) {
    const symbol = op.verdict === "suspicious" ? "!" : op.outside ? "✕" : op.verdict === "missing" ? "?" : "";
    const kind = op.outside ? `outside ${op.verdict}` : op.verdict;
    const cell = make("button", {
      type: "button", class: `cell ${kind}${op.name === data.first_bad_op ? " first" : ""}`, tabindex: -1, title: `${op.name}: ${said(op)}`,
      "aria-label": `${op.name}: ${said(op)}`, "data-name": op.name, onclick: () => select(op, "map"),
    }, symbol);
    if (op.share !== null && !op.outside) cell.style.setProperty("--t", `${Math.round(100 * Math.min(1, op.share))}%`);
    cells.set(op, cell);
    return cell;
  }

  function ends(list, label) {
    if (!list.length) return null;
    grid.push(list);
    const short = (op) => op.part.replace(/^(embeddings|encoder)\./, "");
    return make("div", {class: "ends", role: "group", "aria-label": label}, make("span", {class: "what"}, label), list.map((op) => make("span", {class: "end"}, cellOf(op), short(op))));
  }

  function rowsOfLayers() {
    const order = new Map(); // part -> application -> op, in the order of the graph
    for (const op of ops) {
      if (op.application === null) continue;
      if (!order.has(op.part)) order.set(op.part, new Map());
      order.get(op.part).set(op.application, op);
    }
    return order;
  }

  function showMap() {
    const first = ops.findIndex((op) => op.application !== null);
    const outer = ops.map((op, i) => [op, i]).filter(([op]) => op.application === null);
    const isBefore = (op, i) => (/^(embeddings|encoder)\./.test(op.name) || (first > 0 && i < first));
    const before = outer.filter(([op, i]) => isBefore(op, i)).map(([op]) => op);
    const after = outer.filter(([op, i]) => !isBefore(op, i)).map(([op]) => op);
    grid = [];
    const map = find("map");
    map.append(...[ends(before, "embeddings")].filter(Boolean));
    if (applications.length) {
      const table = make("table", {"aria-label": "Ops of the shared layer by application", "aria-describedby": "map-help"});
      const narrow = matchMedia("(max-width: 640px)").matches;
      table.style.setProperty("--least", `${(narrow ? 118 : 176) + applications.length * 14}px`);
      const every = applications.length > 16 && narrow ? 2 : 1;
      table.append(make("thead", {}, make("tr", {}, make("th", {scope: "col"}, "application"), applications.map((a, i) => make("th", {scope: "col"}, i % every ? "" : a)))));
      const body = make("tbody");
      for (const [part, known] of rowsOfLayers()) {
        grid.push(applications.map((a) => known.get(a)));
        const side = SIDE.has([...known.values()][0].op);
        body.append(make("tr", side ? {class: "side"} : {}, make("th", {scope: "row", title: part}, side ? `· ${part.split(".").pop()}` : part), applications.map((a) => make("td", {}, known.has(a) ? cellOf(known.get(a)) : null))));
      }
      table.append(body);
      map.append(table);
    }
    map.append(...[ends(after, "heads")].filter(Boolean));
    map.addEventListener("keydown", onArrow);
  }

  function onArrow(event) {
    const move = event.target.classList.contains("cell") && arrowMove(event);
    if (!move) return;
    const row = grid.findIndex((list) => list.includes(selected)), column = grid[row].indexOf(selected);
    const list = grid[between(0, row + move[0], grid.length - 1)];
    let to = between(0, column + move[1], list.length - 1);
    const step = move[1] < 0 || to > column ? Math.sign(move[1]) : 0;
    while (step && !list[to] && list[to + step] !== undefined) to += step;
    select(list[to] ?? list.find(Boolean), "map");
  }

  // --- error over depth -------------------------------------------------------------------------------------------------

  const kinds = [...new Set(ops.map((op) => (op.application === null ? op.op : op.part)))].filter(Boolean);

  function inDepth() {
    const kind = find("depth-kind").value;
    if (kind) return ops.filter((op) => (op.application === null ? op.op : op.part) === kind);
    return ops.filter((op) => !SIDE.has(op.op) || op.outside);
  }

  function showDepth() {
    const box = find("depth"), width = Math.max(280, box.clientWidth || 700), measure = find("depth-measure").value;
    const shown = inDepth().filter((op) => op.local !== null && op.local !== undefined);
    const of = (op, name) => (measure === "max" ? op[name] : op[`${name}_rms`] / (op.golden_rms || 1));
    const points = shown.map((op, place) => ({
      place, band: op.application, label: op.name, op, outside: op.outside && op.verdict, values: {local: of(op, "local"), inherited: of(op, "inherited")},
    }));
    if (!points.length) return box.replaceChildren(make("p", {class: "muted"}, "Nothing of it was judged."));
    const series = [{name: "inherited", style: "line"}, {name: "local", style: "dots"}];
    const chart = depthChart(points, points.map((p) => p.band), series, width, width < 500 ? 220 : 270, selected?.name);
    box.replaceChildren(chart.svg);
    box.onclick = (event) => select(chart.nearest(event.clientX - box.getBoundingClientRect().left).op, "depth");
    box.onkeydown = (event) => {
      const by = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -12, PageUp: 12, Home: -1e5, End: 1e5}[event.key];
      if (!by) return;
      event.preventDefault();
      const at = points.findIndex((p) => p.op === selected);
      select(points[at < 0 ? 0 : between(0, at + by, points.length - 1)].op, "depth");
    };
    const at = points.findIndex((p) => p.op === selected);
    box.setAttribute("aria-valuemax", points.length);
    box.setAttribute("aria-valuenow", at + 1);
    box.setAttribute("aria-valuetext", selected ? `${selected.name}: ${said(selected)}; local ${shortNumber(selected.local)}, inherited ${shortNumber(selected.inherited)}` : "none");
    return undefined;
  }

  // --- one op -----------------------------------------------------------------------------------------------------------

  function showDetails(op) {
    const box = find("details"), width = Math.max(260, box.clientWidth - 34);
    const place = ops.indexOf(op), next = ops.slice(place + 1).find((one) => one.outside), go = (one) => () => select(one, "details");
    const verdict = op.outside || op.verdict === "missing" ? (op.verdict === "suspicious" ? "suspicious" : "fail") : op.verdict;
    const facts = [
      op.application === null ? null : `application ${op.application}`, op.op || null, op.shape && op.shape.length ? op.shape.join(" × ") : null,
    ].filter(Boolean).join(" · ");
    box.replaceChildren(
      make("div", {class: "row spread"}, make("span", {class: `chip ${verdict}`}, op.verdict), make("span", {class: "row"},
        make("button", {type: "button", class: "plain", "aria-label": "previous op", disabled: place === 0, onclick: go(ops[place - 1])}, "‹"),
        make("button", {type: "button", class: "plain", "aria-label": "next op", disabled: place === ops.length - 1, onclick: go(ops[place + 1])}, "›"),
        bad.length > 1 ? make("button", {type: "button", class: "plain", onclick: go(next ?? bad[0])}, "next outside") : null)),
      make("h2", {id: "details-title"}, op.name),
      make("p", {class: "small muted"}, facts, op.module ? make("span", {}, make("br"), "Hugging Face: ", make("span", {class: "mono"}, op.module)) : null),
    );
    if (op.message) return box.append(make("p", {}, `${op.verdict}: ${op.message}`));
    if (op.reason) box.append(make("p", {}, make("b", {}, op.verdict === "unjudged" ? "Not judged: " : "Why: "), op.reason));
    if (op.span && op.span.length > 1) {
      const how = `It and ${op.span.length - 1} ops before it are judged together: the candidate has no tensors between them.`;
      box.append(make("details", {class: "small"}, make("summary", {}, how), make("span", {class: "mono"}, op.span.join(" → "))));
    }
    if (op.local === null || op.local === undefined) return undefined;
    box.append(...[
      make("div", {class: "errors"}, make("span", {class: "muted"}, "error"), make("span", {class: "muted"}, "largest"), make("span", {class: "muted"}, "root mean square"),
        ERRORS.flatMap((name) => [make("span", {}, name), make("span", {}, shortNumber(op[name])), make("span", {}, shortNumber(op[`${name}_rms`]))])),
      op.three_way ? make("p", {class: "small"}, `Total error beside an emulated twin: ${op.three_way}, ${shortNumber(number(op.twin_ratio), 2)} times its error`) : null,
      make("h3", {}, "Local error, as a share of what is allowed"), shareBars(SHARES.map(([label, key]) => ({label, value: op[key]})), width),
      make("h3", {}, "Elements, by the share of their budgets"), logHistogram(op.histogram, data.bins[0], data.bins[1], width, `Shares of ${op.name}`),
      make("h3", {}, "Worst elements"), worstTable(op), make("h3", {}, "Against the golden tensor (local and inherited together)"), metricsList(op.metrics),
    ].filter(Boolean));
    return undefined;
  }

  function worstTable(op) {
    const head = ["index", "share", "got, expected", "budget ±"];
    const cellsOf = (one) => [
      make("td", {}, `[${one.index.join(", ")}]`), make("td", {class: `number ${number(one.share) <= 1 ? "" : "outside-text"}`}, shareText(number(one.share))),
      make("td", {class: "number"}, shortNumber(number(one.got), 9), make("br"), shortNumber(number(one.expected), 9)), make("td", {class: "number"}, shortNumber(number(one.budget), 2)),
    ];
    return make("div", {class: "scroll"}, make("table", {class: "data"},
      make("thead", {}, make("tr", {}, head.map((text, i) => make("th", {scope: "col", class: i ? "number" : ""}, text)))),
      make("tbody", {}, (op.worst ?? []).map((one) => make("tr", {}, cellsOf(one))))));
  }

  function metricsList(metrics) {
    const shown = [["max abs", "max_abs"], ["max rel", "max_rel"], ["ULP, max", "ulp_max"], ["ULP, mean", "ulp_mean"], ["1 − cosine", "cosine"],
      ["1 − PCC", "pcc"], ["SNR, dB", "snr"], ["NMSE", "nmse"], ["NaN, ∞", "nonfinite"]];
    return make("dl", {class: "metrics"}, shown.map(([label, key]) => {
      const value = number(metrics[key]), less = label.startsWith("1 −") && value !== null;
      return make("div", {}, make("dt", {}, label), make("dd", {}, shortNumber(less ? Math.max(0, 1 - value) : value)));
    }));
  }

  // --- the table of all ---------------------------------------------------------------------------------------------------

  const rows = new Map();

  function showTable() {
    const head = [["name"], ["local", true], ["inherited", true], ["largest share of budget"], ["worst", true], ["rms", true], ["bias", true], ["Hugging Face’s module"]];
    const body = make("tbody");
    for (const op of ops) {
      const meter = make("span", {class: op.outside ? "meter outside" : "meter", "aria-hidden": true}, make("i"));
      meter.firstChild.style.setProperty("--w", `${100 * Math.min(1, op.share ?? 0)}%`);
      const row = make("tr", {onclick: () => select(op, "table")},
        make("th", {scope: "row"}, make("button", {type: "button", class: `name ${op.outside ? "outside-text" : ""}`}, op.name)),
        make("td", {class: "number"}, shortNumber(op.local)), make("td", {class: "number"}, shortNumber(op.inherited)),
        make("td", {}, op.share === null ? op.verdict : [meter, shareText(op.share)]),
        SHARES.map(([, key]) => make("td", {class: `number ${op[key] > 1 ? "outside-text" : ""}`}, shareText(op[key]))),
        make("td", {class: "module"}, op.module ?? ""));
      rows.set(op, row);
      body.append(row);
    }
    find("ops").append(make("table", {class: "data"}, make("thead", {}, make("tr", {}, head.map(([text, right]) => make("th", {scope: "col", class: right ? "number" : ""}, text)))), body));
  }

  function filter() {
    const [outside, kind, application, text] = [find("only-outside").checked, find("filter-kind").value, find("filter-application").value, find("filter-name").value.toLowerCase()];
    let shown = 0;
    for (const [op, row] of rows) {
      const here = (!outside || op.outside || op.verdict === "missing") && (!kind || op.op === kind) && (!application || String(op.application) === application) &&
        (!text || op.name.toLowerCase().includes(text) || (op.module ?? "").toLowerCase().includes(text));
      row.hidden = !here;
      shown += here;
    }
    find("count").textContent = `${shown} of ${ops.length} tensors, ${bad.length} outside, in the order of the graph`;
  }

  function choices(id, first, values, words = (value) => value) {
    find(id).append(make("option", {value: ""}, first), ...values.map((value) => make("option", {value}, words(value))));
  }

  if (!ops.length) return;
  choices("depth-kind", "all", kinds);
  choices("filter-kind", "all", [...new Set(ops.map((op) => op.op))].filter(Boolean).sort());
  choices("filter-application", "all", applications);
  showMap();
  showTable();
  find("filters").addEventListener("input", filter);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["depth-kind", "depth-measure"]) find(id).addEventListener("input", showDepth);
  filter();
  select(selected, "start");
  onNewWidth(() => select(selected, "resize"));
})();
