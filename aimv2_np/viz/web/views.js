// What each view shows of the patch: a number for every patch, how these become colours, and what there is to say.
const VIEWS = {
  attention: {name: "Attention of the patch", uses: ["layer", "head"], show() {
    const layer = maps.layers[state.layer], own = attentionRow(layer, state.head), map = own || attentionRow(layer, MEAN);
    const who = "In layer " + layer + (own === null ? ", all heads on average look" : ", " + headName() + (state.head === MEAN ? " look" : " looks"));
    return relative(map.list, share(map, who), map.high);
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
  relevance: {name: "Relevance to a caption", uses: ["caption"], there: captions.some(it => it.relevance), show() {
    const it = captions[state.caption], all = captions.map(c => Math.max(...c.relevance));
    const sum = it.relevance.reduce((a, b) => a + b, 0) || 1;
    return plain(it.relevance, percent(it.relevance[state.patch] / sum) + " of the relevance to “" + it.text +
      "” goes back to it. Most: " + best(it.relevance, 4).map(n => where(n)).join("; ") + ".", "viridis", [0, Math.max(1e-12, ...all)]);
  }},
};

const heat = $("heat"), paint = heat.getContext("2d");
heat.width = columns; heat.height = rows;
function drawMap(shown) {
  const {rgb, low, high, scale, root} = shown, stretched = x => high > low ? (x - low) / (high - low) : 0.5;
  const color = rgb ? (x, n) => rgb.subarray(3 * n, 3 * n + 3) : x => colorOf(scale, root ? Math.sqrt(Math.max(0, stretched(x))) : stretched(x));
  paintMap(paint, shown.list ?? new Float32Array(N), columns, color, {opacity: $("cover").value * 2.55});
}
function drawLegend(shown) {
  document.querySelector(".legend").style.visibility = shown.rgb ? "hidden" : "visible";
  if (shown.rgb) return;
  $("low").textContent = shown.label(shown.low);
  $("high").textContent = shown.label(shown.high);
  drawBar($("bar"), shown.scale, shown.root);
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

