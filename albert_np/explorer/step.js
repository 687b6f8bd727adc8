// One step of the network, opened.

// the letters and signs of formulas and shapes
const LETTERS = {
  x: "what comes in",
  "W, b": "weights; ᵀ swaps rows and columns",
  T: "tokens",
  E: "numbers of a row of the word table",
  H: "numbers of a state",
  N: "heads",
  D: "numbers of a head",
  I: "numbers inside the feed-forward part",
  V: "pieces in the list",
  K: "labels",
};

/** Elements that say what a step does and show its numbers. box: one of network.boxes. */
function stepDetails(data, state, box) {
  const {tokens, model} = data;
  const a = box.layer ? Math.max(1, state.depth) - 1 : 0; // the application, from 0

  function details() {
    const used = new Set(`${box.letters} ${box.formula} ${box.says}`.match(/\p{L}+/gu));
    if (/W[₁₂]?ᵀ/.test(box.formula)) used.add("W, b");
    const meant = Object.keys(LETTERS).filter((x) => used.has(x));
    return [
      make(
        "h3",
        {class: "box-title"},
        box.title,
        box.layer ? make("span", {class: "muted"}, ` in application ${a + 1} of ${model.A}`) : null,
      ),
      make("p", {}, box.says),
      make("p", {class: "formula mono"}, box.formula),
      make(
        "dl",
        {class: "facts"},
        fact(
          "result",
          make(
            "span",
            {},
            make("span", {class: "mono"}, box.letters),
            box.letters !== String(box.shape) ? ` = ${box.shape.join(" × ")}` : "",
          ),
        ),
        meant.map((x) => fact(x, LETTERS[x])),
        box.work ? fact("work", `${countText(box.work)} multiplications`) : null,
      ),
      ...weights(),
      ...values(),
      ...code(),
    ];
  }

  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

  function weights() {
    const [module, names] = box.names[Math.min(a, box.names.length - 1)];
    if (!names.length) return [];
    const rows = names.map(([name, shape]) =>
      make(
        "tr",
        {},
        make("th", {scope: "row", class: "mono"}, name),
        make("td", {class: "number"}, shape.join(" × ")),
        make("td", {class: "number"}, countText(shape.reduce((x, y) => x * y, 1))),
      ),
    );
    const heads = ["weights", "shape", "numbers"].map((text, i) =>
      make("th", {scope: "col", class: i ? "number" : ""}, text),
    );
    const again =
      box.layer && box.names.length === 1 && model.A > 1
        ? make("p", {class: "small muted"}, `The same weights in all ${model.A} applications.`)
        : null;
    const tied =
      box.part === "predictions.decoder" && names.some(([name]) => name.startsWith("embeddings."))
        ? make("p", {class: "small muted"}, "The word table of the beginning, used a second time.")
        : null;
    return [
      make(
        "div",
        {class: "scroll", title: module},
        make("table", {class: "data"}, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, rows)),
      ),
      again,
      tied,
    ].filter(Boolean);
  }

  function values() {
    const found = box.values[a];
    const t = found.rows.length === 1 ? 0 : state.token;
    const [strip, length, ...first] = found.rows[t];
    const whose = found.rows.length === 1 ? "the whole text" : `“${plainPiece(tokens[t].piece)}”`;
    const of = box.letters.startsWith("N ×")
      ? `${countText(found.of)} numbers (head 0 with each token, then head 1, and so on)`
      : `${countText(found.of)} numbers`;
    const SIZE = 12;
    const columns = 16;
    const lines = Math.ceil(strip.length / columns);
    const svg = draw("svg", {
      viewBox: `0 0 ${columns * SIZE} ${lines * SIZE}`,
      class: "strip-values",
      role: "img",
      "aria-label": `The first ${strip.length} of ${countText(found.of)} values as colours`,
    });
    [...strip].forEach((letter, i) => {
      const level = data.network.levels.indexOf(letter) - 30; // from −30 to 30
      svg.append(
        draw("rect", {
          class: level < 0 ? "minus" : "plus",
          x: (i % columns) * SIZE + 0.5,
          y: Math.floor(i / columns) * SIZE + 0.5,
          width: SIZE - 1,
          height: SIZE - 1,
          "fill-opacity": Math.abs(level) / 30,
        }),
      );
    });
    return [
      make("h3", {}, `Its values for ${whose}`),
      svg,
      make(
        "p",
        {class: "small muted"},
        `The first ${strip.length} of ${of}. `,
        make("span", {class: "plus-text"}, "blue: above 0"),
        ", ",
        make("span", {class: "minus-text"}, "orange: below 0"),
        `; the strongest colour stands for ${shortNumber(found.largest, 4)}.`,
      ),
      make(
        "p",
        {class: "mono values"},
        first.map((x) => make("span", {}, shortNumber(x, 4))),
        found.of > first.length ? "…" : null,
      ),
      make(
        "p",
        {class: "small muted"},
        `Length of the whole list (the root of the sum of its squares): ${shortNumber(length, 4)}.`,
      ),
    ];
  }

  function code() {
    return box.code
      .map((name, i) => {
        const {file, first, lines} = data.network.sources[name];
        if (!lines.length) return null;
        const text = make(
          "code",
          {},
          lines.map((one, j) =>
            make("span", {class: "code-line"}, make("i", {"aria-hidden": true}, first + j), `${one}\n`),
          ),
        );
        return make(
          "details",
          i ? {} : {open: true},
          make(
            "summary",
            {},
            i ? "see also: " : "its code: ",
            make("span", {class: "mono"}, name),
            make("span", {class: "muted small"}, ` ${file}, line ${first}`),
          ),
          make("pre", {tabindex: 0, "aria-label": `Code of ${name}`}, text),
        );
      })
      .filter(Boolean);
  }

  return details();
}
