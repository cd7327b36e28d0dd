// Where patches and words look, layer by layer and head by head, and their features as colours.
import {colorOf, drawBar, luminance, paintMap} from "./colors.js";
import {colorsOf} from "./components.js";
import {best, percent} from "./figures.js";
import {cellAt, moved, place, player} from "./grid.js";
import {imageOf} from "./picture.js";
import {at} from "./runtime.js";

const MEAN = -1;
const block = (tower, layer) => tower + ".encoder.layers." + layer;
// A row of attention: where token `from` of one picture or text looks; of all heads on average for `MEAN`.
function looks(value, which, head, from) {
  const heads = head === MEAN ? [...Array(value.dims[1]).keys()] : [head], rows = heads.map(h => at(value, which, h, from));
  return rows[0].map((_, m) => rows.reduce((sum, row) => sum + row[m], 0) / heads.length);
}
const squareRoot = most => x => colorOf("viridis", Math.sqrt(Math.max(0, x) / Math.max(most, 1e-30)));

export function looking(part, world, state, set) {
  const {grid, side, layers, heads} = world, cells = grid * grid, where = n => "row " + Math.floor(n / grid) + ", column " + n % grid;
  const headName = () => state.head === MEAN ? "all heads on average look" : "head " + state.head + " looks";
  const most = (list, who) => who + " most at " + best(list, 3).map(n => where(n) + " (" + percent(list[n]) + ")").join("; ") + ".";
  const probsOf = (values, layer) => values.get(block("vision_model", layer) + ".attention.probs");
  const streamOf = values => values.get(block("vision_model", state.layer));
  // What each view shows of a patch: [numbers of all patches, their colours, what there is to say].
  const VIEWS = {
    attention: {name: "Attention of the patch", show(values) {
      const list = looks(probsOf(values, state.layer), 0, state.head, state.patch);
      return [list, squareRoot(Math.max(...list)), most(list, "In layer " + state.layer + ", " + headName())];
    }},
    pooling: {name: "Attention of the pooling head", show(values) {
      const list = looks(values.get("vision_model.head.probs"), 0, state.head, 0);
      return [list, squareRoot(Math.max(...list)), most(list, "The pooling head: " + headName())];
    }},
    colors: {name: "Features as colours", show(values) {
      const colors = colorsOf(streamOf(values).data, cells);
      return [colors.subarray(0, cells), (x, n) => colors.subarray(3 * n, 3 * n + 3), "After layer " + state.layer + ": patches of one colour are alike to the model."];
    }},
    like: {name: "Patches like this one", show(values) {
      const rows = Array.from({length: cells}, (_, n) => at(streamOf(values), 0, n)), own = rows[state.patch];
      const dot = (a, b) => a.reduce((sum, x, c) => sum + x * b[c], 0);
      const list = rows.map(row => dot(row, own) / Math.sqrt(dot(row, row) * dot(own, own))), low = Math.min(...list);
      const lines = best(list, 3, state.patch).map(n => where(n) + " (" + list[n].toFixed(2) + ")").join("; ");
      return [list, x => colorOf("cividis", (x - low) / Math.max(1 - low, 1e-12)), "After layer " + state.layer + ", most like it: " + lines + "."];
    }},
  };
  const field = part("field"), heat = part("heat"), pen = heat.getContext("2d"), atlas = part("atlas"), sheet = atlas.getContext("2d");
  const thumb = part("thumb"), all = [MEAN, ...Array(heads).keys()], wide = grid + 1;
  heat.width = heat.height = grid;
  thumb.width = thumb.height = side;
  atlas.width = all.length * wide - 1;
  atlas.height = layers * wide - 1;
  part("layer").max = layers - 1;
  part("head").max = heads - 1;
  drawBar(part("scale"), "viridis", true);

  for (const [key, {name}] of Object.entries(VIEWS)) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, {type: "radio", name: "live-view", value: key, checked: key === state.view});
    input.addEventListener("change", () => set({view: key}));
    label.append(input, name);
    part("views").append(label);
  }
  for (const name of ["layer", "head"]) part(name).addEventListener("input", () => set({[name]: Number(part(name).value)}));
  player(part("play"), () => set({layer: (state.layer + 1) % layers}));
  const patchAt = event => cellAt(event, field.getBoundingClientRect(), grid, grid);
  field.addEventListener("pointermove", event => { if (!event.buttons && !state.held) set({patch: patchAt(event)}); });
  field.addEventListener("click", event => set({patch: patchAt(event), held: !state.held || patchAt(event) !== state.patch}));
  field.addEventListener("keydown", event => {
    const n = moved(event.key, state.patch, grid, grid);
    if (n === null) return;
    event.preventDefault();
    set({patch: n});
  });
  atlas.addEventListener("click", event => {
    const n = cellAt(event, atlas.getBoundingClientRect(), layers, all.length);
    set({layer: Math.floor(n / all.length), head: all[n % all.length], view: "attention"});
  });

  function drawPicture(pixels, values) {
    const [list, color, facts] = VIEWS[state.view].show(values);
    thumb.getContext("2d").putImageData(imageOf(pixels, side), 0, 0);
    paintMap(pen, list, grid, color);
    part("legend").hidden = state.view !== "attention" && state.view !== "pooling";
    place(part("mark"), state.patch, grid, grid);
    part("facts").textContent = "Patch " + where(state.patch) + (state.held ? ", held" : "") + ". " + facts;
    for (const input of part("views").querySelectorAll("input")) input.checked = input.value === state.view;
    for (const name of ["layer", "head"]) part(name).value = state[name];
    part("layer-is").textContent = state.layer + " of 0 to " + (layers - 1);
    part("head-is").textContent = state.head === MEAN ? "all, on average" : state.head + " of 0 to " + (heads - 1);
    for (let layer = 0; layer < layers; layer++) all.forEach((head, j) => {
      const row = looks(probsOf(values, layer), 0, head, state.patch);
      paintMap(sheet, row, grid, squareRoot(Math.max(...row)), {x: j * wide, y: layer * wide});
    });
    Object.assign(part("here").style, {left: 100 * all.indexOf(state.head) * wide / atlas.width + "%", top: 100 * state.layer * wide / atlas.height + "%",
      width: 100 * grid / atlas.width + "%", height: 100 * grid / atlas.height + "%"});
  }
  // The words of the chosen caption, and how much one of them looks at each: the last, unless one is chosen.
  function drawWords({tokens}, values) {
    const layer = Math.min(state.layer, world.text.layers - 1), from = Math.min(state.word ?? Infinity, tokens.length - 1);
    const head = Math.min(state.head, world.text.heads - 1);
    const list = looks(values.get(block("text_model", layer) + ".attention.probs"), state.caption, head, from);
    part("tokens").replaceChildren(...tokens.map(({token}, t) => {
      const it = document.createElement("button"), share = document.createElement("small"), rgb = colorOf("viridis", Math.sqrt(Math.max(0, list[t])));
      it.type = "button";
      it.setAttribute("aria-pressed", String(t === from));
      it.addEventListener("click", () => { set({word: t}); part("tokens").children[t].focus(); });
      share.textContent = percent(list[t]);
      it.append(token.replace("</w>", ""), share);
      it.style.background = "rgb(" + rgb + ")";
      it.style.color = luminance(rgb) < 0.179 ? "#fff" : "#000"; // white text has more contrast than black
      return it;
    }));
    part("words-are").textContent = "Caption " + (state.caption + 1) + ": where “" + tokens[from].token.replace("</w>", "") +
      "” looks in layer " + layer + " of the text tower, " + (head === MEAN ? "all heads on average" : "head " + head) + ". Choose another word by a click.";
  }
  return (pixels, row, values) => {
    drawPicture(pixels, values);
    drawWords(row, values);
  };
}
