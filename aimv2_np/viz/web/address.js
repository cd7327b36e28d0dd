const state = {patch: start.row * columns + start.column, layer: maps.layers.indexOf(start.layer), head: start.head,
  view: "attention", caption: 0, held: false, warmth: 0, cursor: null, key: null, softness: 0,
  word: null, wordHeld: false, wordCursor: null, wordKey: null, textLayer: text ? text.layers - 1 : 0, textHead: MEAN};
if (state.layer < 0) state.layer = maps.layers.length - 1;
const first = {...state};

// What the address says after its #, as `row=1&column=5&layer=2`; what makes no sense is passed over.
function fromAddress() {
  const said = new URLSearchParams(location.hash.slice(1)), number = (name, least, most) => {
    const x = Number(said.get(name));
    return said.get(name) !== null && Number.isInteger(x) && x >= least && x <= most ? x : null;
  };
  const place = (r, c) => {
    const row = number(r, 0, rows - 1), column = number(c, 0, columns - 1);
    return row !== null && column !== null ? row * columns + column : null;
  };
  const layer = number("layer", 0, data.layers), caption = number("caption", 0, captions.length - 1);
  const words = captions[caption ?? state.caption]?.words?.count ?? 0;
  const known = {head: number("head", -1, mostHead), caption, warmth: number("warmth", -10, 10),
    layer: layer !== null && maps.layers.includes(layer) ? maps.layers.indexOf(layer) : null,
    patch: place("row", "column"), key: place("keyrow", "keycolumn"), softness: number("softness", -10, 10),
    word: number("word", 0, words - 1), wordKey: number("wordkey", 0, words - 1),
    textLayer: number("textlayer", 0, (text?.layers ?? 0) - 1), textHead: number("texthead", -1, (text?.heads ?? 0) - 1)};
  for (const name in known) if (known[name] !== null) state[name] = known[name];
  const view = said.get("view");
  if (Object.hasOwn(VIEWS, view) && VIEWS[view].there !== false) state.view = view;
  if (said.has("held")) state.held = said.get("held") === "1";
  if (said.has("wordheld")) state.wordHeld = said.get("wordheld") === "1";
  for (const [held, key, cursor] of [["held", "key", "cursor"], ["wordHeld", "wordKey", "wordCursor"]]) {
    if (!state[held]) state[key] = null;
    state[cursor] = state[key];
  }
}
// What differs from the beginning is said of cells and words only: most addresses stay short.
function toAddress() {
  const {view, head, caption, warmth} = state, said = {row: Math.floor(state.patch / columns), column: state.patch % columns,
    layer: maps.layers[state.layer], head, view, caption, warmth, held: Number(state.held)};
  if (state.key !== null) Object.assign(said, {keyrow: Math.floor(state.key / columns), keycolumn: state.key % columns});
  for (const name of ["softness", "word", "wordHeld", "wordKey", "textLayer", "textHead"])
    if (state[name] !== first[name]) said[name.toLowerCase()] = Number(state[name]);
  history.replaceState(null, "", "#" + new URLSearchParams(said));
}
let writing = 0; // browsers allow a page so many changes of its address, and pointers move often
function set(changes) {
  Object.assign(state, changes);
  if (!state.held) state.key = state.cursor = null;
  if (!state.wordHeld) state.wordKey = state.wordCursor = null;
  clearTimeout(writing);
  writing = setTimeout(toAddress, 300);
  draw();
}
