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
  view: "attention", caption: 0, held: false, warmth: 0};
if (state.layer < 0) state.layer = maps.layers.length - 1;
const mostHead = Math.max(data.heads, ...maps.names.map(([, head]) => head + 1)) - 1;

// What the address says after its #, as `row=1&column=5&layer=2`; what makes no sense is passed over.
function fromAddress() {
  const said = new URLSearchParams(location.hash.slice(1)), number = (name, least, most) => {
    const x = Number(said.get(name));
    return said.get(name) !== null && Number.isInteger(x) && x >= least && x <= most ? x : null;
  };
  const row = number("row", 0, rows - 1), column = number("column", 0, columns - 1), layer = number("layer", 0, data.layers);
  const known = {head: number("head", -1, mostHead), caption: number("caption", 0, captions.length - 1),
    warmth: number("warmth", -10, 10), layer: layer !== null && maps.layers.includes(layer) ? maps.layers.indexOf(layer) : null,
    patch: row !== null && column !== null ? row * columns + column : null};
  for (const name in known) if (known[name] !== null) state[name] = known[name];
  const view = said.get("view");
  if (Object.hasOwn(VIEWS, view) && VIEWS[view].there !== false) state.view = view;
  if (said.has("held")) state.held = said.get("held") === "1";
}
function toAddress() {
  const {view, head, caption, warmth} = state, said = {row: Math.floor(state.patch / columns), column: state.patch % columns,
    layer: maps.layers[state.layer], head, view, caption, warmth, held: Number(state.held)};
  history.replaceState(null, "", "#" + new URLSearchParams(said));
}

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
// One scale for all patches of a map, so that colours mean the same wherever one points.
const highest = new Map();
function highestOf(number) {
  if (!highest.has(number)) highest.set(number, tops.subarray(number * N, number * N + N).reduce((a, b) => Math.max(a, b), 1e-12));
  return highest.get(number);
}
function relative(list, facts, high) {
  return {list, low: 0, high, root: true, scale: "viridis", facts,
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
    const number = stored === undefined ? index.get(layer + "," + MEAN) : stored, map = mapOf(number);
    const who = "In layer " + layer + (stored === undefined ? ", all heads on average look" : ", " + headName() + (state.head === MEAN ? " look" : " looks"));
    return relative(map.list, share(map, who), highestOf(number));
  }},
  rollout: {name: "Rollout over all layers", uses: [], show() {
    const map = mapOf(index.get("rollout"));
    return relative(map.list, share(map, "Over all layers, it draws"), highestOf(index.get("rollout")));
  }},
  pooling: {name: "Attention of the pooling head", uses: ["head"], there: !!pooling, show() {
    const list = pooled(), who = "The pooling head gives this patch " + percent(list[state.patch]) + " of its attention. " +
      (state.head === MEAN ? "All its heads on average look" : "Its " + headName() + " looks");
    const it = relative(list, "", Math.max(...list, 1e-12));
    it.facts = who + " most at " + best(list, 4).map(n => where(n) + " (" + percent(list[n]) + ")").join("; ") + ".";
    return it;
  }},
  neighbours: {name: "Neighbours in feature space", uses: [], show() {
    const list = cosines(), lines = best(list, 4, state.patch).map(n => where(n) + " (" + list[n].toFixed(2) + ")");
    return plain(list, N > 1 ? "Most like it: " + lines.join("; ") + "." : "There is no other patch.", "cividis", [data.features.low, 1]);
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
  for (const what of ["layer", "head", "warmth", "caption"]) $(what).value = state[what];
  for (const it of document.querySelectorAll("input[name=view]")) it.checked = it.value === state.view;
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
  if (captions.length) drawFits();
  drawAllSoon();
}
let writing = 0; // browsers allow a page so many changes of its address, and pointers move often
function set(changes) {
  Object.assign(state, changes);
  clearTimeout(writing);
  writing = setTimeout(toAddress, 300);
  draw();
}

// Every layer (down) and head (across, the average first) of the patch at once, on one canvas.
const heads = [MEAN, ...Array(mostHead + 1).keys()], GAP = Math.max(1, Math.round(columns / 8));
const atlas = $("atlas"), sheet = atlas.getContext("2d"), wide = columns + GAP, tall = rows + GAP;
atlas.width = heads.length * wide; atlas.height = maps.layers.length * tall;
$("sheet").style.maxWidth = "calc(80vh * " + atlas.width / atlas.height + ")";
function drawAll() {
  if (!$("all").open) return;
  sheet.clearRect(0, 0, atlas.width, atlas.height);
  maps.layers.forEach((layer, i) => heads.forEach((head, j) => {
    const number = index.get(layer + "," + head);
    if (number === undefined) return;
    const pixels = sheet.createImageData(columns, rows), {list} = mapOf(number), high = highestOf(number);
    list.forEach((x, n) => pixels.data.set([...colorOf("viridis", Math.sqrt(x / high)), 255], 4 * n));
    sheet.putImageData(pixels, j * wide, i * tall);
  }));
  const j = heads.indexOf(index.has(maps.layers[state.layer] + "," + state.head) ? state.head : MEAN);
  Object.assign($("here").style, {left: 100 * j / heads.length + "%", top: 100 * state.layer / maps.layers.length + "%",
    width: 100 * columns / atlas.width + "%", height: 100 * rows / atlas.height + "%"});
}
let waiting = false; // pointers move more often than screens are drawn
function drawAllSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawAll(); });
}
let playing = 0;
function play() {
  clearInterval(playing);
  playing = playing ? 0 : setInterval(() => set({layer: (state.layer + 1) % maps.layers.length, view: "attention"}), 700);
  $("play").setAttribute("aria-pressed", String(!!playing));
  $("play").textContent = playing ? "Stop" : "Play through the layers";
}

// How the picture fits the captions: the softmax of the logits, divided by a temperature.
function drawFits() {
  const temperature = 10 ** (state.warmth / 10), logits = captions.map(it => it.logit / temperature), most = Math.max(...logits);
  const parts = logits.map(x => Math.exp(x - most)), sum = parts.reduce((a, b) => a + b, 0);
  $("warmth-is").textContent = temperature.toFixed(2) + (state.warmth ? "" : ", the model's own");
  captions.forEach((it, i) => {
    const row = $("fits").children[i], share = parts[i] / sum;
    row.querySelector("i").style.width = 100 * share + "%";
    row.querySelector("b").textContent = percent(share);
    row.classList.toggle("chosen", i === state.caption);
  });
}

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
$("play").addEventListener("click", play);
$("warmth").addEventListener("input", () => set({warmth: Number($("warmth").value)}));
$("all").addEventListener("toggle", drawAll);
atlas.addEventListener("click", event => {
  const box = atlas.getBoundingClientRect(), part = (x, size, count) => Math.min(count - 1, Math.floor(x / size * count));
  set({layer: part(event.clientY - box.top, box.height, maps.layers.length), view: "attention",
    head: heads[part(event.clientX - box.left, box.width, heads.length)]});
});
addEventListener("hashchange", () => { fromAddress(); draw(); });

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
$("layer").max = maps.layers.length - 1;
captions.forEach((it, i) => {
  const row = document.createElement("li"), name = document.createElement("button");
  name.type = "button";
  name.append(it.text);
  name.addEventListener("click", () => set({caption: i}));
  const bar = document.createElement("span");
  bar.append(document.createElement("i"));
  row.append(name, bar, document.createElement("b"));
  $("fits").append(row);
});
$("head").max = mostHead;
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
fromAddress();
draw();
