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
const tops = numbers(maps.tops, Float32Array), values = numbers(maps.values, Uint8Array);
const places = maps.kept < N ? numbers(maps.places, {1: Uint8Array, 2: Uint16Array, 4: Uint32Array}[maps.placeBytes]) : null;
const index = new Map(maps.names.map(([layer, head], i) => [head === ROLLOUT ? "rollout" : layer + "," + head, i]));
const features = numbers(data.features.data, Int8Array), rank = data.features.scales.length;
const pooling = data.pooling && numbers(data.pooling, Float32Array);
const colors = numbers(data.colors, Uint8Array);
for (const it of captions) {
  it.similarity = numbers(it.similarity, Float32Array);
  it.parts = numbers(it.parts, Float32Array);
}

const state = {patch: start.row * columns + start.column, layer: maps.layers.indexOf(start.layer), head: start.head,
  view: "attention", caption: 0, held: false};
if (state.layer < 0) state.layer = maps.layers.length - 1;

// What is not stored of a row is drawn at its average, which is known: a row of attention sums to 1.
function mapOf(number) {
  const k = maps.kept, at = number * N + state.patch, high = values.subarray(at * k, at * k + k);
  const held = Math.min(1, high.reduce((a, b) => a + b, 0) / 255 * tops[at]);
  const list = new Float32Array(N).fill(places ? (1 - held) / (N - k) : 0);
  high.forEach((x, i) => { list[places ? places[at * k + i] : i] = x / 255 * tops[at]; });
  return {list, held};
}
function percent(x) { return (100 * x).toFixed(x < 0.0995 ? 1 : 0) + " %"; }
function where(n) { return "row " + Math.floor(n / columns) + ", column " + n % columns; }
function best(list, count, without = -1) {
  return [...list.keys()].filter(n => n !== without).sort((a, b) => list[b] - list[a]).slice(0, count);
}
function share({list, held}, who) {
  const lines = best(list, 4).filter(n => list[n] > 0).map(n => where(n) + " (" + percent(list[n]) + ")");
  const part = places ? "\nThe " + maps.kept + " highest hold " + percent(held) + "; the others are drawn at their average." : "";
  return who + " most at " + lines.join("; ") + "." + part;
}
function headName() { return state.head === MEAN ? "all heads on average" : "head " + state.head; }
function cosines() {
  const list = new Float32Array(N), mine = data.features.scales.map((s, i) => s * s * features[state.patch * rank + i]);
  for (let n = 0; n < N; n++) {
    let dot = 0;
    for (let i = 0; i < rank; i++) dot += mine[i] * features[n * rank + i];
    list[n] = Math.min(1, Math.max(-1, dot));
  }
  return list;
}
function pooled() {
  const list = new Float32Array(N), H = data.heads;
  for (let h = 0; h < H; h++) if (state.head === MEAN || h === state.head)
    for (let n = 0; n < N; n++) list[n] += pooling[h * N + n] / (state.head === MEAN ? H : 1);
  return list;
}
function relative(list, facts) {
  return {list, low: 0, high: Math.max(...list, 1e-12), root: true, scale: "viridis", facts,
    label: x => (x * N).toFixed(1) + " × an even share"};
}
function plain(list, facts, scale, ends) {
  const [low, high] = ends || [Math.min(...list), Math.max(...list)];
  return {list, low, high, root: false, scale, facts, label: x => x.toFixed(3)};
}
// What each view shows of the patch: a number for every patch, how these become colours, and what there is to say.
const VIEWS = {
  attention: {name: "Attention of the patch", uses: ["layer", "head"], show() {
    const layer = maps.layers[state.layer], stored = index.get(layer + "," + state.head);
    const map = mapOf(stored === undefined ? index.get(layer + "," + MEAN) : stored);
    const who = "In layer " + layer + (stored === undefined ? ", all heads on average look" : ", " + headName() + (state.head === MEAN ? " look" : " looks"));
    return relative(map.list, share(map, who));
  }},
  rollout: {name: "Rollout over all layers", uses: [], show() {
    const map = mapOf(index.get("rollout"));
    return relative(map.list, share(map, "Over all layers, it draws"));
  }},
  pooling: {name: "Attention of the pooling head", uses: ["head"], there: !!pooling, show() {
    const list = pooled(), who = "The pooling head gives this patch " + percent(list[state.patch]) + " of its attention. " +
      (state.head === MEAN ? "All its heads on average look" : "Its " + headName() + " looks");
    const it = relative(list, "");
    it.facts = who + " most at " + best(list, 4).map(n => where(n) + " (" + percent(list[n]) + ")").join("; ") + ".";
    return it;
  }},
  neighbours: {name: "Neighbours in feature space", uses: [], show() {
    const list = cosines(), lines = best(list, 4, state.patch).map(n => where(n) + " (" + list[n].toFixed(2) + ")");
    return plain(list, N > 1 ? "Most like it: " + lines.join("; ") + "." : "There is no other patch.", "cividis", [Math.min(...list), 1]);
  }},
  colors: {name: "Features as colours", uses: [], show() {
    return {rgb: colors, facts: "Patches of one colour are alike to the model."};
  }},
  similarity: {name: "Patch and caption", uses: ["caption"], there: captions.length > 0, show() {
    const it = captions[state.caption], all = captions.map(c => c.similarity);
    return plain(it.similarity, "Its cosine with “" + it.text + "” is " + it.similarity[state.patch].toFixed(3) +
      "; that of the whole picture is " + it.cosine.toFixed(3) + ".", "cividis",
      [Math.min(...all.map(x => Math.min(...x))), Math.max(...all.map(x => Math.max(...x)))]);
  }},
  parts: {name: "Part of the match with a caption", uses: ["caption"], there: captions.length > 0, show() {
    const it = captions[state.caption], most = Math.max(1e-12, ...captions.map(c => Math.max(...c.parts.map(Math.abs))));
    return plain(it.parts, "It adds " + it.parts[state.patch].toFixed(4) + " to the cosine of the picture with “" + it.text +
      "”, which is " + it.cosine.toFixed(3) + ": " + percent(it.probability) + " among these captions.", "signed", [-most, most]);
  }},
};

