// Section 2: the model's own head reads the state at every depth.

/** The part of the page about guesses. Returns show(), which draws what depends on the token and the depth. */
function lensPart(data, state, choose) {
  const {lens, tokens, model} = data;
  if (!lens) {
    for (const id of ["lens", "two-heads"]) find(id).hidden = true;
    return () => {};
  }
  const words = lens.kind === "words";
  const name = (i) => lens.names[i];
  find("lens-say").append(
    `Inside the model, each token is a list of ${model.H} numbers: its `,
    make("b", {}, "state"),
    `. A layer changes all states; it is applied ${model.A} times. At the end, the model’s `,
    make("b", {}, "head"),
    ` turns each state into a chance for each ${words ? `of ${countText(model.V)} pieces` : "label"}. Here the head reads ` +
      "the states at every depth, as if it were the end: so you can watch an answer form. The stronger the colour of a " +
      "cell, the surer the guess.",
    model.G === 1 ? " It is one and the same layer every time." : "",
    words ? readOff() : "",
  );

  /** How the guesses for what stands there and for what is hidden differ. */
  function readOff() {
    const there = tokens.map((_, t) => t).filter((t) => !tokens[t].special);
    const own = there.filter((t) => lens.own[model.A][t][0] === 1);
    const hidden = tokens.some((token) => token.mask) ? " Only [MASK] must be guessed from the other tokens." : "";
    return there.length
      ? ` What is not hidden can be read off: in the end, at ${own.length} of ${there.length} such places the best guess ` +
          `is the piece that stands there.${hidden}`
      : "";
  }

  // the grid: a row for each token, a column for each depth
  const cells = tokens.map(() => []);
  const table = make("table", {
    class: model.A < 5 ? "grid few" : "grid",
    "aria-label": "The likeliest guess by token and depth",
  });
  table.append(
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        make("th", {scope: "col"}, "token"),
        Array.from({length: model.A + 1}, (_, d) => make("th", {scope: "col", title: depthName(d)}, d)),
      ),
    ),
  );
  const body = make("tbody");
  const rows = tokens.map((token, t) => {
    const row = make("tr", token.mask ? {class: "mask"} : {}, make("th", {scope: "row"}, plainPiece(token.piece)));
    for (let d = 0; d <= model.A; d++) {
      const [best, chance] = lens.top[d][t];
      const text = plainPiece(name(best));
      const cell = make(
        "button",
        {
          type: "button",
          tabindex: -1,
          title: `${name(best)} ${percentText(chance)}`,
          "aria-label": `${plainPiece(token.piece)}, ${depthName(d)}: ${text} ${percentText(chance)}`,
          onclick: () => choose({token: t, depth: d}),
        },
        text,
      );
      cell.style.setProperty("--p", `${chance / 10}%`);
      // where another colour of text reads better
      if (chance >= 620) cell.classList.add(chance >= 845 ? "sure" : "likely");
      cells[t][d] = cell;
      row.append(make("td", {}, cell));
    }
    body.append(row);
    return row;
  });
  table.append(body);
  find("grid").append(table);
  table.addEventListener("keydown", (event) => {
    const to = arrowed(event, state.token, state.depth, tokens.length, model.A + 1);
    if (to) {
      choose({token: to[0], depth: to[1]});
      cells[to[0]][to[1]].focus();
    }
  });

  let lit = null;
  return function show() {
    const {token: t, depth: d} = state;
    const piece = plainPiece(tokens[t].piece);
    lit = currentIn(find("grid"), lit, cells[t][d]);
    rows.forEach((row, i) => row.classList.toggle("here", i === t));

    find("race-title").textContent = `Guesses for “${piece}” over depth`;
    const names = lens.lines[t].map(([k]) => plainPiece(name(k)));
    const twice = (one) => names.indexOf(one) !== names.lastIndexOf(one);
    const lines = lens.lines[t].map(([k, ...chances], i) => ({
      label: twice(names[i]) ? name(k) : names[i],
      values: chances.map((x) => x / 10),
      className: `c${i}`,
    }));
    const said = lens.lines[t].map(
      ([, ...chances], i) => `${names[i]} from ${percentText(chances[0])} to ${percentText(chances.at(-1))}`,
    );
    const most = Math.max(1, ...lines.flatMap((line) => line.values));
    const box = find("race");
    box.replaceChildren(
      lineChart({
        lines,
        first: 0,
        last: model.A,
        at: d,
        top: Math.min(100, most * 1.08),
        unit: " %",
        width: Math.max(280, box.clientWidth),
        height: 250,
        said: `Chances over depth: ${said.join("; ")}`,
        onPick: (depth) => choose({depth}),
      }),
    );
    find("guesses").replaceChildren(...guesses(t, d));
  };

  /** The guesses at one place and depth as bars, and what became of the piece that stands there. */
  function guesses(t, d) {
    const flat = lens.top[d][t];
    const bars = [];
    for (let i = 0; i < flat.length; i += 2) {
      const bar = make("span", {class: "meter", "aria-hidden": true}, make("i"));
      bar.firstChild.style.setProperty("--w", `${flat[i + 1] / 10}%`);
      bars.push(
        make(
          "li",
          {},
          make("span", {class: "mono"}, name(flat[i])),
          bar,
          make("span", {class: "number"}, percentText(flat[i + 1])),
        ),
      );
    }
    const out = [make("h3", {}, `Best guesses ${depthName(d)}`), make("ol", {class: "guesses"}, bars)];
    if (words && !tokens[t].mask) {
      const [rank, chance] = lens.own[d][t];
      out.push(
        make(
          "p",
          {class: "small muted"},
          "The piece that stands there, ",
          make("span", {class: "mono"}, tokens[t].piece),
          `, is guess ${countText(rank)} of ${countText(model.V)}: ${percentText(chance)}.`,
        ),
      );
    }
    return out;
  }
}
