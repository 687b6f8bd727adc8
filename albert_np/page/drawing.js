"use strict";
// What every page of the kit draws with. Text goes into the page as text: nothing here makes HTML of a string.

/** An element with attributes and children. Functions among the attributes listen: {onclick: f}. */
function make(tag, attributes = {}, ...children) { return dressed(document.createElement(tag), attributes, children); }

/** The same for SVG. */
function draw(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function find(id) { return document.getElementById(id); }

/** What the page is about. */
function pageData() { return JSON.parse(find("data").textContent); }

/** Draws again when the width has changed. A phone also tells of a height that changes while one scrolls. */
function onNewWidth(redraw) {
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw();
    width = innerWidth;
  });
}

/** Where an arrow key, Home or End leads: [rows, columns]. Undefined for another key. */
function arrowMove(event) {
  const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e5], End: [0, 1e5]}[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return undefined;
  event.preventDefault();
  return move;
}

/** A whole number from low to high. */
function between(low, x, high) { return Math.min(high, Math.max(low, x)); }

/** Scrolls a box, and nothing else, to where an element in it can be seen. Left and top are where headings may lie over it. */
function keepInSight(box, element) {
  const frame = box.getBoundingClientRect(), at = element.getBoundingClientRect(), margin = Math.min(130, frame.width * .3);
  if (at.left < frame.left + margin) box.scrollLeft -= frame.left + margin - at.left;
  else if (at.right > frame.right - 8) box.scrollLeft += at.right - frame.right + 8;
  if (at.top < frame.top + 60) box.scrollTop -= frame.top + 60 - at.top;
  else if (at.bottom > frame.bottom - 30) box.scrollTop += at.bottom - frame.bottom + 30;
}

function countText(n) { return n.toLocaleString("en"); }

function shortNumber(x, digits = 3) {
  if (x === null || x === undefined) return "–";
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? x.toExponential(digits - 1) : String(Number(x.toPrecision(digits)));
  return text.replaceAll("-", "−").replace("e+", "e");
}
