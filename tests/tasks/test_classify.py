import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2Processor, Aimv2VisionModel, UntrainedSizeWarning
from aimv2_np.tasks import classify, load_classifier, make_prompts
from tests.support.pictures import photo
from tests.support.two_towers import save_text_tower, save_two_towers, save_vision_tower

LABELS = ["a cat", "a dog", "two parrots on a branch"]


@pytest.fixture(scope="module")
def loaded(two_towers):
    return load_classifier(two_towers)


def test_a_classifier_takes_all_options_of_the_model_and_no_others(two_towers):
    model, _ = load_classifier(two_towers, dtype="float64", prefix="", final_norm=True, local_files_only=True)
    assert model.dtype == "float64"
    with pytest.raises(TypeError, match="an option is 'templates'; expected one of"):
        load_classifier(two_towers, templates=["{}"])


def test_probabilities_are_one_softmax_over_logits_per_image(loaded):
    model, processor = loaded
    pictures = [photo(40, 60, seed=seed) for seed in range(3)]
    result = classify(pictures, LABELS, model=model, processor=processor, template="one {} or {}")
    prompts = [f"one {label} or {label}" for label in LABELS]
    logits = model(**processor(text=prompts, images=pictures, padding=True)).logits_per_image
    # The towers run in other batches here, and sums of float32 in another order: a few ε of logits up to 14.
    np.testing.assert_allclose(result.scores, logits, atol=1e-5)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-6)
    assert result.probabilities.std() > 0.01  # the three pictures and labels are not all alike to the model
    assert result.labels == tuple(LABELS)
    assert result.top == tuple(LABELS[i] for i in logits.argmax(axis=1))


def test_more_pictures_and_labels_than_one_batch_holds(loaded):
    model, processor = loaded
    pictures = [photo(20, 30, seed=seed) for seed in range(11)]
    labels = [f"label {i}" for i in range(70)]
    done = []
    result = classify(pictures, labels, model=model, processor=processor, progress=done.append)
    assert result.probabilities.shape == (11, 70)
    assert done == [8, 11]
    for i in (0, 7, 8, 10):
        alone = classify(pictures[i], labels, model=model, processor=processor)
        np.testing.assert_allclose(result.scores[i], alone.scores[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
def test_a_native_model_takes_pictures_of_different_sizes(tmp_path):
    model, processor = load_classifier(save_two_towers(tmp_path / "native", is_native=True))
    pictures = [photo(16, 24), photo(24, 24, seed=1), photo(24, 24, seed=2), photo(40, 17, seed=3)]
    result = classify(pictures, LABELS, model=model, processor=processor)
    for row, picture in zip(result.scores, pictures, strict=True):
        alone = classify(picture, LABELS, model=model, processor=processor)
        np.testing.assert_allclose(row, alone.scores[0], atol=1e-5)


def test_untrained_sizes_are_named_once(tmp_path):
    model, processor = load_classifier(save_two_towers(tmp_path / "native", is_native=True))
    pictures = [photo(16, 24), *[photo(8 * 12, 8 * 10)] * 9, photo(8, 16)]
    with pytest.warns(UntrainedSizeWarning, match=r"^image 0 \(6\), image 10 \(2\): ") as caught:
        classify(pictures, LABELS, model=model, processor=processor)
    assert len(caught) == 1
    with pytest.warns(UntrainedSizeWarning, match=r"^image 0 \(6\), image 1 \(30\), "):
        classify(pictures, LABELS, model=model, processor=processor, max_patches=30)


def test_several_templates_are_one_mean(loaded):
    """Each text scaled to length one, their mean scaled to length one again; the temperature once."""
    model, processor = loaded
    templates = ["{}", "a photo of a {}", "{} {}"]
    picture = photo(40, 60)
    result = classify(picture, LABELS, model=model, processor=processor, templates=templates)
    texts = []
    for label in LABELS:
        features = [
            model.get_text_features(**processor(text=template.replace("{}", label)))[0].astype(float)
            for template in templates
        ]
        mean = np.mean([vector / np.linalg.norm(vector) for vector in features], axis=0)
        texts.append(mean / np.linalg.norm(mean))
    features = model.get_image_features(processor(images=picture)["pixel_values"])[0].astype(float)
    cosines = np.array(texts) @ (features / np.linalg.norm(features))
    scores = np.exp(float(model.logit_scale)) * cosines
    np.testing.assert_allclose(result.scores[0], scores, atol=1e-4)  # float32 of logits up to 14
    np.testing.assert_allclose(result.probabilities[0], np.exp(scores) / np.exp(scores).sum(), atol=1e-4)
    single = classify(picture, LABELS, model=model, processor=processor)
    assert np.abs(result.scores - single.scores).max() > 0.01
    one = classify(picture, LABELS, model=model, processor=processor, templates=["{}"])
    np.testing.assert_array_equal(one.scores, single.scores)


def test_the_best_labels(loaded):
    result = classify([photo(40, 60), photo(30, 50, seed=1)], LABELS, model=loaded[0], processor=loaded[1])
    for best, row, top in zip(result.top_k(2), result.probabilities, result.top, strict=True):
        assert [p for _, p in best] == sorted(row, reverse=True)[:2]
        assert best[0][0] == top
        assert all(row[LABELS.index(label)] == p for label, p in best)
    assert [len(best) for best in result.top_k(9)] == [3, 3]
    for k in (0, True, 1.5):
        with pytest.raises(ValueError, match="k is"):
            result.top_k(k)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"templates": []}, ValueError, "templates is empty"),
        ({"templates": "a {}"}, TypeError, "expected a list of strings"),
        ({"templates": ["a {}", "a {}"]}, ValueError, "'a {}' is there twice"),
        ({"templates": ["a {}", "b"]}, ValueError, "template is 'b'"),
        ({"templates": ["a {}"], "template": "b {}"}, ValueError, "template and templates are both given"),
    ],
)
def test_templates_that_make_no_sense(loaded, options, error, message):
    with pytest.raises(error, match=message):
        classify(photo(20, 20), LABELS, model=loaded[0], processor=loaded[1], **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-4), ("float16", 0.3)])
