// Section 3: who looks at whom, by head and application.

/** The shares of each look, in thousandths: shares[application][head][query · T + key]. */
function unpackedAttention(data) {
  const T = data.model.T;
  return data.attention.probs.map((heads) =>
    heads.map((rows) => {
      const all = new Uint16Array(T * T);
      rows.forEach((row, q) => {
        for (let k = 0; k < T; k++) all[q * T + k] = parseInt(row.slice(2 * k, 2 * k + 2), 36);
      });
      return all;
    }),
  );
}

function headName(head, N) {
  return head === N ? "the mean of all heads" : `head ${head}`;
}

const MOSTLY = 40; // percent of all looks, from which on a head is said to do one thing

/** What a head does, in a few words. habit: see attention.py. */
function habitText(habit) {
  const kinds = [
    ["before", "at the token before"],
    ["after", "at the token after"],
    ["self", "at the token itself"],
    ["special", "at [CLS] and [SEP]"],
  ];
  const [key, where] = kinds.reduce((a, b) => (habit[b[0]] > habit[a[0]] ? b : a));
  return habit[key] >= MOSTLY
    ? `looks mostly ${where} (${habit[key].toFixed(1)}\u00a0% on average)`
    : `spreads its look over about ${habit.spread.toFixed(1)} tokens`;
}

