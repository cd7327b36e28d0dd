import json

from click.testing import CliRunner

from aimv2_np.cli.app import app
from aimv2_np.storage.released import RELEASED


def test_every_checkpoint_has_a_line():
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:17]] == [it.id for it in RELEASED]
    assert lines[4].split()[1:] == ["224", "2,721", "M", "10.9", "GB", "88.5"]
    assert lines[15].split()[1:] == ["any", "309", "M", "1.24", "GB", "87.3"]
    assert lines[16].split()[-1] == "77.0*"
    assert "apple-amlr" in result.stdout
    assert all(len(line) <= 80 for line in lines)


def test_json():
    value = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert [it["id"] for it in value] == [it.id for it in RELEASED]
    assert value[0] == {
        "id": "apple/aimv2-large-patch14-224", "size": "large", "image_size": 224, "parameters": 309_197_824,
        "revision": "ac764a25c832c7dc5e11871daa588e98e3cdbfb7", "top1": 86.6,
        "timm": "timm/aimv2_large_patch14_224.apple_pt", "licence": "apple-amlr", "two_towers": False,
    }  # fmt: skip
    assert [it["two_towers"] for it in value] == [False] * 15 + [True]
