"use strict";
// The page as a whole: one state (token, depth, head), which every part shows, and what changes it.
(() => {
  const data = pageData();
  const {tokens, model, lens} = data;
  const firstMask = tokens.findIndex((token) => token.mask);
  const firstWord = tokens.findIndex((token) => !token.special && /\p{L}/u.test(token.piece));
  const state = {token: Math.max(0, firstMask >= 0 ? firstMask : firstWord), depth: model.A, head: 0};

  // --- the sentence and the answer -----------------------------------------------------------------------------------

  function headline() {
    const parts = data.text.split("[MASK]");
    find("headline").classList.toggle("long", data.text.length > 140);
    if (data.text)
      find("headline").replaceChildren(
        ...parts.flatMap((part, i) => (i ? [make("mark", {}, "[MASK]"), part] : [part])),
      );
    find("answer").replaceChildren(...answer());
  }

  function answer() {
    const layers = model.G === 1 ? "one layer" : `${model.G} layers`;
    const facts = `It read ${model.T} tokens with ${layers}, applied ${model.A} times.`;
    if (!lens && data.label)
      return [
        "The answer for the whole text: ",
        make("b", {}, data.label[0]),
        ` (${percentText(data.label[1])}). ${facts}`,
      ];
    if (!lens) return [`This model has no head that speaks about each token, so the page shows how it reads. ${facts}`];
    if (lens.kind === "labels") return [`This model gives each token a label. ${facts}`];
    const masks = tokens.map((token, t) => [token, t]).filter(([token]) => token.mask);
    const inOrder = data.order >= 500;
    const sure = percentText(inOrder ? data.order : 1000 - data.order);
    const order =
      data.order === null ? "" : ` Of the two texts it says: ${inOrder ? "in their order" : "swapped"} (${sure}).`;
    if (!masks.length)
      return [`No [MASK] is in this text: choose any token and see what ALBERT reads there. ${facts}${order}`];
    const said = masks.flatMap(([, t], i) => {
      const [best, chance] = lens.top[model.A][t];
      return [
        i ? ", then " : "ALBERT’s answer: ",
        make("b", {}, plainPiece(lens.names[best])),
        ` (${percentText(chance)})`,
      ];
    });
    return [...said, `. ${facts}${order}`];
  }

  // --- the bar: tokens and depth -------------------------------------------------------------------------------------

  const chips = tokens.map((token, t) =>
    make(
      "button",
      {
        type: "button",
        class: `chip-token${token.mask ? " mask" : ""}`,
        tabindex: -1,
        "aria-label": `token ${t}: ${token.piece}`,
        onclick: () => choose({token: t}),
      },
      plainPiece(token.piece),
    ),
  );
  const two = tokens.some((token) => token.segment === 1);
  const pieces = tokens.map((token, t) =>
    make(
      "button",
      {type: "button", class: "piece", tabindex: -1, onclick: () => choose({token: t})},
      make("span", {class: "mono"}, token.piece),
      make("span", {class: "small muted"}, two ? `${token.id}, text ${token.segment + 1}` : token.id),
      make("span", {class: "hidden"}, `is the id of place ${t}`),
    ),
  );

  function bar() {
    find("strip").append(...chips);
    find("pieces").append(...pieces);
    const unknown = tokens.find((token) => token.unknown);
    if (unknown)
      find("pieces-say").append(
        " ",
        make("span", {class: "mono"}, unknown.piece),
        " stands for what no piece of the list can write: the model cannot tell what was there.",
      );
    for (const [box, list] of [
      [find("strip"), chips],
      [find("pieces"), pieces],
    ]) {
      box.addEventListener("keydown", (event) => {
        const to = arrowed(event, 0, state.token, 1, tokens.length);
        if (to) {
          choose({token: to[1]});
          list[to[1]].focus();
        }
      });
    }
    find("depth").addEventListener("input", () => choose({depth: Number(find("depth").value)}));
    find("play").addEventListener("click", () => (timer ? stop() : play()));
  }

  function showBar() {
    tokens.forEach((_, t) => {
      const here = t === state.token;
      for (const one of [chips[t], pieces[t]]) {
        one.setAttribute("aria-pressed", here);
        one.tabIndex = here ? 0 : -1;
      }
      chips[t].style.setProperty("--p", state.depth ? `${attention.shareOf(t) / 10}%` : "0%");
    });
    const whose = `“${plainPiece(tokens[state.token].piece)}”`;
    const who = `${headName(state.head, model.N)}, application ${state.depth}`;
    find("bar-text").textContent = state.depth
      ? `The stronger the colour of a token, the more ${whose} looks at it (${who}).`
      : `The chosen token is ${whose}.`;
    keepInSight(find("strip"), chips[state.token]);
    find("depth").value = state.depth;
    find("depth").setAttribute("aria-valuetext", depthName(state.depth));
    find("depth-text").textContent =
      state.depth === 0 ? `before the layer (0 of ${model.A})` : `application ${state.depth} of ${model.A}`;
  }

  // --- playing -------------------------------------------------------------------------------------------------------

  const PACE = 1100; // milliseconds for an application
  let timer = 0;

  function play() {
    if (state.depth >= model.A) choose({depth: 0}, true);
    timer = setInterval(() => {
      choose({depth: state.depth + 1}, true);
      if (state.depth >= model.A) stop();
    }, PACE);
    playing(true);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    playing(false);
  }

  function playing(now) {
    find("play").setAttribute("aria-pressed", now);
    find("play-text").textContent = now ? "Stop" : "Play";
    find("play-shape").setAttribute("d", now ? "M4 4h12v12H4z" : "M5 3l12 7-12 7z");
  }

  // --- all parts -----------------------------------------------------------------------------------------------------

  /** Changes the state and shows it. A choice of the reader's stops the animation. */
  function choose(change, played = false) {
    if (timer && !played && "depth" in change) stop();
    Object.assign(state, change);
    show();
  }

  function show() {
    for (const part of parts) part();
  }

  const attention = attentionPart(data, state, choose);
  state.head = attention.mostDecided(state.token);
  const parts = [
    lensPart(data, state, choose),
    attention.show,
    statesPart(data, state, choose),
    networkPart(data, state, choose),
    showBar,
  ];
  headline();
  bar();
  show();
  onNewWidth(show);
})();