def test_other_dtypes_agree(two_towers, loaded, dtype, tolerance):
    # Against float32; float16 has 11 bits, and about ten of its operations stand between a pixel and a logit of 14.
    model, processor = load_classifier(two_towers, dtype=dtype)
    result = classify(photo(30, 30), LABELS, model=model, processor=processor)
    expected = classify(photo(30, 30), LABELS, model=loaded[0], processor=loaded[1])
    assert result.scores.dtype == ("float32" if dtype == "float16" else dtype)
    np.testing.assert_allclose(result.scores, expected.scores, atol=tolerance)


def test_the_template_takes_other_braces_as_text():
    assert make_prompts(["a", "{b}"], "{0} {} {x!r} {}") == ["{0} a {x!r} a", "{0} {b} {x!r} {b}"]


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        ([], "{}", r"labels is \[\]; expected at least two"),
        (["cat"], "{}", r"labels is \['cat'\]; expected at least two"),
        (["cat", "cat"], "{}", "'cat' is there twice"),
        (["cat", " "], "{}", "label 2 is blank"),
        (["cat", "dog"], "a photo", r"template is 'a photo'.*\{\}"),
        (["cat", "Cat"], "a {}", "'a cat' and 'a Cat' are the same"),
        (["cat", "dog " * 20], "{}", "22 tokens long.*at most 16"),
    ],
)
def test_labels_that_make_no_sense(loaded, labels, template, message):
    model, processor = loaded
    with pytest.raises(ValueError, match=message):
        classify(photo(20, 20), labels, model=model, processor=processor, template=template)


@pytest.mark.parametrize("labels", ["cat", ["cat", 3], [b"cat", "dog"]])
def test_labels_are_a_list_of_strings(labels):
    with pytest.raises(TypeError, match="expected a list of strings"):
        make_prompts(labels)


def test_no_pictures(loaded):
    with pytest.raises(ValueError, match="images is empty"):
        classify([], LABELS, model=loaded[0], processor=loaded[1])


def test_the_bad_picture_is_named_by_its_place(loaded, tmp_path):
    pictures = [photo(20, 20) for _ in range(9)]
    with pytest.raises(FileNotFoundError, match=r"image 9 \(.*missing.png\)"):
        classify([*pictures, tmp_path / "missing.png"], LABELS, model=loaded[0], processor=loaded[1])
    with pytest.raises(ValueError, match="image 9: "):
        classify([*pictures, b"no picture"], LABELS, model=loaded[0], processor=loaded[1])


@pytest.mark.parametrize("save", [save_vision_tower, save_text_tower])
def test_one_tower_is_not_enough(tmp_path, save):
    folder = save(tmp_path / "one")
    for weights in folder.glob("*.safetensors"):
        weights.unlink()  # the configuration alone tells: nothing else would have to be fetched
    with pytest.raises(ValueError, match=r"one tower.*both towers"):
        load_classifier(folder)


def test_one_tower_given_as_a_model(tmp_path, loaded):
    model = Aimv2VisionModel.from_pretrained(save_vision_tower(tmp_path / "vision"))
    with pytest.raises(ValueError, match=r"Aimv2VisionModel.*both towers"):
        classify(photo(20, 20), LABELS, model=model, processor=loaded[1])


def test_a_processor_without_tokenizer(loaded):
    processor = Aimv2Processor(image_processor=loaded[1].image_processor)
    with pytest.raises(ValueError, match="no tokenizer"):
        classify(photo(20, 20), LABELS, model=loaded[0], processor=processor)


def test_load_classifier_gives_model_and_processor(two_towers):
    model, processor = load_classifier(two_towers, dtype="float64")
    assert isinstance(model, Aimv2Model)
    assert model.dtype == "float64"
    assert processor.tokenizer is not None
    assert processor.image_processor is not None


def test_thousands_of_labels_are_checked_at_once():
    labels = [f"label {i}" for i in range(50_000)]  # comparing each with each would take minutes
    assert make_prompts(labels, "a {}")[-1] == "a label 49999"
    with pytest.raises(ValueError, match="'label 7' is there twice"):
        make_prompts([*labels, "label 7"])
