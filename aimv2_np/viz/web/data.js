const data = JSON.parse(document.getElementById("data").textContent);
const {rows, columns, maps, captions, start} = data, N = rows * columns;
const $ = id => document.getElementById(id);
const MEAN = -1, ROLLOUT = -2;

function numbers(text, Type) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}
const {computations, text} = data;
const index = new Map(maps.names.map(([layer, head], i) => [head === ROLLOUT ? "rollout" : layer + "," + head, i]));
const features = numbers(data.features.data, Int8Array), rank = data.features.scales.length;
const pooling = data.pooling && numbers(data.pooling, Float32Array);
const colors = numbers(data.colors, Uint8Array);
const tops = numbers(maps.tops, Float32Array), values = numbers(maps.values, Uint8Array);
const places = maps.kept < N ? numbers(maps.places, {1: Uint8Array, 2: Uint16Array, 4: Uint32Array}[maps.placeBytes]) : null;
const mostHead = Math.max(data.heads, ...maps.names.map(([, head]) => head + 1), ...computations.heads.map(head => head + 1)) - 1;
for (const it of captions) {
  it.similarity = numbers(it.similarity, Float32Array);
  it.parts = numbers(it.parts, Float32Array);
  it.relevance = it.relevance && numbers(it.relevance, Float32Array);
}

// The queries, keys and values of a layer and head: a function of a token each; null where the page does not keep them.
function vectorsOf(kept, count) {
  const whole = numbers(kept.values, kept.width === 2 ? Int16Array : Int8Array), scales = numbers(kept.scales, Float32Array), d = kept.size;
  const read = new Map(); // whoever points at patches asks for the same vectors again and again
  return (layer, head) => {
    const l = kept.layers.indexOf(layer), h = kept.heads.indexOf(head), first = (l * kept.heads.length + h) * 3 * count;
    if (l < 0 || h < 0) return null;
    return [0, 1, 2].map(part => n => {
      const at = first + part * count + n;
      if (!read.has(at)) read.set(at, Float64Array.from(whole.subarray(at * d, at * d + d), x => x * scales[at]));
      return read.get(at);
    });
  };
}
// What looks at what: the picture's patches, and the words of a caption, of which each sees those up to itself.
const ofPatches = {kept: computations, count: N, causal: false, one: "patch", many: "patches", name: n => where(n), layers: data.layers,
  vectors: vectorsOf(computations, N)};
for (const it of captions) {
  if (!it.words) continue;
  const count = it.words.tokens.length;
  Object.assign(it.words, {tops: numbers(it.words.tops, Float32Array), values: numbers(it.words.values, Uint8Array), count});
  it.source = {kept: it.words.computations, count, causal: true, layers: text.layers, one: "word", many: "words that it sees",
    name: n => "“" + it.words.tokens[n] + "”" + (n ? "" : " (the start)"), vectors: vectorsOf(it.words.computations, count)};
}

function where(n) { return "row " + Math.floor(n / columns) + ", column " + n % columns; }
function layers(list, all = data.layers) {
  if (!list.length) return "no layer";
  if (list.length === 1) return "layer " + list[0];
  return "layers " + (list.length === all ? "0 to " + (all - 1) : list.join(", "));
}
