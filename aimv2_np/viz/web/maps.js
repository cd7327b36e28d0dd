// What is not stored of a row is drawn at its average, which is known: a row of attention sums to 1.
function mapOf(number) {
  const k = maps.kept, at = number * N + state.patch, high = values.subarray(at * k, at * k + k);
  const held = Math.min(1, high.reduce((a, b) => a + b, 0) / 255 * tops[at]);
  const list = new Float32Array(N).fill(places ? (1 - held) / (N - k) : 0);
  high.forEach((x, i) => { list[places ? places[at * k + i] : i] = x / 255 * tops[at]; });
  return {list, held};
}
function share({list, held, whole}, who) {
  const lines = best(list, 4).filter(n => list[n] > 0).map(n => where(n) + " (" + percent(list[n]) + ")");
  const part = places && !whole ? "\nThe " + maps.kept + " highest hold " + percent(held) + "; the others are drawn at their average." : "";
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
// A head's row as queries and keys give it where the page keeps them and not the whole map, else what is stored of it;
// null where there is neither.
function attentionRow(layer, head) {
  const number = index.get(layer + "," + head), list = places && rowFrom(ofPatches, layer, head, state.patch);
  if (list) return {list, whole: true, high: number === undefined ? highestComputed(layer, head) : highestOf(number)};
  return number === undefined ? null : {...mapOf(number), high: highestOf(number)};
}
function hasRow(layer, head) {
  return index.has(layer + "," + head) || !!places && computations.layers.includes(layer) && computations.heads.includes(head);
}
function highestComputed(layer, head) {
  const name = layer + "," + head, most = n => rowFrom(ofPatches, layer, head, n).reduce((a, b) => Math.max(a, b));
  if (!highest.has(name)) highest.set(name, Array.from({length: N}, (_, n) => most(n)).reduce((a, b) => Math.max(a, b)));
  return highest.get(name);
}
function relative(list, facts, high) {
  return {list, low: 0, high, root: true, scale: "viridis", facts,
    label: x => (x * N).toFixed(1) + " × an even share"};
}
function plain(list, facts, scale, ends) {
  const [low, high] = ends || [Math.min(...list), Math.max(...list)];
  return {list, low, high, root: false, scale, facts, label: x => x.toFixed(3)};
}
