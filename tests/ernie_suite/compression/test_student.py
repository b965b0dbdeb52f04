"""Students that are models of their own: what they learn, what is refused, and how they get through the report."""

import copy
import shutil

from ernie_suite.compression.config import CompressConfig, PTQConfig
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.student import (
    HiddenDistance,
    PretrainedStudent,
    Student,
    load_student,
    matched_layers,
)
from ernie_suite.compression.supernet import HIDDEN_LOSS_WEIGHT, run_with_hidden, soft_cross_entropy
from ernie_suite.models import find_head
from ernie_suite.tasks import FAMILIES

import numpy as np
import paddle
import pytest
from paddlenlp import transformers

from ernie_inference.errors import InputError
from tests.support.trainers import exported_parameters, tiny_trainer


@pytest.fixture
def make_student(tmp_path):
    """make_student(trainer, ...) is the folder of a pretrained model with the trainer's vocabulary."""

    def make(trainer, name="small", layers=1, hidden=16, architecture="Ernie", head="Model", tokens=0, **config):
        vocabulary = [*trainer.task.tokenizer.lines, *(f"more{number}" for number in range(tokens))]
        folder = tmp_path / name
        shape = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 24}
        settings = {
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 80,
            "type_vocab_size": 2,
            **shape,
            **config,
        }
        paddle.seed(5)
        model = getattr(transformers, f"{architecture}{head}")(
            getattr(transformers, f"{architecture}Config")(**settings)
        )
        model.save_pretrained(str(folder))
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
        getattr(transformers, f"{architecture}Tokenizer")(str(folder / "vocab.txt")).save_pretrained(str(folder))
        return str(folder)

    return make


def parameters_of(prefix):
    return sum(int(np.prod(shape)) for shape, _ in exported_parameters(prefix))


def batch_of(trainer):
    return next(iter(trainer.get_eval_dataloader(trainer.eval_dataset)))


@pytest.mark.parametrize(
    "student, teacher, pairs",
    [
        (3, 6, [(0, 0), (1, 2), (2, 4), (3, 6)]),
        (4, 6, [(0, 0), (1, 1), (2, 3), (3, 4), (4, 6)]),
        (2, 2, [(0, 0), (1, 1), (2, 2)]),
        (4, 2, [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2)]),
    ],
)
def test_layers_are_matched_at_equal_shares_of_the_depth(student, teacher, pairs):
    assert matched_layers(student, teacher) == pairs


def test_a_student_like_its_teacher_has_no_distance_and_no_projection(tmp_path):
    trainer = tiny_trainer(tmp_path)
    model, batch = trainer.model, batch_of(trainer)
    students = PretrainedStudent(model, Student("like", copy.deepcopy(model), None))
    model.eval()
    students.model.eval()
    logits, mask = run_with_hidden(model, batch).logits, batch["input_ids"] != 0
    (loss,) = students.losses(batch)
    assert float(loss) == pytest.approx(float(soft_cross_entropy(logits, logits, mask)), abs=1e-6)
    assert not list(students.distance.parameters())


@pytest.mark.parametrize("architecture, hidden", [("Ernie", 16), ("Electra", 16), ("Electra", 32)])
def test_hidden_states_are_compared_through_a_learnt_projection(tmp_path, make_student, architecture, hidden):
    """ELECTRA's embeddings are narrower than its layers: each of the two has a projection where its width differs."""
    trainer = tiny_trainer(tmp_path / "state", architecture=architecture)
    size = {"embedding_size": 8} if architecture == "Electra" else {}
    student = load_student(trainer, make_student(trainer, hidden=hidden, architecture=architecture, **size))
    distance, batch = HiddenDistance(student.model, trainer.model), batch_of(trainer)
    shapes = {name: parameter.shape for name, parameter in distance.named_parameters()}
    taught_embeddings = 16 if architecture == "Electra" else 32
    expected = {"of_embeddings.weight": [size.get("embedding_size", hidden), taught_embeddings]}
    expected.update({"of_layers.weight": [hidden, 32]} if hidden != 32 else {})
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == expected

    mask = batch["input_ids"] != 0
    own, taught = (run_with_hidden(model, batch).hidden for model in (student.model, trainer.model))
    loss = distance(own, taught, mask)
    rows = [tensor.numpy()[mask.numpy()] for tensor in (own[0], taught[0], own[1], taught[2])]
    weights = {name: parameter.numpy() for name, parameter in distance.named_parameters()}
    errors = []
    for name, (hidden_rows, taught_rows) in zip(("of_embeddings", "of_layers"), (rows[:2], rows[2:])):
        if f"{name}.weight" in weights:
            hidden_rows = hidden_rows @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
        errors.append(((hidden_rows - taught_rows) ** 2).mean())
    assert float(loss) == pytest.approx(sum(errors), rel=1e-4)


