import pytest

from catdog_pl.errors import UsageError
from catdog_pl.models.registry import class_path
from catdog_pl.short_forms import SHORT_FORMS, canonical, option_value, parse_message


@pytest.mark.parametrize("short", SHORT_FORMS)
@pytest.mark.parametrize("form", ["--{} 3", "--{}=3"])
def test_every_short_form_becomes_its_canonical_key(short: str, form: str) -> None:
    assert canonical(form.format(short).split(), class_path) == [f"--{SHORT_FORMS[short]}=3"]


def test_model_names_become_class_paths_in_both_spellings() -> None:
    assert canonical(["--model", "vgg16"], class_path) == ["--model=catdog_pl.models.VGG16"]
    assert canonical(["--model=basic"], class_path) == ["--model=catdog_pl.models.Basic"]
    assert canonical(["--model=catdog_pl.models.Basic"], class_path) == ["--model=catdog_pl.models.Basic"]


def test_the_order_of_the_words_does_not_matter() -> None:
    words = ["--model.dropout", "0.2", "-c", "b.yaml", "--model", "vgg16", "--seed=3"]
    expected = [
        "--config=b.yaml",
        "--model=catdog_pl.models.VGG16",
        "--model.dropout=0.2",
        "--seed_everything=3",
    ]
    assert canonical(words, class_path) == expected


def test_names_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^caf\\udce9 is not UTF-8, .*; rename it$"):
        canonical(["--root", "caf\udce9"], class_path)


def test_of_two_values_the_last_wins_and_files_keep_their_order() -> None:
    typed = ["--seed", "1", "--config", "a", "--seed_everything=2", "--config", "b", "--print_config"]
    words = canonical(typed, class_path)
    assert words == [
        "--config=a",
        "--config=b",
        "--seed_everything=1",
        "--seed_everything=2",
        "--print_config",
    ]
    assert option_value(words, "seed_everything") == "2"
    assert option_value(words, "ckpt_path") is None


def test_values_may_hold_equals_signs_and_minus() -> None:
    assert canonical(["--root=a=b", "--seed", "-1"], class_path) == [
        "--data.root=a=b",
        "--seed_everything=-1",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model resnet", "Model 'resnet' is unknown; valid are basic, vgg16, transfer, sequential"),
        ("stray --seed 1", "'stray' is no option"),
        ("--model.filters 32 64", r"--model.filters takes one value, got 32 64; write lists as \[a,b\]"),
    ],
)
def test_wrong_words_are_named(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        canonical(words.split(), class_path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "unrecognized arguments: --batchsize=4",
            "--batchsize is no option (did you mean --batch_size?); see --help",
        ),
        ("unrecognized arguments: --zzz=4", "--zzz is no option; see --help"),
        (
            'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n  '
            "Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n    - Expected a <class 'int'>\n"
            "  Given value: abc",
            "--trainer.max_epochs abc: not a valid int or null",
        ),
        (
            "... NestedArg(key='dropuot', val='0.2') ...",
            "--model.dropuot is no option of this model (did you mean --model.dropout?); see --help",
        ),
        (
            "... NestedArg(key='backbone', val='resnet50') ...",
            "--backbone is an option of transfer; add --model transfer",
        ),
        (
            "Parser key \"data.batch_size\": Expected a <class 'int'>. Got value: many",
            "--data.batch_size many: not a valid int",
        ),
        ("... NestedArg(key='dropout', val='x') ...", "--model.dropout x: not a valid value; see --help"),
        (
            "Parser key \"trainer.callbacks\": Errors: - Option 'foo' is not accepted "
            "Given value: NestedArg(key='foo', val='3')",
            "--trainer.callbacks.foo is no option of that class; see --help all",
        ),
        (
            "Parser key \"trainer.callbacks\": Given value: NestedArg(key='scheduling', val='{1:2}')",
            "--trainer.callbacks.scheduling {1:2}: not a valid value; see --help all",
        ),
        (
            'Parser key "trainer.logger":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
            "    - Problem with given class_path 'a.b.WandbLogger':\n"
            "        Requirement 'wandb>=0.12.10' not met. "
            "HINT: Try running `pip install -U 'wandb>=0.12.10'`\n    - Expected a <class 'bool'>",
            "WandbLogger: the package wandb is missing; install it with: pip install -U 'wandb>=0.12.10'",
        ),
        (
            "Does not validate against any of the Union subtypes\nErrors:\n  - The store is closed.\n"
            "  - Expected a <class 'bool'>\nGiven value: Namespace(class_path='a.b.MLFlowLogger')",
            "MLFlowLogger: The store is closed.",
        ),
    ],
)
def test_parser_messages_become_one_line(error: str, message: str) -> None:
    known = ["trainer.max_epochs", "model.init_args.dropout", "data.batch_size"]
    assert parse_message(error, known) == message
