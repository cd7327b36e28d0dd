// The exported graph in the reader's browser, by onnxruntime-web on one thread of WebAssembly.
import * as ort from "./ort.wasm.bundle.min.mjs";

const GZIP = [0x1f, 0x8b];
// A file of the site; what is compressed is unpacked here, unless the server has said so and the browser did it.
export async function fetched(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(name + ": the server answers " + answer.status);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (!GZIP.every((byte, i) => bytes[i] === byte)) return bytes;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}
export async function fetchedJson(name) { return JSON.parse(new TextDecoder().decode(await fetched(name))); }

// The model: `run(name, images, texts)` gives all values of the graph of that name, by the paths of their modules.
// What has to be loaded is loaded at once: graphs are small, and the weights are shared.
export async function open(names) {
  const [binary, weights, ...graphs] = await Promise.all(["ort-wasm-simd-threaded.wasm.gz", "weights.bin",
    ...names.map(name => name + ".onnx.gz")].map(fetched));
  Object.assign(ort.env.wasm, {numThreads: 1, wasmBinary: binary});
  const sessions = new Map();
  async function session(name) {
    if (!sessions.has(name)) {
      for (const other of [...sessions.keys()].filter(it => it !== names[0])) { // each holds weights of its own
        const old = sessions.get(other);
        sessions.delete(other);
        await old.release();
      }
      sessions.set(name, await ort.InferenceSession.create(graphs[names.indexOf(name)], {
        executionProviders: ["wasm"], externalData: [{path: "weights.bin", data: weights}]}));
    }
    return sessions.get(name);
  }
  await session(names[0]);
  return async (name, side, pixels, {rows, long, ids, mask}) => {
    const whole = list => new ort.Tensor("int64", BigInt64Array.from(list, BigInt), [rows.length, long]);
    const images = new ort.Tensor("uint8", pixels, [1, side, side, 3]);
    const found = await (await session(name)).run({images, input_ids: whole(ids), attention_mask: whole(mask)});
    return new Map(Object.entries(found).map(([path, {dims, data}]) => [path, {dims: [...dims], data}]));
  };
}
// The value at some of the first places of its axes: attention.probs of a picture and a head is a square of numbers.
export function at({dims, data}, ...places) {
  const size = dims.slice(places.length).reduce((a, b) => a * b, 1);
  const start = places.reduce((sum, place, i) => sum * dims[i] + place, 0) * size;
  return data.subarray(start, start + size);
}
