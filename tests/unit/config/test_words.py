"""Nothing that is written is ignored: words that Hydra takes without a sound are refused with the reason."""

import time
from pathlib import Path

import pytest

from tests.unit.config.test_sweeps import configurations
from w2s_cli.cli import dispatch
from w2s_cli.config import compose
from w2s_cli.config.words import parse
from w2s_cli.errors import UserError

REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "misspelt debug": (["debug=tinny"], ['unknown debug "tinny"', 'Did you mean "tiny"']),
    "misspelt recipe": (["pretrain=nosuch"], ['unknown pretrain "nosuch"', "wordnet-xs"]),
    "spelt-out field": (["strong.learning_rate=1e-5"], ['unknown field "strong.learning_rate"', 'mean "strong.lr"']),
    "added field": (["+sede=5"], ['unknown field "sede"', 'Did you mean "seed"']),
    "forced group": (["++foo.bar=1"], ['unknown field "foo"']),
    "added field of a group": (
        ["+strong.foo=1"],
        ['unknown field "strong.foo"', "Known: active_parameters, batch_size"],
    ),
    "added field of a misspelt group": (["+trian.epochs=7"], ['unknown field "trian.epochs"', 'mean "train.epochs"']),
    "forced field of a misspelt group": (["++trian.epochs=7"], ["++trian.epochs=7", 'mean "train.epochs"']),
    "deleted field of a misspelt group": (["~trian.epochs"], ["~trian.epochs", 'mean "train.epochs"']),
    "swept field of a misspelt group": (["-m", "+trian.epochs=7,8", "seed=0,1"], ['mean "train.epochs"']),
    "misspelt group without plus": (["trian.epochs=7"], ['unknown field "trian.epochs"', 'mean "train.epochs"']),
    "deleted misspelt field": (["~train.epcohs"], ['unknown field "train.epcohs"', 'mean "train.epochs"']),
    "deleted misspelt group": (["~trian"], ['unknown field "trian"', 'mean "train"']),
    "group for a misspelt part": (["+model@wek=gpt2"], ['unknown field "wek"', 'mean "weak"']),
    "argument that is not there to delete": (["loss=logconf", "~loss.args.alhpa"], ["no loss.args.alhpa to delete"]),
    "nothing after a plus": (["+=3"], ['"+=3" is not an override']),
    "nothing to delete": (["~"], ['"~" is not an override']),
    "added part of a corpus": (
        ["method=pretrain", "pretrain=wordnet-xs", "+pretrain.corpus.templtes=[a]"],
        ['unknown field "pretrain.corpus.templtes"', 'mean "templates"'],
    ),
    "added part of a tokenizer": (
        ["method=pretrain", "pretrain=wordnet-xs", "+pretrain.tokenizer.vocab=9"],
        ['unknown field "pretrain.tokenizer.vocab"', "vocab_size"],
    ),
    "added expectation": (["+data.expected.tset=1"], ['unknown field "data.expected.tset"', 'mean "test"']),
    "options without a transform": (["+data.options.margin=1"], ["data.options", "data.transform is null"]),
    "folder of a Hydra job": (["outputs=${hydra:runtime.cwd}/x"], ["outputs: ${hydra:…}", "relative to the folder"]),
    "name of a Hydra job": (["-m", "data.path=${hydra:job.name}", "seed=0,1"], ["data.path: ${hydra:…}", "itself"]),
    "unknown resolver": (["outputs=${nosuch:1}"], ["outputs: Unsupported interpolation type nosuch"]),
    "unset variable": (["data.path=${oc.env:NO_SUCH_VARIABLE}"], ["data.path: ", "'NO_SUCH_VARIABLE' not found"]),
    "plus before a field": (["+seed=5"], ["write seed=VALUE without +"]),
    "plus before a group": (["+loss=kl"], ["write loss=kl without +"]),
    "plus before a role": (["++weak=gpt2"], ["write weak=gpt2 without ++"]),
    "deleted field": (["~strong.lr"], ["cannot be deleted", "strong.lr=VALUE"]),
    "deleted group": (["~loss"], ["write loss=NAME"]),
    "two models": (["weak=gpt2", "weak=qwen"], ["weak has two values, weak=gpt2 and weak=qwen"]),
    "two values of a field": (["seed=1", "++seed=2"], ["seed has two values"]),
    "two folders": (["--config-dir", ".", "--config-dir", "."], ["--config-dir has two values"]),
    "folder without a name": (["--config-dir=", "seed=1"], ["--config-dir needs a folder"]),
    "folder at the end": (["--config-dir"], ["--config-dir needs a folder"]),
    "folder that is a word": (["--config-dir", "seed=1"], ["there is no folder", "seed=1"]),
    "seed and seeds": (["seed=3", "seeds=2"], ["seed has no effect beside seeds=2", "seeds 0 to 1"]),
    "swept seed and seeds": (["-m", "seed=0,1", "seeds=3"], ["seed has no effect beside seeds=3"]),
    "swept seeds and seed": (["-m", "seed=4", "seeds=2,3"], ["seed has no effect beside seeds=2"]),
    "hydra without a sweep": (["hydra.job.name=x"], ["has no effect", "-m"]),
    "launcher without a sweep": (["hydra/launcher=joblib"], ["has no effect", "-m"]),
    "hydra that a sweep does not read": (["-m", "hydra.job.name=x", "seed=0,1"], ["has no effect in w2s"]),
    "sweeper of another launcher": (["-m", "hydra.sweeper.params.seed=0"], ["has no effect", "hydra/launcher=joblib"]),
    "unknown launcher": (["-m", "hydra/launcher=nosuch", "seed=0,1"], ['unknown hydra/launcher "nosuch"', "basic"]),
    "several names of a group": (["data=[sciq,boolq]"], ["-m data=sciq,boolq"]),
    "recipe that is not chosen": (["pretrain.lr=1"], ["without a recipe", "pretrain=NAME", "wordnet-s"]),
    "weights in parts on one process": (["launcher.fsdp=true"], ["there is one: set launcher.processes=2 or more"]),
    "parts on one process by name": (
        ["launcher.resources.student.fsdp=true"],
        ["launcher.resources.student.fsdp=true shares out", "set launcher.resources.student.processes=2 or more"],
    ),
    "resources of a misspelt stage": (
        ["launcher.resources.studnet={processes: 2}", "launcher.device=cpu"],
        ["launcher.resources.studnet: no stage", 'Did you mean "student"'],
    ),
    "resources of a misspelt field": (
        ["launcher.resources.student.proceses=2"],
        ['unknown field "launcher.resources.student.proceses"', 'Did you mean "processes"'],
    ),
    "resources of no job": (
        ["launcher.resources.student={minutes: 9}"],
        ["launcher.resources.student.minutes is a setting of a job, and launcher=local has no jobs", "launcher=slurm"],
    ),
    "one device of several processes by name": (
        ["launcher.resources.student.processes=2", "launcher.device=mps"],
        ["launcher.device=mps: launcher.resources.student.processes=2 need a device each"],
    ),
    "one device of several processes": (
        ["launcher.processes=2", "launcher.device=cuda:1"],
        ["launcher.device=cuda:1", "launcher.processes=2 need a device each", "launcher.device=auto or cpu"],
    ),
    "unknown worker launcher": (["launcher.name=slrum"], ['unknown launcher "slrum"', "Known: command, local"]),
    "group of another command": (["experiment=burns_nlp"], ["w2s reproduce NAME"]),
    "model without a role": (["model=gpt2"], ["weak=NAME or strong=NAME"]),
    "field of a misspelt field": (["loss.agrs.alpha=1"], ['unknown field "loss.agrs"', 'Did you mean "loss.args"']),
    "field of a list": (["train.head.tokens.x=1"], ["a list has no fields"]),
    "no name": (["=3"], ['"=3" is not an override']),
    "reference to nothing": (["strong.lr=${nope}"], ["nope", "strong.lr"]),
    "reference to itself": (["weak.lr=${weak.lr}"], ["weak.lr"]),
    "a billion jobs": (["-m", "seed=range(0,1000000000)"], ["1,000,000,000 jobs", "most_jobs=1000"]),
    "shuffled billion": (["-m", "seed=shuffle(range(0,1000000000))"], ["1,000,000,000 jobs"]),
    "real billion": (["-m", "weak.lr=range(0.0,1.0,0.000000001)"], ["1,000,000,000 jobs"]),
    "a product of jobs": (["-m", "seed=range(0,200)", "data.seed=range(0,200)"], ["40,000 jobs", "200 values"]),
    "a billion jobs by Hydra": (["-m", "hydra/launcher=basic", "seed=range(0,1000000000)"], ["1,000,000,000 jobs"]),
    "no step": (["-m", "seed=range(0,5,0)"], ["the step of a range must not be 0"]),
    "empty range": (["-m", "seed=range(5,0)"], ["has no values"]),
    "interval": (["-m", "weak.lr=interval(0,1)"], ["an interval has no values"]),
    "pattern that fits nothing": (["-m", "loss=glob(zzz*)"], ["has no values"]),
    "argument that one of the swept losses lacks": (
        ["-m", "loss=logconf,xent", "loss.args.alpha=0.1,0.2"],
        ['xent has no argument "alpha"'],
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_words_without_effect_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words, phrases = REFUSED[case]
    assert dispatch(["plan", *words]) == 2
    shown = capsys.readouterr()
    for phrase in phrases:
        assert phrase in shown.err
    assert "Traceback" not in shown.err + shown.out


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["++seed=5"], "seed", 5),
        (["seed=1", "seed=1"], "seed", 1),
        (["seed=3", "seeds=null"], "seed", 3),
        (["loss=logconf", "~loss.args.share"], "loss", "logconf"),
        (["loss=logconf", "+loss.args.center=0.5"], "loss", "logconf"),
        (["pretrain=wordnet-s", "pretrain.validation_share=0.1"], "pretrain", "wordnet-s"),
        (["train={epochs: 1}"], "train", None),
    ],
)
def test_words_with_an_effect_are_taken(words: list[str], field: str, value: object) -> None:
    found = configurations(*words)[0][field]
    assert value in (None, found["name"] if isinstance(found, dict) and "name" in found else found)