/** Colours of a style sheet as [r, g, b]. */
function colourOf(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function attentionPart(data, state, choose) {
  const {tokens, model, attention} = data;
  const {T, N, A} = model;
  const shares = unpackedAttention(data);
  const share = (a, n, q, k) => shares[a][n][q * T + k];
  const application = () => Math.max(1, state.depth) - 1; // counted from 0

  // the map: a small picture of each head in each application
  const buttons = Array.from({length: N + 1}, () => []);
  const table = make("table", {class: "heads"});
  table.append(
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        make("th", {scope: "col"}, "head"),
        Array.from({length: A}, (_, a) => make("th", {scope: "col"}, a + 1)),
      ),
    ),
  );
  const body = make("tbody");
  for (let n = 0; n <= N; n++) {
    const row = make("tr", {}, make("th", {scope: "row"}, n === N ? "mean" : n));
    for (let a = 0; a < A; a++) {
      const said = `${headName(n, N)}, application ${a + 1}: ${habitText(attention.habits[a][n])}`;
      const button = make(
        "button",
        {type: "button", tabindex: -1, title: said, "aria-label": said, onclick: () => choose({head: n, depth: a + 1})},
        make("canvas", {width: T, height: T}),
      );
      buttons[n][a] = button;
      row.append(make("td", {}, button));
    }
    body.append(row);
  }
  table.append(body);
  table.style.setProperty("--size", `${Math.min(56, Math.max(26, Math.floor(400 / A)))}px`);
  find("heads").append(table);
  table.addEventListener("keydown", (event) => {
    const to = arrowed(event, state.head, application(), N + 1, A);
    if (to) {
      choose({head: to[0], depth: to[1] + 1});
      buttons[to[0]][to[1]].focus();
    }
  });

  // one head of each habit, where it is strongest
  const places = Array.from({length: A * N}, (_, i) => [Math.floor(i / N), i % N]);
  for (const [key, what, unit] of [
    ["before", "the token before", "\u00a0%"],
    ["after", "the token after", "\u00a0%"],
    ["self", "the token itself", "\u00a0%"],
    ["special", "[CLS] and [SEP]", "\u00a0%"],
    ["spread", "many tokens", "\u00a0tokens"],
  ]) {
    const of = ([a, n]) => attention.habits[a][n][key];
    const [a, n] = places.reduce((x, y) => (of(y) > of(x) ? y : x));
    if (of([a, n]) < MOSTLY && key !== "spread") continue;
    find("finds").append(
      make(
        "button",
        {type: "button", class: "plain", onclick: () => choose({head: n, depth: a + 1})},
        `${what}: head\u00a0${n} in application\u00a0${a + 1}`,
        make("span", {class: "muted"}, `\u00a0${of([a, n]).toFixed(1)}${unit}`),
      ),
    );
  }

  function paint() {
    const paper = colourOf("--card");
    const ink = colourOf("--heat");
    buttons.forEach((row, n) =>
      row.forEach((button, a) => {
        const context = button.firstChild.getContext("2d");
        const image = context.createImageData(T, T);
        for (let i = 0; i < T * T; i++) {
          const p = Math.sqrt(shares[a][n][i] / 1000); // so that small shares can be seen
          for (let c = 0; c < 3; c++) image.data[4 * i + c] = paper[c] + p * (ink[c] - paper[c]);
          image.data[4 * i + 3] = 255;
        }
        context.putImageData(image, 0, 0);
      }),
    );
  }
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  // the looks of one head: queries on the left, keys on the right
  const ROW = T > 40 ? 18 : 24;
  const height = T * ROW + 30;
  let lines = [];
  let boxes = [];
  let numbers = [];
  let drawn = "";
  let lit = null;

  function drawLooks(width) {
    const left = Math.min(130, width * 0.3);
    const right = width - Math.min(190, width * 0.42);
    const y = (t) => 26 + t * ROW + ROW / 2;
    const bend = (right - left) * 0.4;
    const svg = draw("svg", {
      viewBox: `0 0 ${width} ${height}`,
      height,
      class: "looks",
      role: "img",
      "aria-labelledby": "look-title look-text",
    });
    svg.append(
      draw("text", {x: left - 8, y: 14, "text-anchor": "end"}, "looks"),
      draw("text", {x: right + 8, y: 14}, "is looked at"),
    );
    const queries = find("every").checked ? tokens.map((_, t) => t).filter((t) => t !== state.token) : [];
    lines = [...queries, state.token].flatMap((q) =>
      tokens.map((_, k) => {
        const line = draw("path", {
          class: q === state.token ? "look chosen" : "look",
          d: `M${left} ${y(q)}C${left + bend} ${y(q)} ${right - bend} ${y(k)} ${right} ${y(k)}`,
        });
        return [q, k, line];
      }),
    );
    if (lines.length > 1000) svg.classList.add("many"); // too many to move smoothly
    svg.append(...lines.map(([, , line]) => line));
    boxes = [];
    numbers = [];
    tokens.forEach((token, t) => {
      const text = plainPiece(token.piece);
      const short = text.length > 12 ? `${text.slice(0, 11)}…` : text;
      const box = draw("rect", {
        class: "looked",
        x: right + 2,
        y: y(t) - ROW / 2 + 1,
        width: width - right - 4,
        height: ROW - 2,
        rx: 4,
      });
      const number = draw("text", {class: "number", x: width - 6, y: y(t) + 4, "text-anchor": "end"});
      const chosen = t === state.token ? " chosen" : "";
      svg.append(
        box,
        draw("text", {class: `token${chosen}`, x: left - 8, y: y(t) + 4, "text-anchor": "end"}, short),
        draw("text", {class: "token", x: right + 8, y: y(t) + 4}, short),
        number,
        draw(
          "rect",
          {class: "catch", x: 0, y: y(t) - ROW / 2, width, height: ROW, onclick: () => choose({token: t})},
          draw("title", {}, token.piece),
        ),
      );
      boxes.push(box);
      numbers.push(number);
    });
    find("looks").replaceChildren(svg);
  }

  function show() {
    const a = application();
    const {head: n, token: t} = state;
    const quoted = (k) => `“${plainPiece(tokens[k].piece)}”`;
    lit = currentIn(find("heads"), lit, buttons[n][a]);
    const width = Math.max(280, find("looks").clientWidth);
    const now = `${t} ${find("every").checked} ${width}`;
    if (now !== drawn) drawLooks(width);
    drawn = now;
    for (const [q, k, line] of lines) {
      const p = share(a, n, q, k) / 1000;
      line.style.strokeOpacity = p < 0.005 ? 0 : q === t ? 0.15 + 0.85 * Math.sqrt(p) : p * 0.55;
      line.style.strokeWidth = `${0.6 + 5 * p}px`;
    }
    tokens.forEach((_, k) => {
      const p = share(a, n, t, k);
      boxes[k].style.fillOpacity = p / 1000;
      numbers[k].textContent = p >= 5 ? percentText(p) : "";
    });
    const name = headName(n, N);
    find("look-title").textContent = `${name[0].toUpperCase()}${name.slice(1)} in application ${a + 1}`;
    find("habit").replaceChildren(
      n === N ? "The mean " : "This head ",
      make("b", {}, habitText(attention.habits[a][n])),
      ".",
    );
    const most = tokens
      .map((_, k) => k)
      .sort((x, y) => share(a, n, t, y) - share(a, n, t, x))
      .slice(0, 3);
    find("look-text").textContent =
      `${quoted(t)} looks most at ${most.map((k) => `${quoted(k)} (${percentText(share(a, n, t, k))})`).join(", ")}.`;
  }
  find("every").addEventListener("input", show);

  /** The head of the last application in which a token looks most at one other word. */
  function mostDecided(t) {
    let best = [0, -1];
    for (let n = 0; n < N; n++)
      for (let k = 0; k < T; k++)
        if (k !== t && !tokens[k].special && share(A - 1, n, t, k) > best[1]) best = [n, share(A - 1, n, t, k)];
    return best[0];
  }

  return {show, mostDecided, shareOf: (k) => share(application(), state.head, state.token, k)};
}
