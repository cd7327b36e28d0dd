// Every layer (down) and head (across, the average first) of the patch at once, on one canvas.
const heads = [MEAN, ...Array(mostHead + 1).keys()], GAP = Math.max(1, Math.round(columns / 8));
const atlas = $("atlas"), sheet = atlas.getContext("2d"), wide = columns + GAP, tall = rows + GAP;
atlas.width = heads.length * wide; atlas.height = maps.layers.length * tall;
$("sheet").style.maxWidth = "calc(80vh * " + atlas.width / atlas.height + ")";
function drawAll() {
  if (!$("all").open) return;
  sheet.clearRect(0, 0, atlas.width, atlas.height);
  maps.layers.forEach((layer, i) => heads.forEach((head, j) => {
    const row = attentionRow(layer, head);
    if (!row) return;
    paintMap(sheet, row.list, columns, x => colorOf("viridis", Math.sqrt(x / row.high)), {x: j * wide, y: i * tall});
  }));
  const j = heads.indexOf(hasRow(maps.layers[state.layer], state.head) ? state.head : MEAN);
  Object.assign($("here").style, {left: 100 * j / heads.length + "%", top: 100 * state.layer / maps.layers.length + "%",
    width: 100 * columns / atlas.width + "%", height: 100 * rows / atlas.height + "%"});
}
let waiting = false; // pointers move more often than screens are drawn
function drawAllSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawAll(); });
}
player($("play"), () => set({layer: (state.layer + 1) % maps.layers.length, view: "attention"}));
$("all").addEventListener("toggle", drawAll);
atlas.addEventListener("click", event => {
  const box = atlas.getBoundingClientRect(), part = (x, size, count) => Math.min(count - 1, Math.floor(x / size * count));
  set({layer: part(event.clientY - box.top, box.height, maps.layers.length), view: "attention",
    head: heads[part(event.clientX - box.left, box.width, heads.length)]});
});
