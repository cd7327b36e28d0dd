// How a cell of an attention map comes about: scores of one query with all keys, their softmax, and what it brings.
function dot(a, b) {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += a[c] * b[c];
  return sum;
}
function scoresOf(source, [Q, K], i) {
  const q = Q(i), count = source.causal ? i + 1 : source.count;
  return Array.from({length: count}, (_, m) => dot(q, K(m)) / Math.sqrt(q.length));
}
function exponentials(scores, temperature) {
  const most = Math.max(...scores), powers = scores.map(x => Math.exp((x - most) / temperature));
  return {most, powers, total: powers.reduce((a, b) => a + b, 0)};
}
// A whole row of attention; null where the page does not keep the vectors of that layer and head.
function rowFrom(source, layer, head, i) {
  const vectors = source.vectors(layer, head);
  if (!vectors) return null;
  const {powers, total} = exponentials(scoresOf(source, vectors, i), 1);
  return Float32Array.from(powers, x => x / total);
}
// Of query i and key j; null where the page does not keep the vectors of that layer and head.
function compute(source, layer, head, i, j, temperature = 1) {
  const vectors = source.vectors(layer, head);
  if (!vectors) return null;
  const [Q, K, V] = vectors, q = Q(i), k = K(j), v = V(j), d = q.length;
  const scores = scoresOf(source, vectors, i), {most, powers, total} = exponentials(scores, temperature), output = new Float64Array(d);
  powers.forEach((x, m) => { if (x > 1e-12 * total) V(m).forEach((y, c) => { output[c] += x / total * y; }); });
  const probability = powers[j] / total, brings = v.map(x => probability * x), length = Math.sqrt(dot(output, output));
  return {q, k, v, d, terms: q.map((x, c) => x * k[c]), product: dot(q, k), score: scores[j], scores, most, total,
    power: powers[j], rank: scores.filter(x => x > scores[j]).length + 1, probability, brings, output, length,
    long: Math.sqrt(dot(brings, brings)), along: dot(brings, output) / Math.max(length * length, 1e-30)};
}

function ticks(it, j) {
  const low = Math.min(...it.scores), wide = Math.max(it.most - low, 1e-30), at = x => 2 + 996 * (x - low) / wide;
  const drawn = shape("svg", {viewBox: "0 0 1000 40", preserveAspectRatio: "none", class: "ticks", role: "img",
    "aria-label": "All scores from " + number(low) + " to " + number(it.most) + ", this one marked"});
  it.scores.forEach(x => drawn.append(shape("line", {x1: at(x), x2: at(x), y1: 12, y2: 40})));
  drawn.append(shape("line", {x1: at(it.scores[j]), x2: at(it.scores[j]), y1: 0, y2: 40, class: "this"}));
  return drawn;
}

// A panel in `box` for what looks at what in `source()`; `close` shuts it. What comes back draws it.
function panel(box, source, close) {
  box.append($("steps").content.cloneNode(true));
  const part = name => box.querySelector("[data-part=" + name + "]"), slider = box.querySelector("input");
  part("close").addEventListener("click", close);
  slider.addEventListener("input", () => set({softness: Number(slider.value)}));
  const button = (words, action) => {
    const it = document.createElement("button");
    it.type = "button";
    it.append(words);
    it.addEventListener("click", action);
    return it;
  };
  return (open, layer, head, i, j, choose, goTo) => {
    box.hidden = !open;
    if (!open) return;
    const from = source(), {kept, one, many, name} = from, temperature = 10 ** (state.softness / 10);
    part("title").textContent = "How " + name(i) + " comes to look at " + name(j) + (head === MEAN ? " in layer " + layer : " in layer " + layer + ", head " + head);
    const here = kept.layers.includes(layer), it = head === MEAN ? null : compute(from, layer, head, i, j, temperature);
    part("steps").hidden = !it;
    part("missing").hidden = part("choices").hidden = !!it;
    if (!it) return here ? chooseHead() : chooseLayer();
    const most = Math.max(...it.q.map(Math.abs), ...it.k.map(Math.abs)), term = Math.max(...it.terms.map(Math.abs));
    part("q").replaceChildren(bars(it.q, most, "The query's " + it.d + " numbers"));
    part("k").replaceChildren(bars(it.k, most, "The key's " + it.d + " numbers"));
    part("terms").replaceChildren(bars(it.terms, term, "Their " + it.d + " products"));
    const large = best(it.terms.map(Math.abs), 3).map(c => "number " + c + " adds " + number(it.terms[c]));
    part("dot").textContent = "The sum of the " + it.d + " products is q · k = " + number(it.product) + ". Of them " + large.join(", ") + ".";
    part("score").textContent = number(it.product) + " / √" + it.d + " = " + number(it.score) + ", the score.";
    part("scores").replaceChildren(ticks(it, j));
    part("low").textContent = number(Math.min(...it.scores));
    part("high").textContent = number(it.most);
    const less = number(it.score) + " − " + (it.most < 0 ? "(" + number(it.most) + ")" : number(it.most)), power = temperature === 1 ? less : "(" + less + ") / " + number(temperature);
    part("softmax").textContent = "It is the " + nth(it.rank) + "highest of " + it.scores.length + (it.scores.length === 1 ? " score" : " scores") + "; the highest is " + number(it.most) +
      ". e^(" + power + ") = " + number(it.power) + "; over all " + many + " these add up to " + number(it.total) +
      ". The " + one + " gets " + number(it.power) + " / " + number(it.total) + " = " + percent(it.probability) + ".";
    slider.value = state.softness;
    part("softness").textContent = temperature.toFixed(2) + (state.softness ? "" : ", the model's own");
    const tall = Math.max(...it.brings.map(Math.abs), ...it.output.map(Math.abs));
    part("v").replaceChildren(bars(it.brings, tall, "Probability times value"));
    part("output").replaceChildren(bars(it.output, tall, "The head's output"));
    part("brings").textContent = percent(it.probability) + " of its value vector, which makes a vector of length " + number(it.long) +
      "; the head's output, the sum over all " + many + ", has the length " + number(it.length) + ". Along that output it adds " + percent(it.along) +
      "; all " + many + " together add 100 %.";
    part("exact").textContent = "Computed in your browser from numbers of " + 8 * kept.width + " bits; scores are off by at most " + kept.error.toFixed(4) + ".";

    function chooseHead() {
      part("missing").textContent = "Each head computes attention of its own. " + (head === MEAN ? "Choose one:" : "This page keeps what it takes of these:");
      part("choices").replaceChildren(...kept.heads.map(h =>
        button("Head " + h + ": " + percent(compute(from, layer, h, i, j, temperature).probability), () => choose(h))));
    }
    function chooseLayer() {
      part("missing").textContent = "This page keeps queries, keys and values of " + layers(kept.layers, from.layers) + "; others do not fit into it.";
      part("choices").replaceChildren(...kept.layers.map(l => button("Layer " + l, () => goTo(l))));
    }
  };
}
const patchPanel = panel($("computation"), () => ofPatches, () => set({key: null}));