def test_a_student_learns_logits_and_hidden_states(tmp_path, make_student):
    """Both parts of the loss fall; without the weights of the teacher or of padding having anything to do with it."""
    trainer = tiny_trainer(tmp_path / "state", dropout=0.0)
    before = {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}
    student = load_student(trainer, make_student(trainer, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    students, batch = PretrainedStudent(trainer.model, student), batch_of(trainer)
    optimizer = paddle.optimizer.Adam(3e-3, parameters=students.model.parameters())
    mask = batch["input_ids"] != 0

    def parts():
        own, taught = run_with_hidden(student.model, batch), run_with_hidden(students.teacher, batch)
        logits = float(soft_cross_entropy(own.logits, taught.logits, mask))
        return logits, float(students.distance(own.hidden, taught.hidden, mask))

    first = parts()
    (loss,) = students.losses(batch)
    assert float(loss) == pytest.approx(first[0] + HIDDEN_LOSS_WEIGHT * first[1], rel=1e-5)
    for _ in range(30):
        (loss,) = students.losses(batch)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    last = parts()
    assert last[0] < first[0] and last[1] < 0.8 * first[1]
    for name, value in trainer.model.state_dict().items():
        assert np.array_equal(before[name], value.numpy()), name
    padded = {
        name: paddle.concat([batch[name], paddle.zeros([len(batch[name]), 3], "int64")], 1)
        for name in ("input_ids", "token_type_ids")
    }
    (with_padding,), (without,) = students.losses(padded), students.losses(batch)
    assert float(with_padding) == pytest.approx(float(without), rel=1e-4)


def test_the_same_seed_gives_the_same_head(tmp_path, make_student):
    trainer = tiny_trainer(tmp_path / "state")
    folder = make_student(trainer)
    heads = [load_student(trainer, folder).model.classifier.weight.numpy() for _ in range(2)]
    assert np.array_equal(*heads)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"tokens": 2}, r"another vocabulary than the teacher \(.* tokens, the teacher .*, 'more0', on\)"),
        ({"max_position_embeddings": 32}, "has 32 positions, fewer than max_seq_length 64"),
        (
            {"head": "ForSequenceClassification", "num_labels": 3},
            "fine-tuned for seq_cls with 3 labels, the teacher for",
        ),
        ({"head": "ForTokenClassification", "num_labels": 2}, "fine-tuned for token_cls .*, the teacher for seq_cls"),
        ({"head": "ForQuestionAnswering"}, "fine-tuned for qa, the teacher for seq_cls with 2 labels"),
    ],
)
def test_a_student_that_does_not_fit_is_refused_in_one_line(tmp_path, make_student, changes, said):
    trainer = tiny_trainer(tmp_path / "state")
    folder = make_student(trainer, **changes)
    with pytest.raises(InputError, match=said) as caught:
        trainer.compress("x", str(tmp_path / "out"), compress_config=CompressConfig(student=folder))
    assert "\n" not in str(caught.value) and folder in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_in_another_order_is_refused_by_its_first_difference(tmp_path, make_student):
    trainer = tiny_trainer(tmp_path / "state")
    folder = tmp_path / "other"
    shutil.copytree(make_student(trainer), folder)
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    lines[7], lines[9] = lines[9], lines[7]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"differ from token 7, {lines[7]!r}, on"):
        load_student(trainer, str(folder))


