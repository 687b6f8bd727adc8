// Section 4: how far, and into which direction, each application carries the states.

function statesPart(data, state, choose) {
  const {tokens, model, states} = data;
  const {A, H} = model;
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const known = data.lens ? "" : `Inside the model, each token is a list of ${H} numbers: its state. `;
  find("states-say").textContent =
    `${known}Each application of the layer reads all states, and writes new ones. The distance between old and new says ` +
    "how much it changes. The cosine says how alike their directions are: 1 means the same. A cosine that comes close " +
    "to 1 says that the states are settling. The paper of ALBERT (Lan et al. 2019) shows the distance, and the angle " +
    "whose cosine this is, for its large model.";
  const [first, second] = states.explained.map((x) => `${(100 * x).toFixed(0)} %`);
  find("plane-say").textContent =
    `A path begins at a small ring, and the dot is where the state is now. ${H} dimensions do not fit on a screen. ` +
    `These are the two directions in which all states differ most. They hold ${first} and ${second} of the differences, ` +
    "and the other directions the rest: what is apart here is apart, but what is near here may be apart too.";

  function chart(id, rows, unit, said) {
    const box = find(id);
    const at = Math.max(1, state.depth);
    const of = (t) => rows.map((row) => row[t]);
    const lines = tokens
      .map((_, t) => ({values: of(t), className: "faint", dot: false}))
      .filter((_, t) => t !== state.token);
    lines.push(
      {values: rows.map(mean), className: "mean", label: "mean"},
      {values: of(state.token), className: "chosen", label: plainPiece(tokens[state.token].piece)},
    );
    const now = rows[at - 1];
    const top = id === "cosine" ? 1 : Math.max(...rows.flat()) * 1.05;
    box.replaceChildren(
      lineChart({
        lines,
        first: 1,
        last: A,
        at,
        top,
        low: Math.min(0, ...rows.flat()),
        unit,
        width: Math.max(280, box.clientWidth),
        height: 180,
        said: `${said}: ${rows.map((row, a) => `application ${a + 1}: ${shortNumber(row[state.token])}`).join(", ")}`,
        onPick: (depth) => choose({depth}),
      }),
      make(
        "p",
        {class: "small muted"},
        `Application ${at}: “${plainPiece(tokens[state.token].piece)}” ${shortNumber(now[state.token], 4)}, `,
        `mean of all tokens ${shortNumber(mean(now))}.`,
      ),
    );
  }

  // the plane
  const points = states.plane;
  const flat = points.flat();
  const SIZE = 420;
  let dots = [];
  let paths = [];
  let width = 0;
  const range = (i) => [Math.min(...flat.map((p) => p[i])), Math.max(...flat.map((p) => p[i]))];
  const [[x0, x1], [y0, y1]] = [range(0), range(1)];
  const x = (p) => 24 + ((p[0] - x0) / (x1 - x0 || 1)) * (width - 90);
  const y = (p) => SIZE - 22 - ((p[1] - y0) / (y1 - y0 || 1)) * (SIZE - 44);

  function drawPlane() {
    width = Math.max(280, find("plane").clientWidth);
    const svg = draw("svg", {
      viewBox: `0 0 ${width} ${SIZE}`,
      height: SIZE,
      class: "plane",
      role: "img",
      "aria-label": "The states of all tokens on a plane; each token’s path begins at a small ring",
    });
    paths = tokens.map((_, t) =>
      draw("path", {
        class: "way",
        d: points.map((row, d) => `${d ? "L" : "M"}${x(row[t]).toFixed(1)} ${y(row[t]).toFixed(1)}`).join(""),
      }),
    );
    const starts = tokens.map((_, t) =>
      draw("circle", {class: "begin", cx: x(points[0][t]), cy: y(points[0][t]), r: 2.5}),
    );
    dots = tokens.map((token, t) =>
      draw(
        "g",
        {class: "state", onclick: () => choose({token: t})},
        draw("circle", {r: 5}),
        draw("text", {x: 8, y: 4}, plainPiece(token.piece)),
        draw("title", {}, token.piece),
      ),
    );
    svg.append(...paths, ...starts, ...dots);
    find("plane").replaceChildren(svg);
  }

  /** Which names have room: the chosen token's first, then in the order of the text. */
  function withRoom(row) {
    const taken = [];
    const shown = new Set();
    for (const t of [state.token, ...tokens.map((_, i) => i).filter((i) => i !== state.token)]) {
      const box = [
        x(row[t]) - 6,
        y(row[t]) - 8,
        x(row[t]) + 12 + 7 * plainPiece(tokens[t].piece).length,
        y(row[t]) + 8,
      ];
      if (taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) continue;
      taken.push(box);
      shown.add(t);
    }
    return shown;
  }

  return function show() {
    chart("distance", states.distance, "", "Distance between the states before and after");
    chart("cosine", states.cosine, "", "Cosine between the states before and after");
    if (width !== Math.max(280, find("plane").clientWidth)) drawPlane();
    const row = points[state.depth];
    const named = withRoom(row);
    dots.forEach((dot, t) => {
      dot.style.transform = `translate(${x(row[t]).toFixed(1)}px, ${y(row[t]).toFixed(1)}px)`;
      dot.setAttribute("class", "state");
      dot.classList.toggle("chosen", t === state.token);
      dot.classList.toggle("special", tokens[t].special);
      dot.classList.toggle("unnamed", !named.has(t));
      paths[t].setAttribute("class", t === state.token ? "way chosen" : "way");
    });
  };
}