def own(folder: Path, name: str, text: str) -> str:
    """The option that names a folder with one YAML file of the user's own."""
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text)
    return f"--config-dir={folder}"


def test_the_file_of_a_field_that_no_word_set_is_named(tmp_path: Path) -> None:
    folder = own(tmp_path, "loss/mine.yaml", "name: xent\narsg: {}\n")
    with pytest.raises(UserError, match=r'unknown field "loss\.arsg"\. Did you mean "args".*loss/mine\.yaml'):
        configurations(folder, "loss=mine")
    model = own(tmp_path / "models", "model/mine.yaml", "name: mine\nid: a/b\nlr: fast\n")
    with pytest.raises(UserError, match=r"weak\.lr=fast: must be a number .*model/mine\.yaml"):
        configurations(model, "weak=mine")
    with pytest.raises(UserError, match=r"model/mine\.yaml: lr=fast"):
        configurations(model, "method=bootstrapping", "ladder=[mine]")
    with pytest.raises(UserError, match=r"weak\.lr=-1: must be a number greater than 0\.$"):
        configurations(model, "weak=mine", "weak.lr=-1")


def test_a_file_of_the_users_own_that_the_packages_would_hide_is_refused(tmp_path: Path) -> None:
    folder = own(tmp_path, "loss/xent.yaml", "name: xent\n")
    with pytest.raises(UserError, match=r"loss/xent\.yaml: loss=xent is a file of w2s already"):
        configurations(folder)


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"], ["-m", "hydra/launcher=basic", "seed=0,1"]])
def test_the_name_of_the_users_folder_is_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run=7, [it's mine]"
    own(folder, "loss/mine.yaml", "name: xent\nlabel: mine\n")
    assert dispatch(["plan", *sweep, "--config-dir", folder.name, "loss=mine"]) == 0
    assert dispatch(["plan", *sweep, f"--config-dir={folder}", "loss=mine", "select=confidence"]) == 2


def test_a_group_of_the_users_own_is_added(tmp_path: Path) -> None:
    folder = own(tmp_path, "preset/fast.yaml", "# @package _global_\ntrain: {epochs: 1}\n")
    assert configurations(folder, "+preset=fast")[0]["train"]["epochs"] == 1.0


def test_five_hundred_jobs_are_composed_at_once(tmp_path: Path) -> None:
    began = time.process_time()
    configs = configurations("-m", "seed=range(0,500)")
    assert [config["seed"] for config in configs] == list(range(500))
    assert time.process_time() - began < 3  # 0.7 s alone; a composition from the files would take 50 s


def test_a_composed_job_says_its_words() -> None:
    with_hydra_schema()
    jobs = compose.composed(parse(["-m", "weak=wordnet-xs,wordnet-s", "seed=1,2", "bootstrap=100"]))
    assert [job.words for job in jobs] == [
        ["bootstrap=100", f"weak={weak}", f"seed={seed}"] for weak in ("wordnet-xs", "wordnet-s") for seed in (1, 2)
    ]
    assert compose.composed(parse(["weak=wordnet-s"]))[0].words == ["weak=wordnet-s"]


def with_hydra_schema() -> None:
    """Give Hydra the defaults, as `compose.run` does."""
    from hydra.core.config_store import ConfigStore

    from w2s_cli.config.schema import defaults

    ConfigStore.instance().store(name="schema", node=defaults())


@pytest.mark.parametrize(
    ("stage", "messages"),
    [
        ("student: {train: {mode: prob}}", ["method.stages.student.train.mode=prob", "full, lora, probe"]),
        ("student: {train: {epoch: 3}}", ['"method.stages.student.train.epoch"', 'mean "epochs"']),
        ("student: {train: {max_grad_norm: -1}}", ["student.train.max_grad_norm=-1", "greater than 0"]),
        ("student: {first: {train: {lr: -1}}, foreach: 2}", ["student.first.train.lr=-1", "greater than 0"]),
        ("student: {loss: {name: xent, arg: {}}}", ['"method.stages.student.loss.arg"', 'mean "args"']),
    ],
)
def test_a_group_of_a_stages_own_is_checked_as_the_group_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, messages: list[str]
) -> None:
    folder = own(tmp_path, "method/mine.yaml", f"name: mine\nbase: naive\nstages:\n  {stage}\n")
    assert dispatch(["plan", folder, "method=mine", f"outputs={tmp_path / 'outputs'}"]) == 2
    told = capsys.readouterr().err
    assert [message for message in [*messages, str(tmp_path / "method" / "mine.yaml")] if message not in told] == []


