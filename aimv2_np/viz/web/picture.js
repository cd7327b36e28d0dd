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
  const missing = state.view === "attention" && !hasRow(layer, state.head);
  $("note").hidden = !missing;
  $("note").textContent = missing ? "This head is here of " + layers(maps.layers.filter(it => hasRow(it, state.head))) + ". Shown: the average." : "";
  $("pin").setAttribute("aria-pressed", String(state.held));
  $("pin").textContent = state.held ? "Let this patch go" : "Hold this patch";
  $("picture").classList.toggle("pinned", state.held);
}
// While a patch is held, pointing at another asks about that cell of the attention map.
function asks() { return state.held && state.view === "attention"; }
function cellFacts(shown) {
  if (!asks()) return "";
  if (state.cursor === null) return "Point at a patch to see what it gets; a click or Enter shows how that came about.";
  return "It gives " + where(state.cursor) + " " + percent(shown.list[state.cursor]) + (state.key === state.cursor ? "." : ": a click or Enter shows how that came about.");
}
function draw() {
  const shown = VIEWS[state.view].show();
  drawMap(shown);
  drawLegend(shown);
  drawControls();
  place($("mark"), state.patch, rows, columns);
  $("key-mark").hidden = !asks() || state.cursor === null;
  if (state.cursor !== null) place($("key-mark"), state.cursor, rows, columns);
  $("facts").textContent = "Patch " + where(state.patch) + (state.held ? ", held" : "") + ".\n" + shown.facts;
  $("cell").textContent = cellFacts(shown);
  patchPanel(asks() && state.key !== null, maps.layers[state.layer], state.head, state.patch, state.key, head => set({head}),
    layer => set({layer: maps.layers.indexOf(layer)}));
  if (captions.length) drawFits();
  drawWords();
  drawAllSoon();
}
// What a pointer and keys do on a field of things that look at each other: choose one, hold it, ask about a cell.
// `names` are those of the state: the one that looks, whether it is held, the cell pointed at, the cell asked about.
function listen(field, names, at, moved, asks, looking) {
  const {one, held, cursor, key} = names;
  const ask = n => set({[cursor]: n, [key]: state[key] === n ? null : n});
  let touched = false; // a finger has no hover: without something held its click chooses, and holds nothing
  field.addEventListener("pointermove", event => {
    const n = at(event);
    if (n === null) return;
    if (asks() && !event.buttons) { if (n !== state[cursor]) set({[cursor]: n}); }
    else if ((!state[held] || event.buttons && !asks()) && n !== looking()) set({[one]: n});
  });
  field.addEventListener("pointerdown", event => {
    touched = event.pointerType !== "mouse";
    if (touched && at(event) !== null && !asks()) set({[one]: at(event)});
  });
  field.addEventListener("click", event => {
    const n = at(event);
    if (n === null) return;
    if (asks()) ask(n);
    else if (!touched) set({[one]: n, [held]: !(state[held] && n === looking())});
  });
  field.addEventListener("keydown", event => {
    const from = asks() ? state[cursor] ?? looking() : looking(), n = moved(event.key, from);
    if (n !== null) set(asks() ? {[cursor]: n, [key]: state[key] === null ? null : n} : {[one]: n});
    else if (event.key === "Enter" || event.key === " ") { if (asks()) ask(from); else set({[one]: from, [held]: !state[held]}); }
    else if (event.key === "Escape") set(state[key] === null ? {[held]: false} : {[key]: null});
    else return;
    event.preventDefault();
  });
}
listen($("picture"), {one: "patch", held: "held", cursor: "cursor", key: "key"}, event => cellAt(event, $("picture").getBoundingClientRect(), rows, columns),
  (key, n) => moved(key, n, rows, columns), asks, () => state.patch);
$("pin").addEventListener("click", () => set({held: !state.held}));
