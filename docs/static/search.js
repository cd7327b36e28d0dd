/* Search in a newcomer's words. Sphinx shows pages that have every word of a question, as it was typed. Here words that
   carry no meaning are left out, and pages whose words (the table below) a question has come first. */
"use strict";

const NEWCOMERS_WORDS = {
  "start": "install installing pip setup quickstart getting started example usage tutorial",
  "embedding": "embed embeddings features vectors extract extraction photos images folder batch dataset retrieval search"
    + " similarity similar duplicates dedup faiss index cls token pooled pooler pooler_output parquet",
  "classify": "classify classification zero shot zeroshot labels prompt templates knn neighbours neighbors imagenet",
  "any-size": "different resolution image size sizes aspect ratio rectangular interpolate interpolation positional resize 336 448 native"
    + " dense segmentation detection patch patches feature map maps tiles hidden_states",
  "explain": "attention heatmap saliency visualize visualise visualization interpretability rollout logit lens gradcam",
  "precision": "quantize quantise quantization quantisation int8 int4 8bit 4bit bit fp16 float16 half bf16 bfloat16 slow"
    + " precision bitsandbytes gptq awq smaller compress cpu load",
  "performance": "fast faster slow speed benchmark throughput latency ram memory threads images per second",
  "gpu": "gpu cuda nvidia cupy oom flash mps rocm out memory",
  "layouts": "convert conversion checkpoint safetensors pytorch timm mlx flax jax state_dict keys huggingface ovis",
  "compare": "port mismatch wrong different results differ discrepancy debug nan",
  "golden": "record hook hooks intermediate activations layer outputs",
  "runtimes": "onnx export tensorrt openvino coreml core ml executorch runtime",
  "offline": "offline internet network proxy download hub cache firewall air gapped",
  "container": "docker container image dockerfile serverless lambda",
  "faithfulness": "same transformers reproduce correct accuracy equal parity",
  "pretraining": "pretraining pretrain pre objective loss autoregressive decoder prefix pixel reconstruction training"
    + " data trained",
  "training": "training train fit own photos captions webdataset loop optimizer adamw schedule resume lit locked tuning cpu laptop",
  "questions": "train training fine tune tuning finetune finetuning lora peft gradient gradients backward backprop probe linear release code"
    + " allowed license licence licensing commercial caption captioning generate vqa macos apple silicon why faq",
  "equations": "architecture equations formula rmsnorm swiglu mlp math model card parameters",
  "pictures": "exif rotated orientation heic png jpeg cmyk transparent alpha preprocessing normalize mean std",
  "verify": "ci github actions pytest test check machine verify",
};
const NO_MEANING = new Set(
  ("a an and any are as at be but by can could do does for from get give go has have how i if in into is it its me my of on"
    + " or please s so that the there these this to use used using want was we what when where which why will with you your"
  ).split(" "),
);

/* Words, each by its stem. */
function stems(text) {
  const stemmer = new Stemmer();
  return splitQuery(text.toLowerCase()).filter((word) => !NO_MEANING.has(word)).map((word) => stemmer.stemWord(word));
}

/* The pages with that part of a question's words or more, the best last; a word that few pages have says more than one
   of many. */
function pagesFor(question, part) {
  const tables = Object.entries(NEWCOMERS_WORDS).map(([page, words]) => [page, new Set(stems(words))]);
  const asked = [...new Set(stems(question))];
  const rated = tables.map(([page, words]) => {
    const has = asked.filter((word) => words.has(word));
    const share = (word) => 1 / tables.filter(([, others]) => others.has(word)).length;
    return [page, has.length >= asked.length * part ? has.reduce((sum, word) => sum + share(word), 0) : 0];
  });
  return rated.filter(([, score]) => score > 0).sort((a, b) => a[1] - b[1]).slice(-3).map(([page]) => page);
}

function teachSearch() {
  const parse = Search._parseQuery, search = Search._performSearch;
  Search._parseQuery = (question) => {
    const words = splitQuery(question).filter((word) => !NO_MEANING.has(word.toLowerCase()));
    const [, ...terms] = parse(words.length ? words.join(" ") : question);
    return [question, ...terms];
  };
  Search._performSearch = (question, ...terms) => {
    const found = search(question, ...terms);
    const index = Search._index;
    const first = pagesFor(question, found.length ? 0.5 : 0).filter((page) => index.docnames.includes(page)).map((page) => {
      const i = index.docnames.indexOf(page);
      return [page, index.titles[i], "", null, 1000, index.filenames[i], "title"];
    });
    const whole = ([page, , anchor]) => first.some(([it]) => it === page) && !anchor;
    return [...found.filter((result) => !whole(result)), ...first]; // the last one is shown first
  };
}

if (typeof Search === "undefined") document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search !== "undefined") teachSearch();
});
else teachSearch();
