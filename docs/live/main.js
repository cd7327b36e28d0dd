// The live page: the embedded model runs here, and each part shows what it computes.
import {captionList} from "./captions.js";
import {looking} from "./looking.js";
import {imageOf, pad} from "./picture.js";
import {fetchedJson, open} from "./runtime.js";
import {tokenizerOf} from "./tokenizer.js";
import {equationsOf, valueViewer} from "./values.js";

const page = document.getElementById("live"), part = name => page.querySelector("[data-part=" + name + "]");
const FURTHER = ["a small red circle", "a large blue star", "a green heart above a yellow cross"];
const LARGEST = 160; // letters of a caption that are looked at: the model reads 24 tokens

export const state = {layer: 2, head: -1, patch: 27, held: false, view: "attention", caption: 0, word: null, broken: "",
  value: "vision_model.encoder.layers.2.attention.probs", box: "vision_model.encoder.layers.2.attention.probs", equation: null, slice: 0, cell: 0};
// What was computed last: the pixels, the captions' tokens, all values, and those of the network as it is.
export const found = {pixels: null, texts: null, values: null, sound: null};

async function begin() {
  const world = await fetchedJson("world.json");
  const names = ["sound", ...world.breaks.map(it => it.name)];
  const [run, tokenizer, equations] = await Promise.all([open(names), fetchedJson("tokenizer.json").then(tokenizerOf), equationsOf(page.dataset.equations)]);

  const picture = pad(part, world, again), captions = captionList(part, [world.samples[0].caption, ...FURTHER], again, caption => set({caption, word: null}));
  const drawLooking = looking(part, world, state, set), drawValues = valueViewer(part, world, equations, state, set);
  const said = part("status");

  function set(changes) {
    if ("layer" in changes) for (const name of ["value", "box"]) if (state[name]) changes[name] ??= inLayer(state[name], changes.layer);
    const computes = "broken" in changes && changes.broken !== state.broken;
    Object.assign(state, changes);
    if (computes) again(); else draw();
  }
  // The same value in another layer, where the tower has it.
  function inLayer(path, layer) {
    const there = path.replace(/layers\.\d+/, "layers." + layer);
    return Object.hasOwn(world.values, there) ? there : path;
  }
  function draw() {
    if (!found.values) return;
    const sound = state.broken ? found.sound : null, logits = values => values.get("logits_per_image").data;
    state.caption = Math.min(state.caption, found.texts.rows.length - 1);
    captions.draw(found.texts.rows, world.most, state.caption, logits(found.values), sound && logits(sound));
    drawLooking(found.pixels, found.texts.rows[state.caption], found.values);
    drawValues(found.values, sound);
    const it = world.breaks.find(one => one.name === state.broken);
    part("instead").textContent = it ? "Equation (" + it.equation + ") is now " + it.instead + ". Boxes of the network below whose values it changes are marked." : "";
  }
  async function compute() {
    waiting = false;
    const pixels = picture.pixels(), texts = tokenizer.batch(captions.texts().map(text => text.slice(0, LARGEST)), world.most);
    const {broken} = state, start = performance.now();
    const sound = await run("sound", world.side, pixels, texts), took = performance.now() - start;
    Object.assign(found, {pixels, texts, sound, values: broken ? await run(broken, world.side, pixels, texts) : sound});
    said.textContent = "Computed in your browser in " + took.toFixed(0) + " ms: " + sound.size + " values.";
    draw();
  }
  let waiting = false, running = false; // of all changes while a run lasts the last one counts
  async function again() {
    waiting = true;
    if (running) return;
    running = true;
    page.setAttribute("aria-busy", "true");
    try {
      while (waiting) await compute();
    } finally {
      running = false;
      page.setAttribute("aria-busy", "false");
    }
  }

  world.samples.forEach(({caption, pixels}, i) => {
    const bytes = Uint8Array.from(atob(pixels), letter => letter.charCodeAt(0)), button = document.createElement("button"), small = document.createElement("canvas");
    small.width = small.height = world.side;
    small.getContext("2d").putImageData(imageOf(bytes, world.side), 0, 0);
    Object.assign(button, {type: "button", title: caption});
    button.setAttribute("aria-label", "Picture " + (i + 1) + ": " + caption);
    button.addEventListener("click", () => {
      captions.setFirst(caption);
      picture.show(bytes);
    });
    button.append(small);
    part("samples").append(button);
    if (!i) picture.show(bytes);
  });
  for (const {name, words} of [{name: "", words: "Nothing: the network as it is"}, ...world.breaks]) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, {type: "radio", name: "live-break", value: name, checked: name === state.broken});
    input.addEventListener("change", () => set({broken: name}));
    label.append(input, words);
    part("breaks").append(label);
  }
  for (const [name, options] of [["color", Object.keys(world.colors)], ["size", Object.keys(world.radii).reverse()]])
    part(name).append(...options.map(it => new Option(it, it)));
  part("tool").append(...Object.keys(world.outlines).map(it => new Option(it, it)), new Option("line by hand", "line"));
  part("all").hidden = false;
}

begin().catch(error => {
  console.warn(error);
  part("status").textContent = "The model could not be loaded: " + error.message + ".";
});
