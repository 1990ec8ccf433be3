import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from preference_study import launch
from preference_study.alternative import with_alternative
from preference_study.analysis.methods import flat
from preference_study.errors import BadParams
from preference_study.launch import command, of_stage, one_gpu
from preference_study.params import Launch, load_params
from tests.conftest import ROOT
from tests.workspace import alternative_params, change, tiny_params

ALTERNATIVES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml") if path.stem != "fsdp")
DPO = {"learning_rate": 1e-6, "beta": 0.1, "sft_weight": 0.0}
# They only check, carry, find or start: what a stage computes does not depend on them.
NO_DEPENDENCY = {
    f"preference_study/{name}.py"
    for name in ("params", "sections", "registry", "errors", "artifacts", "processes", "launch", "boundary")
}
# What a module starts as a program of its own.
STARTED = {"preference_study/engines/by_vllm.py": "preference_study/engines/vllm_program.py"}
# launch and scoring say how fast; save_steps how often.
NO_RESULT = {"launch", "scoring", "reward.save_steps", "policy.save_steps"}


def test_the_parameter_file_is_right():
    load_params(ROOT / "params.yaml")


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_an_alternative_holds_what_differs_and_is_right(name):
    alternative_params(name)
    wanted = yaml.safe_load((ROOT / f"params/{name}.yaml").read_text())
    named = [key for key in flat(wanted) if key != "model.revision"]  # said, so that it is seen
    _, changed = with_alternative(ROOT / "params.yaml", ROOT / f"params/{name}.yaml")
    assert sorted(named) == sorted(name for name, _, _ in changed)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"policy": {"betta": 0.1}}, "policy.betta"),
        ({"policy": {"dpo": DPO | {"beta": -1}}}, r"policy.dpo.beta: .* greater than 0, but it is -1"),
        ({"policy": {"dpo": DPO | {"sft_weight": -0.1}}}, r"policy.dpo.sft_weight: .* or equal to 0, but it is -0.1"),
        ({"policy": {"methods": ["dppo"]}}, "policy.methods.0: .*'dpo'.*, but it is 'dppo'"),
        ({"reward": {"judge": "other"}}, "reward.judge"),
        ({"stress": {"variants": ["other"]}}, "stress.variants.0: .*'ensemble', .*, but it is 'other'"),
        ({"stress": {"max_pairs": -1}}, "stress.max_pairs: .* greater than or equal to 0, but it is -1"),
        ({"best_of_n": {"variants": ["ensemble"]}}, "best_of_n.variants: ensemble not in reward.variants"),
        ({"people": {"methods": ["ipo"]}}, "people.methods: ipo not in policy.methods"),
        ({"people": {"cases": 20, "repeats": 7}}, "people: .*repeats 7 of 20 cases: a third of them, 6, at most"),
        ({"people": {"which": "some"}}, "people.which: .*'random' or 'disagreement', but it is 'some'"),
        ({"reward": {"flipped": 0.5}}, "reward.flipped: .* less than 0.5, but it is 0.5"),
        ({"data": {"hub": [{"name": "x/y", "split": "train", "file": "data/x.jsonl"}]}}, r"data.hub.0.file: .*'data/x.jsonl'"),
        ({"reward": {"warmup": 1.0}}, "reward.warmup: .* less than 1, but it is 1.0"),
        ({"reward": {"batch_size": 9}, "launch": {"processes": 2}}, "reward.batch_size 9 cannot be shared"),
        (
            {"reward": {"batch_size": 8}, "policy": {"batch_size": 8, "methods": ["rloo"]}, "launch": {"processes": 8}},
            r"policy.rloo.batch_size 4 cannot be shared",
        ),
        (
            {"policy": {"methods": ["rloo"], "save_steps": 10}},
            "policy: .*save_steps 10 is no multiple of rloo.steps_per_generation 4",
        ),
        ({"export": {"policies": ["dpo", "kto"]}}, r"export.policies: kto not in policy.methods \['dpo'\]"),
        ({"export": {"reward_models": ["noise_robust"]}}, r"export.reward_models: noise_robust not in reward.variants"),
        (
            {"export": {"reward_models": ["ensemble"]}, "reward": {"variants": ["standard", "ensemble"]}},
            "reward_models: ensemble is several models, whose rewards reward.aggregate sums up",
        ),
        ({"generate": {"engine": "llama"}}, "generate.engine: .*'transformers' or 'vllm', but it is 'llama'"),
        (
            {"generate": {"vllm": {"python": "p", "tensor_parallel": 1, "data_parallel": 1, "options": {"dtype": "float16"}}}},
            "generate.vllm: .*options: dtype is set by other parameters",
        ),
        ({"data": {"max_train": "many"}}, "data.max_train: .*but it is 'many'"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(tmp_path, change, wanted):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in change.items():
        params[section] |= values
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SystemExit, match=wanted):
        load_params(tmp_path / "params.yaml")


