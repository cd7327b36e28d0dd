$("layer").addEventListener("input", () => set({layer: Number($("layer").value)}));
$("head").addEventListener("input", () => set({head: Number($("head").value)}));
$("cover").addEventListener("input", draw);
$("caption").addEventListener("change", () => set({caption: Number($("caption").value)}));
$("warmth").addEventListener("input", () => set({warmth: Number($("warmth").value)}));
addEventListener("hashchange", () => { fromAddress(); draw(); });

for (const [key, view] of Object.entries(VIEWS)) {
  if (view.there === false) continue;
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, {type: "radio", name: "view", value: key, checked: key === state.view});
  input.addEventListener("change", () => set({view: key}));
  label.append(input, view.name);
  $("views").append(label);
}
for (const [what, there] of [["captions", captions.length], ["relevance", captions.some(it => it.relevance)], ["pooling", pooling], ["words", text]])
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
function keptOf(it) {
  if (!it.layers.length) return "none, they do not fit";
  const some = it.heads.length * it.layers.length ? (it.heads.length === 1 ? ", head " : ", heads ") + it.heads.join(", ") : "";
  return "of " + layers(it.layers, it.all) + some + ", in " + 8 * it.width + " bits, from which scores are off by at most " + it.error.toFixed(4);
}
function wordsKept() {
  const some = captions.filter(it => it.words).length;
  if (!some) return "";
  return " Of the text tower: attention of all layers and heads" + (some < captions.length ? " for the first " + some + " of " + captions.length + " captions" : "") + "; queries, keys and values: " +
    keptOf({...captions[0].words.computations, all: text.layers}) + ".";
}
$("stored").textContent = "What this page holds: attention averaged over heads of " + layers(maps.layers) + ", of single heads of " +
  layers(maps.withHeads) + "; of each patch " + (places ? "the " + maps.kept + " of " + N + " patches that get most, and of the others their average" : "all " + N + " patches") +
  ", each number as one of 256 steps from zero to the highest. Cosines of features are computed from " + rank +
  " numbers of 8 bits per patch and are off by at most " + data.features.error.toFixed(3) + ". Captions and the pooling head are exact to float32. Queries, keys and values: " + keptOf({...computations, all: data.layers}) + "." + wordsKept() +
  (data.picture.startsWith("data:image/jpeg") ? " The picture is compressed (JPEG)." : "");
fromAddress();
draw();