def test_a_group_of_a_stages_own_has_the_types_of_the_group_and_only_the_written_fields(tmp_path: Path) -> None:
    stage = "student: {train: {epochs: '3', lr: 1e-2, lora: {rank: 4}}}"
    folder = own(tmp_path, "method/mine.yaml", f"name: mine\nbase: naive\nstages:\n  {stage}\n")
    train = configurations(folder, "method=mine")[0]["method"]["stages"]["student"]["train"]
    assert list(train) == ["epochs", "lr", "lora"]
    assert (train["epochs"], train["lr"], train["lora"]["rank"]) == (3.0, 0.01, 4)
    assert train["lora"]["alpha"] == configurations()[0]["train"]["lora"]["alpha"]


@pytest.mark.parametrize("field", ["path", "id"])
def test_another_model_does_not_go_under_the_name_of_a_known_one(field: str) -> None:
    with pytest.raises(UserError, match=rf"strong\.{field}=… takes another model than strong=wordnet-l.* strong=local"):
        configurations(f"strong.{field}=a/b")
    named = configurations(f"strong.{field}=a/b", "strong.name=mine")[0]["strong"]
    assert (named["name"], named[field]) == ("mine", "a/b")
    assert configurations("strong=local", f"strong.{field}=a/b")[0]["strong"]["name"] == "local"
