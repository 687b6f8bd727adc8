// Section 5: the network as a drawing, each step of which opens to its formula, weights, values and code.

const LETTERS = {x: "what comes in", "W, b": "weights; ᵀ swaps rows and columns", T: "tokens", E: "numbers of a row of the word table", H: "numbers of a state", N: "heads", D: "numbers of a head", I: "numbers inside the feed-forward part", V: "pieces in the list", K: "labels"};

function networkPart(data, state, choose) {
  const {tokens, model, network} = data, {boxes, sources, counts} = network;
  const shared = model.G === 1, times = (n) => (n === 1 ? "once" : `${n} times`);
  find("network-say").textContent = `From top to bottom, in the order in which it is computed. ${shared ? `ALBERT stores one layer and applies it ${times(model.A)}: that makes the file small, but saves no work.` : `This model stores ${model.G} layers and applies them ${times(model.A)} in all.`} Blue steps have weights, which training has set; the others only compute. Choose a step: it opens to its formula, its code and its numbers.`;
  find("counts").append(...[
    [counts.stored, "parameters are stored: numbers that training has set"], [counts.layers, shared ? "of them in the one shared layer" : `of them in ${model.G} layers`],
    [counts.unshared, "it would be, if each application had a layer of its own"], [counts.work, "multiplications to read this text"],
  ].map(([n, what]) => make("div", {title: countText(n)}, make("b", {}, roundText(n)), make("span", {class: "small muted"}, what))));

  // the drawing
  const byPart = new Map(boxes.map((box) => [box.part, box]));
  const buttons = new Map(), order = [];
  let chosen = byPart.get("attention.probs") ?? boxes[0];
  const dots = Array.from({length: model.A}, (_, a) => make("button", {type: "button", class: "time", "aria-label": `application ${a + 1}`, onclick: () => choose({depth: a + 1})}, a + 1));

  function parameters(box) {
    return box.names[0][1].reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  }

  function button(part) {
    const box = byPart.get(part), n = parameters(box);
    const one = make("button", {type: "button", class: n ? "op weights" : "op", "data-part": part, tabindex: -1, onclick: () => open(box)}, make("b", {}, box.title), make("span", {class: "small"}, box.shape.join(" × ")));
    buttons.set(part, one);
    order.push(part);
    return one;
  }

  const arrow = (sign = "↓") => make("span", {class: "arrow", "aria-hidden": true}, sign);
  /** Steps with arrows between. rows: from top to bottom, "a → b" for one after the other, ["a", "b"] for side by side. */
  function chain(...rows) {
    const lines = rows.map((row) => {
      const beside = Array.isArray(row), names = (beside ? row : row.split(" → ")).filter((name) => byPart.has(name));
      return names.flatMap((name, i) => [...(i && !beside ? [arrow("→")] : []), button(name)]);
    });
    return lines.filter((line) => line.length).flatMap((line, i) => [...(i ? [arrow()] : []), make("div", {class: "line"}, line)]);
  }

  function drawing() {
    const at = "attention.";
    find("drawing").append(
      make("div", {class: "group"}, make("h3", {}, "embeddings"), chain(["embeddings.word_embeddings", "embeddings.token_type_embeddings", "embeddings.position_embeddings"], "embeddings.sum → embeddings.LayerNorm", "encoder.embedding_hidden_mapping_in")), arrow(),
      make("div", {class: "group layer"},
        make("h3", {}, shared ? `the layer, applied ${times(model.A)}` : "the layers"), make("div", {class: "times", role: "group", "aria-label": "Applications"}, make("span", {"aria-hidden": true}, "↻"), dots),
        make("p", {class: "small muted part"}, "attention: tokens look at one another"), chain([`${at}query`, `${at}key`, `${at}value`], `${at}scores → ${at}probs`, `${at}context → ${at}dense`, `${at}sum → ${at}LayerNorm`), arrow(),
        make("p", {class: "small muted part"}, "feed-forward: each token on its own"), chain("ffn → activation → ffn_output", "sum → full_layer_layer_norm")),
      arrow(), make("div", {class: "headings"}, heads()),
    );
    find("drawing").addEventListener("keydown", (event) => {
      const from = order.indexOf(event.target.dataset?.part), move = from >= 0 && arrowMove(event);
      if (!move) return;
      const part = order[between(0, from + move[0] + move[1], order.length - 1)];
      chosen = byPart.get(part);
      show();
      buttons.get(part).focus();
    });
  }

  function heads() {
    const groups = {"head: which piece?": ["predictions.dense", "predictions.activation", "predictions.LayerNorm", "predictions.decoder"], "the whole text": ["pooler", "pooler_activation", "sop_classifier.classifier"], head: ["classifier", "qa_outputs"]};
    return Object.entries(groups).map(([title, parts]) => {
      const steps = chain(...parts);
      return steps.length ? make("div", {class: "group"}, make("h3", {}, title), steps) : null;
    }).filter(Boolean);
  }

  function open(box) {
    chosen = box;
    show();
    if (find("box").getBoundingClientRect().top > innerHeight * .8) find("box").scrollIntoView(); // where the two stand one below the other
  }

  // --- one step -------------------------------------------------------------------------------------------------------

  function details(box) {
    const a = box.layer ? Math.max(1, state.depth) - 1 : 0;
    const used = new Set(`${box.letters} ${box.formula} ${box.says}`.match(/[\p{L}]+/gu)), meant = Object.keys(LETTERS).filter((x) => used.has(x) || (x === "W, b" && /W[₁₂]?ᵀ/.test(box.formula)));
    return [
      make("h3", {class: "box-title"}, box.title, box.layer ? make("span", {class: "muted"}, ` in application ${a + 1} of ${model.A}`) : null),
      make("p", {}, box.says), make("p", {class: "formula mono"}, box.formula),
      make("dl", {class: "facts"},
        fact("result", make("span", {}, make("span", {class: "mono"}, box.letters), box.letters !== String(box.shape) ? ` = ${box.shape.join(" × ")}` : "")),
        meant.map((x) => fact(x, LETTERS[x])), box.work ? fact("work", `${countText(box.work)} multiplications`) : null),
      ...weights(box, a), ...values(box, a), ...code(box),
      make("button", {type: "button", class: "plain back", onclick: () => buttons.get(box.part).scrollIntoView({block: "center"})}, "↑ back to the drawing"),
    ];
  }

  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

  function weights(box, a) {
    const [module, names] = box.names[Math.min(a, box.names.length - 1)];
    if (!names.length) return [];
    const rows = names.map(([name, shape]) => make("tr", {}, make("th", {scope: "row", class: "mono"}, name), make("td", {class: "number"}, shape.join(" × ")), make("td", {class: "number"}, countText(shape.reduce((x, y) => x * y, 1)))));
    const heads = ["weights", "shape", "numbers"].map((text, i) => make("th", {scope: "col", class: i ? "number" : ""}, text));
    const again = box.layer && box.names.length === 1 && model.A > 1 ? make("p", {class: "small muted"}, `The same weights in all ${model.A} applications.`) : null;
    const tied = box.part === "predictions.decoder" && names.some(([name]) => name.startsWith("embeddings.")) ? make("p", {class: "small muted"}, "The word table of the beginning, used a second time.") : null;
    return [make("div", {class: "scroll", title: module}, make("table", {class: "data"}, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, rows))), again, tied].filter(Boolean);
  }

  function values(box, a) {
    const found = box.values[a], t = found.rows.length === 1 ? 0 : state.token, [strip, length, ...first] = found.rows[t];
    const whose = found.rows.length === 1 ? "the whole text" : `“${plainPiece(tokens[t].piece)}”`;
    const of = box.letters.startsWith("N ×") ? `${countText(found.of)} numbers (head 0 with each token, then head 1, and so on)` : `${countText(found.of)} numbers`;
    const SIZE = 12, columns = 16, lines = Math.ceil(strip.length / columns);
    const svg = draw("svg", {viewBox: `0 0 ${columns * SIZE} ${lines * SIZE}`, class: "strip-values", role: "img", "aria-label": `The first ${strip.length} of ${countText(found.of)} values as colours`});
    [...strip].forEach((letter, i) => {
      const level = network.levels.indexOf(letter) - 30; // from −30 to 30
      svg.append(draw("rect", {class: level < 0 ? "minus" : "plus", x: (i % columns) * SIZE + .5, y: Math.floor(i / columns) * SIZE + .5, width: SIZE - 1, height: SIZE - 1, "fill-opacity": Math.abs(level) / 30}));
    });
    return [
      make("h3", {}, `Its values for ${whose}`), svg,
      make("p", {class: "small muted"}, `The first ${strip.length} of ${of}. `, make("span", {class: "plus-text"}, "blue: above 0"), ", ", make("span", {class: "minus-text"}, "orange: below 0"), `; the strongest colour stands for ${shortNumber(found.largest, 4)}.`),
      make("p", {class: "mono values"}, first.map((x) => make("span", {}, shortNumber(x, 4))), found.of > first.length ? "…" : null),
      make("p", {class: "small muted"}, `Length of the whole list (the root of the sum of its squares): ${shortNumber(length, 4)}.`),
    ];
  }

  function code(box) {
    return box.code.map((name, i) => {
      const {file, first, lines} = sources[name];
      if (!lines.length) return null;
      const text = make("code", {}, lines.map((one, j) => make("span", {class: "code-line"}, make("i", {"aria-hidden": true}, first + j), `${one}\n`)));
      return make("details", i ? {} : {open: true}, make("summary", {}, i ? "see also: " : "its code: ", make("span", {class: "mono"}, name), make("span", {class: "muted small"}, ` ${file}, line ${first}`)), make("pre", {tabindex: 0, "aria-label": `Code of ${name}`}, text));
    }).filter(Boolean);
  }

  function show() {
    for (const [part, one] of buttons) {
      one.setAttribute("aria-pressed", part === chosen.part);
      one.tabIndex = part === chosen.part ? 0 : -1;
    }
    dots.forEach((dot, a) => {
      dot.classList.toggle("done", a < state.depth);
      dot.setAttribute("aria-pressed", a + 1 === state.depth);
    });
    find("box").replaceChildren(...details(chosen));
  }
  drawing();
  return show;
}
