import numpy as np
import pytest

from aimv2_np.models.outputs import Aimv2Output, BaseModelOutputWithPooling


def tower():
    return BaseModelOutputWithPooling(np.zeros((1, 2, 3)), None, (np.ones(1), np.ones(2)))


def test_by_name_by_position_and_as_attribute():
    output = tower()
    assert output["last_hidden_state"] is output.last_hidden_state is output[0]
    assert output[1] is output.hidden_states
    assert output[-1] is output.hidden_states
    assert output[:1] == (output.last_hidden_state,)


def test_what_is_none_is_absent():
    output = tower()
    assert list(output) == list(output.keys()) == ["last_hidden_state", "hidden_states"]
    assert len(output) == len(output.to_tuple()) == 2
    assert output.pooler_output is None
    assert "pooler_output" not in output
    assert output.get("pooler_output") is None
    for name in ("pooler_output", "attentions", "no such field"):
        with pytest.raises(KeyError):
            output[name]
    with pytest.raises(IndexError):
        output[2]


def test_as_a_mapping():
    output = tower()
    assert dict(**output).keys() == {"last_hidden_state", "hidden_states"}
    assert dict(output.items())["last_hidden_state"] is output.last_hidden_state
    assert [type(value) for value in output.values()] == [np.ndarray, tuple]


def test_nested_outputs_become_nested_tuples():
    output = Aimv2Output(image_embeds=np.ones(1), vision_model_output=tower())
    assert list(output) == ["image_embeds", "vision_model_output"]
    plain = output.to_tuple()
    assert isinstance(plain[1], tuple)
    assert plain[1][0] is output.vision_model_output.last_hidden_state
    first, second = output.to_tuple()
    assert first is plain[0]
    assert len(second) == 2


def test_field_names_and_order_are_transformers():
    values = {name: np.zeros(i) for i, name in enumerate(["loss", "logits_per_image", "logits_per_text", "text_embeds",
                                                          "image_embeds"])}  # fmt: skip
    output = Aimv2Output(**values, text_model_output=tower(), vision_model_output=tower())
    assert list(output) == [*values, "text_model_output", "vision_model_output"]
    full = BaseModelOutputWithPooling(*(np.zeros(1) for _ in range(4)))
    assert list(full) == ["last_hidden_state", "pooler_output", "hidden_states", "attentions"]


def test_equality_is_identity():
    """Comparing arrays has no single truth value."""
    output = tower()
    assert output == output
    assert output != tower()
    assert len({output, output}) == 1
    assert not Aimv2Output()
