// The words of the chosen caption: where each looks, in one layer and head, and in all at once. A word sees itself and
// what stands before it. Colours go by the square root from 0 to 100 %, for all words, layers and heads alike.
const triangles = $("triangles"), pen = triangles.getContext("2d"), textHeads = [MEAN, ...Array(text ? text.heads : 0).keys()];
function wordsNow() { return captions[state.caption]?.words || null; }
function wordNow() { return Math.min(state.word ?? Infinity, wordsNow().count - 1); }
function asksWord() { return state.wordHeld && !!wordsNow(); }
// Row i of a layer and head, or of all heads on average: a number for each of the T words.
function wordRow(words, layer, head, i) {
  const list = new Float32Array(words.count), some = head === MEAN ? textHeads.slice(1) : [head];
  for (const h of some) {
    const at = (layer * text.heads + h) * words.count + i;
    for (let j = 0; j <= i; j++) list[j] += words.values[at * words.count + j] / 255 * words.tops[at] / some.length;
  }
  return list;
}
function drawWords() {
  const words = wordsNow();
  $("words").hidden = !text;
  $("words-missing").hidden = !!words;
  $("words-there").hidden = !words;
  if (!words) return wordPanel(false);
  const i = wordNow(), {count} = words, list = wordRow(words, state.textLayer, state.textHead, i);
  if ($("tokens").children.length !== count || $("tokens").dataset.caption !== String(state.caption)) fillTokens(words);
  [...$("tokens").children].forEach((it, j) => {
    const rgb = colorOf("viridis", Math.sqrt(list[j])), dark = luminance(rgb) < 0.179; // white text has more contrast than black
    it.className = (j > i ? "later" : dark ? "dark" : "bright") + (j === i ? " looks" : "") + (asksWord() && j === state.wordCursor ? " asked" : "");
    it.style.background = j > i ? "" : "rgb(" + rgb + ")";
    it.lastChild.textContent = j > i ? "not yet" : percent(list[j]);
  });
  const who = state.textHead === MEAN ? "all heads on average look" : "head " + state.textHead + " looks", name = captions[state.caption].source.name;
  const lines = best(list, 3).filter(j => j <= i && list[j] > 0).map(j => name(j) + " (" + percent(list[j]) + ")");
  $("word-facts").textContent = "Word " + name(i) + (state.wordHeld ? ", held" : "") + ". In layer " + state.textLayer + " of the text tower, " + who +
    " most at " + lines.join("; ") + ".";
  $("word-cell").textContent = !asksWord() ? "" : state.wordCursor === null || state.wordCursor >= count ? "Point at a word to see what it gets; a click or Enter shows how that came about."
    : state.wordCursor > i ? name(state.wordCursor) + " comes later: it is not seen." : "It gives " + name(state.wordCursor) + " " + percent(list[state.wordCursor]) + ".";
  for (const [id, value, most] of [["text-layer", state.textLayer, text.layers - 1], ["text-head", state.textHead, text.heads - 1]]) Object.assign($(id), {max: most, value});
  $("text-layer-is").textContent = state.textLayer + " of 0 to " + (text.layers - 1);
  $("text-head-is").textContent = state.textHead === MEAN ? "all, on average" : state.textHead + " of 0 to " + (text.heads - 1);
  $("word-pin").setAttribute("aria-pressed", String(state.wordHeld));
  $("word-pin").textContent = state.wordHeld ? "Let this word go" : "Hold this word";
  wordPanel(asksWord() && state.wordKey !== null && state.wordKey <= i, state.textLayer, state.textHead, i, state.wordKey,
    textHead => set({textHead}), textLayer => set({textLayer}));
  drawTriangles(words);
}
function fillTokens(words) {
  $("tokens").dataset.caption = state.caption;
  $("tokens").replaceChildren(...words.tokens.map((token, j) => {
    const it = document.createElement("span"), share = document.createElement("small");
    it.dataset.token = j;
    it.append(token || "␣", share);
    return it;
  }));
}
// Every layer (down) and head (across, the average first): which word (down) looks at which (across).
function drawTriangles(words) {
  const {count} = words, wide = count + Math.max(1, Math.round(count / 8)), shown = captions[state.caption];
  Object.assign($("triangle").style, {left: 100 * (state.textHead + 1) / textHeads.length + "%", top: 100 * state.textLayer / text.layers + "%",
    width: 100 * count / (textHeads.length * wide) + "%", height: 100 * count / (text.layers * wide) + "%"});
  if (triangles.caption === shown || !$("all-words").open) return;
  triangles.caption = shown;
  triangles.width = textHeads.length * wide; triangles.height = text.layers * wide;
  $("triangle-sheet").style.maxWidth = "min(" + 9 * triangles.width + "px, calc(80vh * " + triangles.width / triangles.height + "))";
  for (let layer = 0; layer < text.layers; layer++) textHeads.forEach((head, column) => {
    const pixels = pen.createImageData(count, count);
    for (let i = 0; i < count; i++) {
      const list = wordRow(words, layer, head, i);
      for (let j = 0; j <= i; j++) pixels.data.set([...colorOf("viridis", Math.sqrt(list[j])), 255], 4 * (i * count + j));
    }
    pen.putImageData(pixels, column * wide, layer * wide);
  });
}
function movedWord(key, n) {
  const to = {ArrowLeft: n - 1, ArrowUp: n - 1, ArrowRight: n + 1, ArrowDown: n + 1, Home: 0, End: wordsNow().count - 1}[key];
  return to === undefined ? null : Math.min(wordsNow().count - 1, Math.max(0, to));
}
const wordPanel = panel($("word-computation"), () => captions[state.caption].source, () => set({wordKey: null}));
if (text) {
  drawBar($("word-bar"), "viridis", true);
  const names = {one: "word", held: "wordHeld", cursor: "wordCursor", key: "wordKey"};
  listen($("tokens"), names, event => {
    const it = event.target.closest("[data-token]");
    return it ? Number(it.dataset.token) : null;
  }, movedWord, asksWord, wordNow);
  for (const [id, name] of [["text-layer", "textLayer"], ["text-head", "textHead"]]) $(id).addEventListener("input", () => set({[name]: Number($(id).value)}));
  $("word-pin").addEventListener("click", () => set({word: wordNow(), wordHeld: !state.wordHeld}));
  player($("text-play"), () => set({textLayer: (state.textLayer + 1) % text.layers}));
  $("all-words").addEventListener("toggle", drawWords);
  triangles.addEventListener("click", event => {
    const box = triangles.getBoundingClientRect(), part = (x, size, many) => Math.min(many - 1, Math.floor(x / size * many));
    set({textLayer: part(event.clientY - box.top, box.height, text.layers), textHead: part(event.clientX - box.left, box.width, textHeads.length) - 1});
  });
}