function colorOf(scale, t) {
  const stops = SCALES[scale], x = Math.min(1, Math.max(0, t)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
  return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (x - i)));
}
const heat = $("heat"), paint = heat.getContext("2d");
heat.width = columns; heat.height = rows;
function drawMap(shown) {
  const pixels = paint.createImageData(columns, rows), cover = $("cover").value * 2.55;
  for (let n = 0; n < N; n++) {
    let color;
    if (shown.rgb) color = shown.rgb.subarray(3 * n, 3 * n + 3);
    else {
      const t = shown.high > shown.low ? (shown.list[n] - shown.low) / (shown.high - shown.low) : 0.5;
      color = colorOf(shown.scale, shown.root ? Math.sqrt(Math.max(0, t)) : t);
    }
    pixels.data.set([...color, cover], 4 * n);
  }
  paint.putImageData(pixels, 0, 0);
}
function drawLegend(shown) {
  document.querySelector(".legend").style.visibility = shown.rgb ? "hidden" : "visible";
  if (shown.rgb) return;
  $("low").textContent = shown.label(shown.low);
  $("high").textContent = shown.label(shown.high);
  const stops = Array.from({length: 25}, (_, i) => "rgb(" + colorOf(shown.scale, shown.root ? Math.sqrt(i / 24) : i / 24) + ")");
  $("bar").style.background = "linear-gradient(90deg," + stops.join(",") + ")";
}
function drawControls() {
  const view = VIEWS[state.view], layer = maps.layers[state.layer];
  for (const what of ["layer", "head"]) {
    $(what).disabled = !view.uses.includes(what);
    $(what + "-box").classList.toggle("off", $(what).disabled);
  }
  $("caption-box").hidden = !view.uses.includes("caption");
  $("layer-is").textContent = layer + " of 0 to " + (data.layers - 1);
  $("head-is").textContent = state.head === MEAN ? "all, on average" : state.head + " of 0 to " + $("head").max;
  $("layer").setAttribute("aria-valuetext", "layer " + layer);
  $("head").setAttribute("aria-valuetext", headName());
  $("cover-is").textContent = $("cover").value + " %";
  const missing = state.view === "attention" && !index.has(layer + "," + state.head);
  $("note").hidden = !missing;
  $("note").textContent = missing ? "Single heads are stored of " + layers(maps.withHeads) + ". Shown: the average." : "";
  $("pin").setAttribute("aria-pressed", String(state.held));
  $("pin").textContent = state.held ? "Let this patch go" : "Hold this patch";
  $("picture").classList.toggle("pinned", state.held);
}
function layers(list) {
  if (!list.length) return "no layer";
  if (list.length === 1) return "layer " + list[0];
  return "layers " + (list.length === data.layers ? "0 to " + (data.layers - 1) : list.join(", "));
}
function draw() {
  const shown = VIEWS[state.view].show(), r = Math.floor(state.patch / columns), c = state.patch % columns;
  drawMap(shown);
  drawLegend(shown);
  drawControls();
  Object.assign($("mark").style, {left: 100 * c / columns + "%", top: 100 * r / rows + "%", width: 100 / columns + "%", height: 100 / rows + "%"});
  $("facts").textContent = "Patch " + where(state.patch) + (state.held ? ", held" : "") + ".\n" + shown.facts;
}
function set(changes) { Object.assign(state, changes); draw(); }

