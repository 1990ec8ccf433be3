"""What can be known before any work: that files are there, sizes fit the model, and a launch can start."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from preference_study.benchmarks import read_benchmark
from preference_study.data.files import RawFile, read_table_file
from preference_study.data.pairs import TAKEN
from preference_study.data.prompts import choose_prompts, is_prepared
from preference_study.engines import check_vllm
from preference_study.errors import BadInput, BadModel
from preference_study.formats import pairs_in_pieces
from preference_study.judges.settings import question_of
from preference_study.params import VARIANTS, Data, Generate, Launch, Params

DEVICES = Path("/dev")
# What accelerate's fsdp_config must say: the value, and what comes of another one.
SHARDING = {
    "fsdp_version": (2, "the first version is no longer developed, and was not tried"),
    "fsdp_state_dict_type": ("FULL_STATE_DICT", "transformers writes no model where it is another"),
    "fsdp_cpu_ram_efficient_loading": (False, "with it the first process alone has the weights that a run begins with"),
}
# Bytes a weight on disk: in bfloat16; and, trained in full, in float32, of what comes of it, and of two checkpoints with both of
# Adam's averages.
SMALL, TRAINED, CHECKPOINTS = 2, 4, 2 * 12


def check_files(params: Params) -> None:
    """Raise `BadInput` where the file of prompts is not there, holds none, or lacks the category that a user named, or where a
    benchmark cannot be read.

    A file that the study is still to fetch is passed over. Without the default category results are not told apart, and that is
    all.
    """
    fetched = [Path(source.file) for source in params.data.hub]
    prompts, data = params.generate.prompts, params.data
    if is_prepared(prompts):
        raw = data.train if Path(prompts).stem == "train" else data.val
        if Path(raw).exists() or Path(raw) not in fetched:
            check_prepared(raw, params.generate.category, data)
    elif Path(prompts).exists() or Path(prompts) not in fetched:
        check_prompts(prompts, params.generate.category, data)
    for benchmark in params.benchmarks:
        if not any(Path(benchmark.file) in (file, *file.parents) for file in fetched):
            read_benchmark(benchmark.file, benchmark.shape)


def check_prompts(file: str, category: str | None, data: Data) -> None:
    """Raise `BadInput` where a file of one's own holds no prompts, or a column of theirs cannot be used."""
    table = read_table_file(file)
    choose_prompts(table, 1, 0, f"generate.prompts, {file}", data.cluster, category, data.columns)
    _check_category(category, file, list(table.columns))


def check_prepared(raw: str, category: str | None, data: Data) -> None:
    """Raise `BadInput` where prompts are to be those of prepared pairs, and the category does not travel with these.

    Args:
        raw: the file that they are made of.
    """
    if category not in (None, "instruction"):
        table = next(pairs_in_pieces(RawFile(raw), raw, data.columns, data.ranks, data.cluster)).table
        _check_category(category, raw, [name for name in table.columns if name not in TAKEN])


def _check_category(category: str | None, file: str, columns: list[str]) -> None:
    if category not in (None, "instruction", *columns):
        raise BadInput(
            f"generate.category names column {category!r}, and {file} has {', '.join(map(str, columns)) or 'none'} to tell "
            "prompts apart by: name one of these in params.yaml, or null"
        )


def check_judges(params: Params, environment: dict[str, str]) -> list[str]:
    """What one may want to do something about before judges are asked.

    Raises:
        BadInput: a judge's question cannot be used, or the pairs that policies do not see leave a cross-fitted one none.
    """
    told, file, seen = [], Path(params.data.train), params.policy.max_train
    for judge in params.judges:
        question_of(judge)
        if judge.kind == "endpoint" and judge.key and not environment.get(judge.key):
            told.append(f"judge {judge.name}: the environment has no {judge.key}, which names its key: export it to ask anything")
        if judge.kind == "cross_fitted" and seen is not None and file.is_file():
            rows = min(len(RawFile(file)), params.data.max_train or seen + 1)
            if rows <= seen:
                raise BadInput(
                    f"judge {judge.name} is trained on pairs that no policy sees, and policy.max_train {seen} leaves none of the "
                    f"{rows} of {file}: lower it, or take this judge out of judges"
                )
    return told


def check_engine(generate: Generate) -> None:
    """Raise `BadInput` where what is to write the responses is not installed."""
    if generate.engine == "vllm":
        check_vllm(generate.vllm.python)


