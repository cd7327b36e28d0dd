"""What `aimv2_np.tasks.convert` writes in Transformers' layout is read by Transformers, and computes what Apple did."""

import pytest
import torch
from transformers import Aimv2Model, Aimv2VisionModel, AutoConfig

from aimv2_np.tasks import convert
from tests.support.layouts import ALL, folder_of, recorded


@pytest.mark.parametrize(("network", "layout"), ALL)
def test_transformers_reads_it(tmp_path, network, layout):
    convert(folder_of(tmp_path, network, layout), tmp_path / "out")
    kind = Aimv2Model if network == "apple-lit" else Aimv2VisionModel
    assert type(AutoConfig.from_pretrained(tmp_path / "out")) is kind.config_class
    model, loading = kind.from_pretrained(tmp_path / "out", attn_implementation="eager", output_loading_info=True)
    assert not any(loading[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs, outputs = recorded(network)
    with torch.no_grad():
        result = model.eval()(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    name = "logits_per_image" if network == "apple-lit" else "last_hidden_state"
    # As in tests/test_apple.py: some 20 ε of the largest number.
    torch.testing.assert_close(result[name], torch.from_numpy(outputs[name]), rtol=0, atol=1e-5)