function patchAt(event) {
  const box = $("picture").getBoundingClientRect();
  const at = (x, size, count) => Math.min(count - 1, Math.max(0, Math.floor(x / size * count)));
  return at(event.clientY - box.top, box.height, rows) * columns + at(event.clientX - box.left, box.width, columns);
}
function moved(key, n) {
  const r = Math.floor(n / columns), c = n % columns;
  const to = {ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], Home: [r, 0],
    End: [r, columns - 1], PageUp: [0, c], PageDown: [rows - 1, c]}[key];
  if (!to) return null;
  return Math.min(rows - 1, Math.max(0, to[0])) * columns + Math.min(columns - 1, Math.max(0, to[1]));
}
let touched = false; // a finger has no hover: its click chooses and holds nothing
$("picture").addEventListener("pointermove", event => {
  const patch = patchAt(event);
  if ((!state.held || event.buttons) && patch !== state.patch) set({patch});
});
$("picture").addEventListener("pointerdown", event => { touched = event.pointerType !== "mouse"; if (touched) set({patch: patchAt(event)}); });
$("picture").addEventListener("click", event => {
  if (touched) return;
  const patch = patchAt(event);
  set({patch, held: !(state.held && patch === state.patch)});
});
$("picture").addEventListener("keydown", event => {
  const patch = moved(event.key, state.patch);
  if (patch !== null) set({patch});
  else if (event.key === "Enter" || event.key === " ") set({held: !state.held});
  else if (event.key === "Escape") set({held: false});
  else return;
  event.preventDefault();
});
$("layer").addEventListener("input", () => set({layer: Number($("layer").value)}));
$("head").addEventListener("input", () => set({head: Number($("head").value)}));
$("cover").addEventListener("input", draw);
$("caption").addEventListener("change", () => set({caption: Number($("caption").value)}));
$("pin").addEventListener("click", () => set({held: !state.held}));

for (const [key, view] of Object.entries(VIEWS)) {
  if (view.there === false) continue;
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, {type: "radio", name: "view", value: key, checked: key === state.view});
  input.addEventListener("change", () => set({view: key}));
  label.append(input, view.name);
  $("views").append(label);
}
for (const [what, there] of [["captions", captions.length], ["pooling", pooling]])
  for (const it of document.querySelectorAll("." + what)) it.hidden = !there;
captions.forEach((it, i) => $("caption").append(new Option(it.text + " (" + percent(it.probability) + ")", i)));
Object.assign($("layer"), {max: maps.layers.length - 1, value: state.layer});
const most = Math.max(data.heads, ...maps.names.map(([, head]) => head + 1)) - 1;
Object.assign($("head"), {max: most, value: state.head});
$("image").src = $("thumb").src = data.picture;
$("image").alt = "";
$("thumb").alt = "The picture as the model sees it, " + data.width + " x " + data.height + " pixels";
$("sizes").textContent = ", " + data.width + " × " + data.height + " pixels as the model sees them";
$("picture").style.setProperty("--ratio", data.width / data.height);
$("stored").textContent = "What this page holds: attention averaged over heads of " + layers(maps.layers) + ", of single heads of " +
  layers(maps.withHeads) + "; of each patch " + (places ? "the " + maps.kept + " of " + N + " patches that get most, and of the others their average" : "all " + N + " patches") +
  ", each number as one of 256 steps from zero to the highest. Cosines of features are computed from " + rank +
  " numbers of 8 bits per patch and are off by at most " + data.features.error.toFixed(3) + ". Captions and the pooling head are exact to float32." +
  (data.picture.startsWith("data:image/jpeg") ? " The picture is compressed (JPEG)." : "");
draw();