def test_a_name_that_nobody_published_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        load_student(tiny_trainer(tmp_path), "./nowhere")


@pytest.mark.parametrize("flags, said", [
    ({"unlabeled_data": "more.txt", "pruning": False}, "nothing is trained"),
    ({"student": "small", "input_dir": "somewhere"}, "leave out one of input_dir and student"),
    ({"student": "small", "width_mult_list": ["1/2"]}, "width_mult_list is for pruning, and student small is"),
    ({"student": "small", "depth_mult_list": ["1/2", "1"]}, "depth_mult_list is for pruning"),
])  # fmt: skip
def test_flags_without_effect_are_refused(flags, said):
    with pytest.raises(InputError, match=said):
        CompressionArguments(**flags)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_student_goes_through_the_report_and_is_a_model_to_go_on_with(family, tmp_path, make_student, capsys):
    """Taught with unlabelled text too; then quantized, exported, kept, and made anew with another text."""
    trainer = tiny_trainer(tmp_path / "state", family, examples=12)
    text = tmp_path / "more.txt"
    text.write_text("房间很好。\n早餐不错，服务也好。\n", encoding="utf-8")
    folder, out = make_student(trainer), tmp_path / "out"

    def compress(**options):
        config = CompressConfig(
            quantization_config=PTQConfig(batch_size_list=[2]),
            student=folder, unlabeled_data=str(text), **options,
        )  # fmt: skip
        return trainer.compress("x", str(out), compress_config=config), capsys.readouterr().out

    report, printed = compress()
    assert f"{text}: 2 examples without labels; an epoch reads" in printed
    rows = {row["model"]: row for row in report["models"]}
    student = {name: row for name, row in rows.items() if row["student"] == "small"}
    assert set(student) == {"student_small/float32", "student_small/hist2/int8"}
    assert set(rows) - set(student) == {"inference/infer", "hist2/int8"}
    assert parameters_of(out / "student_small/float32") < parameters_of(out / "inference/infer") / 2
    head = find_head(str(out / "student_small"))
    assert head.fits(family.task_class, trainer.task.labels) and head.is_for(trainer.task.labels)

    before = exported_parameters(out / "student_small/float32")
    _, printed = compress()
    assert f"{out / 'student_small/float32'}: kept" in printed
    text.write_text("太吵了，不会再来。\n", encoding="utf-8")
    _, printed = compress()
    assert f"{out / 'student_small/float32'}: made anew (other unlabeled_data)" in printed
    assert exported_parameters(out / "student_small/float32") != before


@pytest.mark.parametrize("student", [True, False])
def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path, make_student, student, capsys):
    """Of a student, and of a pruned model; with unlabelled text, whose content counts and not its place."""
    folder = make_student(tiny_trainer(tmp_path / "any", examples=8)) if student else None

    def run(name, scores, text="more.txt", lines="房间很好。\n早餐不错。\n"):
        (tmp_path / text).write_text(lines, encoding="utf-8")
        left = iter(scores)
        with paddle.utils.unique_name.guard(f"{name}_{len(scores)}_"):
            trainer = tiny_trainer(tmp_path / name / "state", max_steps=3, eval_steps=1, examples=8)
        trainer.metric = lambda examples, results: {"accuracy": next(left)}
        config = CompressConfig(student=folder, unlabeled_data=str(tmp_path / text))
        trainer.compress("x", str(tmp_path / name), quantization=False, compress_config=config)
        return exported_parameters(tmp_path / name / ("student_small" if student else "0.75") / "float32")

    rising = [0.1, 0.2, 0.3, 0.4, 0.5]  # the last state is the best; two more for the report
    whole = run("whole", rising)
    capsys.readouterr()
    with pytest.raises(StopIteration):
        run("cut", rising[:2])
    with pytest.raises(StopIteration):
        run("cut", rising[:1], lines="别的话。\n")
    assert "with other settings (other unlabeled_data) is kept" in capsys.readouterr().out
    assert run("cut", rising[2:], text="moved.txt") == whole
    assert "goes on from step 2" in capsys.readouterr().out
