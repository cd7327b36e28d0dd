"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const {rows, columns, maps, captions, start} = data, N = rows * columns;
const $ = id => document.getElementById(id);
const MEAN = -1, ROLLOUT = -2;
const SCALES = {
  viridis: ["440154", "481f70", "443983", "3b528b", "31688e", "287c8e", "21918c", "20a486", "35b779", "5ec962", "90d743", "c8e020", "fde725"],
  cividis: ["00224e", "003170", "2a3f6d", "434e6c", "575d6d", "6a6c71", "7d7c78", "918b78", "a59c74", "bcae6c", "d2c060", "e9d34e", "fee838"],
  signed: ["2d004b", "4d207d", "70589f", "9990bf", "bfbbda", "dddfed", "f7f7f6", "fde4c0", "fdc57f", "ee9b39", "d0730f", "aa5306", "7f3b08"],
};
for (const name in SCALES) SCALES[name] = SCALES[name].map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));

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

function percent(x) { return (100 * x).toFixed(x < 0.0995 ? 1 : 0) + "\u00a0%"; }
function where(n) { return "row " + Math.floor(n / columns) + ", column " + n % columns; }
function best(list, count, without = -1) {
  return [...list.keys()].filter(n => n !== without).sort((a, b) => list[b] - list[a]).slice(0, count);
}
function layers(list, all = data.layers) {
  if (!list.length) return "no layer";
  if (list.length === 1) return "layer " + list[0];
  return "layers " + (list.length === all ? "0 to " + (all - 1) : list.join(", "));
}
// As WCAG 2 defines it, from 0 for black to 1 for white.
function luminance(rgb) {
  const [r, g, b] = rgb.map(x => x <= 10 ? x / 3294.6 : ((x / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function colorOf(scale, t) {
  const stops = SCALES[scale], x = Math.min(1, Math.max(0, t)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
  return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (x - i)));
}
