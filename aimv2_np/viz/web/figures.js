// Numbers as words, and as bars.
export function percent(x) { return (100 * x).toFixed(x < 0.0995 ? 1 : 0) + "\u00a0%"; }
export function number(x) {
  const size = Math.abs(x);
  return (size >= 1e6 ? x.toExponential(2) : size >= 1000 ? String(Math.round(x)) : String(Number(x.toPrecision(3)))).replace("-", "−");
}
export function nth(n) { return n === 1 ? "" : n + ({1: "st", 2: "nd", 3: "rd"}[n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] || "th") + " "; }
// Where the `count` largest are, the largest first.
export function best(list, count, without = -1) {
  return [...list.keys()].filter(n => n !== without).sort((a, b) => list[b] - list[a]).slice(0, count);
}

const SVG = document.createRange().createContextualFragment("<svg></svg>").firstChild.namespaceURI;
export function shape(tag, attributes, ...children) {
  const it = document.createElementNS(SVG, tag);
  for (const name in attributes) it.setAttribute(name, attributes[name]);
  it.append(...children);
  return it;
}
// A bar for each number, from the middle up or down; `most` is how much half of the height is.
export function bars(list, most, words) {
  const drawn = shape("svg", {viewBox: "0 0 " + list.length + " 2", preserveAspectRatio: "none", class: "numbers", role: "img", "aria-label": words});
  drawn.append(shape("line", {x1: 0, x2: list.length, y1: 1, y2: 1}));
  list.forEach((x, c) => {
    const tall = Math.min(1, Math.abs(x) / Math.max(most, 1e-30)), title = shape("title", {}, "number " + c + ": " + number(x));
    drawn.append(shape("rect", {x: c + 0.1, width: 0.8, y: x > 0 ? 1 - tall : 1, height: tall, class: x > 0 ? "more" : "less"}, title));
  });
  return drawn;
}