def test_the_batch_of_a_method_that_is_not_trained_need_not_be_shared(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section in ("reward", "policy"):
        params[section]["batch_size"] = 8
    params["launch"]["processes"] = 8
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert load_params(tmp_path / "params.yaml").policy.rloo.batch_size == 4


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(BadParams, match=r"params\.yaml: there is no such file in .*; run this in the study's folder"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: 1", encoding="utf-16")
    with pytest.raises(BadParams, match=r"params\.yaml is not UTF-8"):
        load_params(tmp_path / "params.yaml")


def test_the_program_checks_the_file_that_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("seed: banana")
    asked = [sys.executable, "-m", "preference_study.params"]
    for file, status in ((ROOT / "params.yaml", 0), (tmp_path / "bad.yaml", 1)):
        ended = subprocess.run([*asked, str(file)], cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == status and ("seed: " in ended.stderr) == bool(status)


def test_a_missing_parameter_is_named(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    del params["policy"]["dpo"]["beta"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SystemExit, match=r"policy\.dpo\.beta: Field required"):
        load_params(tmp_path / "params.yaml")


def module_file(module: str, name: str) -> str | None:
    """The file of the project's own that `from <module> import <name>` reads."""
    path = Path(module.replace(".", "/"))
    for file in (path / f"{name}.py", path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / file).exists():
            return file.as_posix()
    return None


def imported(file: Path, entries: bool = False) -> set[str]:
    """The project's own modules that a file imports, directly or through one another, but for those in `NO_DEPENDENCY`.

    Args:
        entries: also what the entries of a registry import in what they do, such as a method's trainer.
    """
    found: set[str] = set()
    todo = [file]
    while todo:
        current = todo.pop()
        if current.name == "__init__.py" and entries:
            todo += [entry for entry in current.parent.glob("*.py") if not entry.name.startswith("_")]
        for node in ast.walk(ast.parse(current.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("preference_study", "stages")):
                names = {module_file(node.module, alias.name) for alias in node.names} - found - NO_DEPENDENCY
                found |= names
                todo += [ROOT / name for name in names]
    return found


STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def module_of(stage: dict) -> str:
    words = stage["cmd"].split()
    return words[3] if words[2] == "preference_study.launch" else words[2].removeprefix("stages.")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_code_it_runs(name):
    """A registry as its folder; or, in a matrix over it, by what all entries share and the one entry that the stage is of."""
    stage = STAGES[name]
    file = f"stages/{module_of(stage)}.py"
    source = (ROOT / file).read_text()
    wanted = {file} | imported(
        ROOT / file, entries=any(call in source for call in (".recipe()", "reward_trainer(", "train_one("))
    )
    wanted |= {program for module, program in STARTED.items() if module in wanted}
    for kind in ("method", "variant", "format", "benchmark"):
        registry = f"preference_study/{kind}s"
        if f"{registry}/__init__.py" in wanted:
            own = f"{registry}/${{item.{kind}}}.py"
            wanted |= {own} if own in stage["deps"] else {registry}
            if registry in wanted:  # the folder, with all that is in it
                wanted = {name for name in wanted if not name.startswith(f"{registry}/")}
    registries = tuple(f"preference_study/{kind}" for kind in ("methods", "variants", "formats", "benchmarks"))
    declared = {dep for dep in stage["deps"] if dep.endswith(".py") or dep in registries}
    assert declared == wanted


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_parameters_it_reads(name):
    """Every params.x.y in the stage's module, and every field of a section handed on whole, is listed."""
    stage = STAGES[name]
    schema = yaml.safe_load((ROOT / "params.yaml").read_text())
    source = (ROOT / f"stages/{module_of(stage)}.py").read_text()
    if name == "check":  # all of them
        assert set(stage["params"]) == set(schema)
        return
    if "params.model_dump(" in source:
        # A whole section is declared as one; how fast a run goes, and what concerns reward models alone, is shown by the report.
        assert set(stage["params"]) in (
            set(schema),
            set(schema)
            - {"seed", "launch", "scoring", "frozen", "stress", "best_of_n", "benchmarks"}
            - {"judges", "people", "export", "verdict", "report"},
        )
        return
    tree = ast.parse(source)
    aliases = {
        node.targets[0].id: node.value.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
        and node.value.value.id == "params"
    }
    read = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in aliases:
            read.add(f"{aliases[node.value.id]}.{node.attr}")
        elif isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name) and node.value.value.id == "params":
            read.add(f"{node.value.attr}.{node.attr}")
        elif isinstance(node.value, ast.Name) and node.value.id == "params" and node.attr in ("seed", "benchmarks", "judges"):
            read.add(node.attr)
    if name in ("train_reward", "train_policy", "export_reward", "export_policy", "train_judge"):
        # They hand on the whole section.
        section = "reward" if name == "train_judge" else name.split("_")[1]
        not_read = {"variants", "methods"} | ({"judge"} if name != "train_judge" else set())
        read = {key for key in read if key.split(".")[0] != section}
        read |= {
            f"{section}.{key}" for key, value in schema[section].items() if key not in not_read and not isinstance(value, dict)
        }
        read |= {"reward.judge"} if name == "export_reward" else set()
        own = {"policy": "${item.method}", "reward": "${reward.judge}" if name == "train_judge" else "${item.variant}"}
        read |= {f"{section}.{own[section]}"}
    read = {key for key in read if key not in NO_RESULT and key.split(".")[0] not in NO_RESULT}
    assert set(stage["params"]) == read


LAUNCH = {"processes": 1, "machines": 1, "accelerate_config": None}


LAUNCHED = [name for name, stage in STAGES.items() if "preference_study.launch" in stage["cmd"]]


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_a_model_computed_is_looked_up_and_not_computed_again(name):
    """DVC's run cache passes over a stage of which it does not keep every output; such an output is a mapping here."""
    assert all(isinstance(out, str) for out in STAGES[name]["outs"])


def test_a_stage_keeps_freed_memory_and_the_code_of_few_products(monkeypatch):
    """Without, memory grows by the lengths of batches: docs/results/speed.md. What the user has set is left alone."""
    given = []
    monkeypatch.setattr(subprocess, "run", lambda arguments, check, env: given.append(env) or SimpleNamespace(returncode=3))
    monkeypatch.setattr(sys, "argv", ["launch", "train_reward", "standard"])
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        launch.main()
    assert end.value.code == 3
    assert (given[0]["LRU_CACHE_CAPACITY"], given[0]["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("7", "64")
    assert "mmap_max=0" in given[0]["GLIBC_TUNABLES"]


def test_a_stage_of_one_process_sees_one_gpu_and_vllm_all(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(subprocess, "run", lambda arguments, check, env: given.append(env) or SimpleNamespace(returncode=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    for stage, engine, processes in (
        ("train_reward", "vllm", 1), ("generate", "transformers", 1), ("generate", "vllm", 1), ("generate", "vllm", 2),
        ("train_reward", "vllm", 2),
    ):  # fmt: skip
        change(tmp_path, generate={"engine": engine}, launch={"processes": processes})
        monkeypatch.setattr(sys, "argv", ["launch", stage, "standard" if stage == "train_reward" else "base"])
        monkeypatch.setattr(launch, "check_launch", lambda *_: None)
        with pytest.raises(SystemExit):
            launch.main()
    assert [env["CUDA_VISIBLE_DEVICES"] for env in given] == ["2", "2", "2,3", "2,3", "2,3"]


def test_launch_commands():
    def words(**launch):
        return command(Launch(**LAUNCH | launch), "train_reward", ["standard"], {"MASTER_ADDR": "host", "NODE_RANK": "1"})[1:]

    assert words() == ["-m", "stages.train_reward", "standard"]
    two = words(processes=2)
    assert two[:5] == ["-m", "preference_study.together", "torch.distributed.run", "--nproc_per_node", "2"]
    assert two[-3:] == ["-m", "stages.train_reward", "standard"]
    assert "--standalone" in two
    several = " ".join(words(processes=8, machines=2))
    assert "--nproc_per_node 4 --nnodes 2 --node_rank 1 --master_addr host" in several
    alone, many = Launch(**LAUNCH), Launch(**LAUNCH | {"processes": 8, "machines": 2})
    assert of_stage(many, "generate", "vllm") == of_stage(many, "sample_responses", "vllm") == alone
    assert of_stage(many, "generate", "transformers") == of_stage(many, "measure_kl", "vllm") == many
    assert one_gpu(alone, {}) == one_gpu(alone, {"CUDA_VISIBLE_DEVICES": "0,1"}) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert one_gpu(alone, {"CUDA_VISIBLE_DEVICES": "GPU-7,GPU-8"}) == {"CUDA_VISIBLE_DEVICES": "GPU-7"}
    assert one_gpu(alone, {"CUDA_VISIBLE_DEVICES": ""}) == {"CUDA_VISIBLE_DEVICES": ""}
    assert one_gpu(many, {}) == one_gpu(Launch(**LAUNCH | {"accelerate_config": "params/fsdp.yaml"}), {}) == {}
    fsdp = " ".join(words(processes=8, accelerate_config="params/fsdp.yaml"))
    assert "accelerate.commands.launch --config_file params/fsdp.yaml --num_processes 8" in fsdp
    both = " ".join(words(processes=8, machines=2, accelerate_config="params/fsdp.yaml"))
    assert "--num_processes 8 --num_machines 2 --machine_rank 1 --main_process_ip host --main_process_port 29500 -m" in both
    assert "main_process" not in fsdp
