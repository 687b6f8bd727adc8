// Section 5: the network as a drawing, each step of which opens to its formula, weights, values and code.

function networkPart(data, state, choose) {
  const {model} = data;
  const {boxes, counts} = data.network;
  const shared = model.G === 1;
  const times = (n) => (n === 1 ? "once" : `${n} times`);
  const stored = shared
    ? `ALBERT stores one layer and applies it ${times(model.A)}: that makes the file small, but saves no work.`
    : `This model stores ${model.G} layers and applies them ${times(model.A)} in all.`;
  find("network-say").textContent =
    `From top to bottom, in the order in which it is computed. ${stored} Blue steps have weights, which training has ` +
    "set; the others only compute. Choose a step: it opens to its formula, its code and its numbers.";
  find("counts").append(
    ...[
      [counts.stored, "parameters are stored: numbers that training has set"],
      [counts.layers, shared ? "of them in the one shared layer" : `of them in ${model.G} layers`],
      [counts.unshared, "it would be, if each application had a layer of its own"],
      [counts.work, "multiplications to read this text"],
    ].map(([n, what]) =>
      make("div", {title: countText(n)}, make("b", {}, roundText(n)), make("span", {class: "small muted"}, what)),
    ),
  );

  // the drawing
  const byPart = new Map(boxes.map((box) => [box.part, box]));
  const buttons = new Map();
  const order = [];
  let chosen = byPart.get("attention.probs") ?? boxes[0];
  const dots = Array.from({length: model.A}, (_, a) =>
    make(
      "button",
      {type: "button", class: "time", "aria-label": `application ${a + 1}`, onclick: () => choose({depth: a + 1})},
      a + 1,
    ),
  );

  function parameters(box) {
    return box.names[0][1].reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  }

  function button(part) {
    const box = byPart.get(part);
    const n = parameters(box);
    const one = make(
      "button",
      {type: "button", class: n ? "op weights" : "op", "data-part": part, tabindex: -1, onclick: () => open(box)},
      make("b", {}, box.title),
      make("span", {class: "small"}, box.shape.join(" × ")),
    );
    buttons.set(part, one);
    order.push(part);
    return one;
  }

  const arrow = (sign = "↓") => make("span", {class: "arrow", "aria-hidden": true}, sign);
  /** Steps with arrows between, from top to bottom. A row: "a → b" one after the other, ["a", "b"] side by side. */
  function chain(...rows) {
    const lines = rows.map((row) => {
      const beside = Array.isArray(row);
      const names = (beside ? row : row.split(" → ")).filter((name) => byPart.has(name));
      return names.flatMap((name, i) => [...(i && !beside ? [arrow("→")] : []), button(name)]);
    });
    return lines
      .filter((line) => line.length)
      .flatMap((line, i) => [...(i ? [arrow()] : []), make("div", {class: "line"}, line)]);
  }

  function drawing() {
    const at = "attention.";
    find("drawing").append(
      make(
        "div",
        {class: "group"},
        make("h3", {}, "embeddings"),
        chain(
          ["embeddings.word_embeddings", "embeddings.token_type_embeddings", "embeddings.position_embeddings"],
          "embeddings.sum → embeddings.LayerNorm",
          "encoder.embedding_hidden_mapping_in",
        ),
      ),
      arrow(),
      make(
        "div",
        {class: "group layer"},
        make("h3", {}, shared ? `the layer, applied ${times(model.A)}` : "the layers"),
        make(
          "div",
          {class: "times", role: "group", "aria-label": "Applications"},
          make("span", {"aria-hidden": true}, "↻"),
          dots,
        ),
        make("p", {class: "small muted part"}, "attention: tokens look at one another"),
        chain(
          [`${at}query`, `${at}key`, `${at}value`],
          `${at}scores → ${at}probs`,
          `${at}context → ${at}dense`,
          `${at}sum → ${at}LayerNorm`,
        ),
        arrow(),
        make("p", {class: "small muted part"}, "feed-forward: each token on its own"),
        chain("ffn → activation → ffn_output", "sum → full_layer_layer_norm"),
      ),
      arrow(),
      make("div", {class: "headings"}, heads()),
    );
    find("drawing").addEventListener("keydown", (event) => {
      const from = order.indexOf(event.target.dataset?.part);
      const move = from >= 0 && arrowMove(event);
      if (!move) return;
      const part = order[between(0, from + move[0] + move[1], order.length - 1)];
      chosen = byPart.get(part);
      show();
      buttons.get(part).focus();
    });
  }

  function heads() {
    const groups = {
      "head: which piece?": [
        "predictions.dense",
        "predictions.activation",
        "predictions.LayerNorm",
        "predictions.decoder",
      ],
      "the whole text": ["pooler", "pooler_activation", "sop_classifier.classifier"],
      head: ["classifier", "qa_outputs"],
    };
    return Object.entries(groups)
      .map(([title, parts]) => {
        const steps = chain(...parts);
        return steps.length ? make("div", {class: "group"}, make("h3", {}, title), steps) : null;
      })
      .filter(Boolean);
  }

  function open(box) {
    chosen = box;
    show();
    const below = find("box").getBoundingClientRect().top > innerHeight * 0.8; // on a narrow screen
    if (below) find("box").scrollIntoView();
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
    const {part} = chosen;
    find("box").replaceChildren(
      ...stepDetails(data, state, chosen),
      make(
        "button",
        {type: "button", class: "plain back", onclick: () => buttons.get(part).scrollIntoView({block: "center"})},
        "↑ back to the drawing",
      ),
    );
  }
  drawing();
  return show;
}