def check_launch(launch: Launch, environment: dict[str, str]) -> None:
    """Raise `BadInput` where the stages that run a model cannot start as `launch` says."""
    if launch.processes % launch.machines:
        raise BadInput(
            f"launch.processes {launch.processes} cannot be shared by launch.machines {launch.machines}: make it a multiple"
        )
    if (of_each := launch.processes // launch.machines) > 1:
        import torch  # takes a second, and most studies run in one process

        if of_each > (there := torch.cuda.device_count()) > 0:
            raise BadInput(
                f"launch.processes is {launch.processes}, {of_each} of them on this machine, which has {there} GPUs, and "
                f"each takes one: set it to {there * launch.machines}"
            )
    if launch.accelerate_config and not Path(launch.accelerate_config).is_file():
        raise BadInput(f"launch.accelerate_config: there is no file {launch.accelerate_config}; params/fsdp.yaml is one")
    if launch.accelerate_config:
        check_sharding(launch.accelerate_config)
    if launch.machines > 1 and "MASTER_ADDR" not in environment:
        raise BadInput(
            "launch.machines is above 1, and the environment has no MASTER_ADDR: set it to the first machine's address on each, "
            "and NODE_RANK to the machine's number from 0"
        )


def unused_gpus(launch: Launch, environment: dict[str, str]) -> list[str]:
    """What to tell where the machine has more GPUs than the stages that run a model use."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    there = len(list(DEVICES.glob("nvidia[0-9]*"))) if visible is None else len(visible.split(","))
    used = launch.processes // launch.machines
    if launch.accelerate_config or there <= used:
        return []
    return [f"this machine has {there} GPUs, and stages use {used} of them: launch.processes in params.yaml is how many they use"]


def short_of_responses(params: Params) -> list[str]:
    """What to tell where the reward model cannot see whole responses of the greatest length."""
    new, length = params.generate.max_new_tokens, params.reward.max_length
    if new < length - length // 4:  # the part that a prompt keeps
        return []
    return [
        f"generate.max_new_tokens is {new}, and the reward model reads {length} tokens in all (reward.max_length): "
        "long responses lose their ends before they are scored, and how many is in metrics/policies.json; raise reward.max_length"
    ]


def check_sharding(file: str) -> None:
    """Raise `BadInput` where a configuration of accelerate's shards weights in a way that this project's training cannot use."""
    try:
        settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        sharding = settings.get("fsdp_config", {}) if settings.get("distributed_type") == "FSDP" else None
    except (AttributeError, yaml.YAMLError) as error:
        raise BadInput(f"{file} is no configuration of accelerate ({error}); params/fsdp.yaml is one") from None
    for name, (wanted, why) in SHARDING.items():
        if sharding is not None and sharding.get(name) != wanted:
            raise BadInput(f"{file}: fsdp_config.{name} is {sharding.get(name)!r} and must be {wanted!r}: {why}")


def check_sizes(params: Params, config: dict[str, Any]) -> None:
    """Raise `BadModel` where texts are to be longer than the model's positions, or LoRA is to train more layers than it has.

    Args:
        config: the model's config.json.
    """
    config = config | config.get("text_config", {})
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    layers = config.get("num_hidden_layers") or config.get("n_layer")
    new = params.generate.max_new_tokens
    lengths = {"reward.max_length": params.reward.max_length, "policy.max_length": params.policy.max_length}
    lengths["generate.max_new_tokens, with a token of a prompt,"] = new + 1
    for method in params.policy.methods:
        if own := getattr(params.policy.own(method), "max_new_tokens", None):
            lengths[f"policy.max_length and policy.{method}.max_new_tokens"] = params.policy.max_length + own
    for name, length in lengths.items():
        if positions and length > positions:
            raise BadModel(f"{name} are {length} tokens, and the model has {positions} positions: lower it in params.yaml")
    for name in ("reward", "policy"):
        section = getattr(params, name)
        wanted = section.lora_layers if section.lora_rank else None
        if layers and wanted and wanted > layers:
            raise BadModel(
                f"{name}.lora_layers is {wanted}, and the model has {layers} layers: lower it, or set it to null for all"
            )


def disk_needed(params: Params, weights: int) -> int:
    """Roughly the most bytes of a run that are on the disk at one time, from the model's number of weights."""
    members = [(VARIANTS[name].members, params.reward.own(name)) for name in params.reward.variants]
    models = {"reward": sum(count(own) if count else 1 for count, own in members), "policy": len(params.policy.methods)}
    full = sum(count for name, count in models.items() if getattr(params, name).lora_rank == 0)
    # Models stay. Checkpoints go when a training ends, that of an ensemble's member too, before the next one begins.
    return weights * (SMALL + TRAINED * full + (CHECKPOINTS if full else 0))


def check_disk(params: Params, weights: int, folder: Path = Path()) -> None:
    """Raise `BadInput` where less of the disk is free than a run is likely to write."""
    needed, free = disk_needed(params, weights), shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"the run writes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of the disk are free: make room, or train "
            "fewer weights (lora_rank above 0)"
        )
