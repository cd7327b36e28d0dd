"""Record what Transformers computes with the embedded model: python -m tests.tools.record_embedded_golden

Writes the golden that `aimv2-np verify` compares with. To be run again whenever the embedded weights change; needs the
`oracle` extra. Eager attention, float32, with the attention mask: the way in which Transformers' text tower is causal.
"""

import argparse
import json
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    import transformers

from aimv2_np import Aimv2Model
from aimv2_np.comparison.verify import PICTURES, paths_of
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.recording import Recording
from aimv2_np.recording.adapters import record_torch
from aimv2_np.recording.inputs import load_with_inputs
from aimv2_np.storage.digest import hash_weights

GOLDEN = tiny_model_path().with_name(f"{tiny_model_path().name}.golden.safetensors")
# Kept whole beside the statistics of everything: what goes in, and what comes out at the end.
WHOLE = ("inputs/*", "*pooler_output", "*_embeds", "logits_per_*")


def make(model: Path, path: Path) -> Recording:
    """Record the model in a folder on some of the sample pictures, and on captions of all, which differ in length."""
    samples = sample_pictures()
    ours, inputs = load_with_inputs(
        model, [sample.picture for sample in samples[-PICTURES:]], [sample.caption for sample in samples[-4:]]
    )
    assert isinstance(ours, Aimv2Model)
    theirs = transformers.Aimv2Model.from_pretrained(model, attn_implementation="eager", dtype="float32").eval()
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    metadata = {
        "weights_hash": hash_weights(ours.state_dict()),
        "versions": json.dumps(versions),
        "config": json.dumps(ours.config.to_dict()),
    }
    return record_torch(
        theirs, inputs, path, paths_of(ours), statistics=True, whole=WHOLE, metadata=metadata, overwrite=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=tiny_model_path())
    parser.add_argument("--output", type=Path, default=GOLDEN)
    arguments = parser.parse_args()
    recording = make(arguments.model, arguments.output)
    print(f"{arguments.output.name}: {len(recording.order)} activations, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
